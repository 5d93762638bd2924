"""The stage "graphs": phone LM and context for training, HLG for decoding."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from pathlib import Path

from augmem.automata.denominator import denominator_fsa
from augmem.automata.frames import frame_graph
from augmem.automata.fsa import save_fsa
from augmem.automata.hlg import SizeLog, build_hlg, read_grammar, to_decoding_graph
from augmem.automata.numerator_files import NumeratorContext, prepare_numerators
from augmem.automata.origin import set_origin
from augmem.automata.phone_lm import PhoneLm, estimate_phone_lm
from augmem.files import write_json
from augmem.graph import (
    BIPHONES_FILE,
    DENOMINATOR_FILE,
    HLG_FILE,
    PHONE_LM_FILE,
    Biphone,
    Biphones,
    GraphConfig,
    Kind,
    Origin,
    context_hash,
    frequent_biphones,
    write_biphones,
    write_denominator,
)
from augmem.lang import Lang

logger = logging.getLogger(__name__)

SIZES_FILE = "sizes.json"


def prepare_training_graphs(
    config: GraphConfig,
    lang_dir: Path,
    train_texts: Sequence[str],
    output: Path,
    dev_texts: Sequence[str] = (),
    kinds: Sequence[Kind] = ("ctc", "mmi"),
    jobs: int = 1,
    scheduler: str | None = None,
) -> None:
    """Write what training reads: P, denominator, numerators, sizes.json and, with context, biphones.tsv.

    Args:
        config: topology, context and phone LM.
        lang_dir: a lang folder.
        train_texts: normalised transcripts; P is estimated and biphones are counted on them.
        output: folder for the files.
        dev_texts: further transcripts that need numerators.
        kinds: kinds of numerators.
        jobs: number of worker processes.
        scheduler: address of a Dask scheduler whose workers are used instead of `jobs` processes.
    """
    lang = Lang.load(lang_dir)
    log = SizeLog()
    biphones = choose_biphones(config, lang, train_texts)
    if biphones:
        write_biphones(output / BIPHONES_FILE, biphones, lang.unit_of)
    phone_lm = log("P", lambda: train_phone_lm(config, lang, train_texts).acceptor())
    save_fsa(phone_lm, output / PHONE_LM_FILE)
    denominator = log("H o P", lambda: denominator_fsa(phone_lm, config.topology, lang.num_units, tuple(biphones)))
    write_denominator(frame_graph(denominator), output / DENOMINATOR_FILE)
    context = NumeratorContext(lang_dir, output, kinds, config.topology, tuple(biphones))
    prepare_numerators(context, [*train_texts, *dev_texts], jobs, scheduler)
    write_json(output / SIZES_FILE, log.sizes)


def prepare_decoding_graph(topology: str, biphones: Biphones, lang_dir: Path, grammar: Path, output: Path) -> None:
    """Write HLG.safetensors and sizes.json (states, arcs and seconds of each step).

    Args:
        topology: name of H.
        biphones: context of H; both as in the acoustic model.
        lang_dir: a lang folder with the units of the acoustic model and the words of the grammar.
        grammar: first_pass.fst.txt, see `read_grammar`.
        output: folder for the files.

    Raises:
        FileNotFoundError: the grammar is missing.
        UserError: lexicon and grammar do not fit.
    """
    lang = Lang.load(lang_dir)
    log = SizeLog()
    hlg = to_decoding_graph(build_hlg(lang, topology, read_grammar(grammar), log, biphones))
    origin = Origin(lang.units_hash, topology, context_hash(biphones), lang.words_hash)
    save_fsa(set_origin(hlg, origin), output / HLG_FILE)
    write_json(output / SIZES_FILE, log.sizes)


def choose_biphones(config: GraphConfig, lang: Lang, texts: Sequence[str]) -> dict[Biphone, int]:
    """Return the biphones with outputs of their own and their counts; none without context.

    Args:
        config: context and its smallest count.
        lang: lang folder.
        texts: normalised transcripts.
    """
    if config.context == "none":
        return {}
    sequences = sample_unit_sequences(config, lang, texts)
    found = frequent_biphones(sequences, config.context_min_count, lang.silence_ids)
    covered = sum(found.values()) / max(1, sum(map(len, sequences)))
    logger.info(
        "context: %d biphones and %d units; biphones cover %.0f %% of the units in the transcripts",
        len(found), len(lang.unit_ids), 100 * covered,
    )  # fmt: skip
    return found


def train_phone_lm(config: GraphConfig, lang: Lang, texts: Sequence[str]) -> PhoneLm:
    """Estimate P on transcripts. Its perplexity on every tenth of them, held out at first, is logged.

    Args:
        config: order and number of histories.
        lang: lang folder.
        texts: normalised transcripts.
    """
    sequences = sample_unit_sequences(config, lang, texts)
    order, histories = config.phone_lm_order, config.phone_lm_histories
    held_out = sequences[::10]
    rest = [sequence for i, sequence in enumerate(sequences) if i % 10]
    if rest:
        perplexity = estimate_phone_lm(rest, lang.unit_ids, order, histories).perplexity(held_out)
        logger.info("P: order %d, perplexity %.2f per unit on held-out transcripts", order, perplexity)
    return estimate_phone_lm(sequences, lang.unit_ids, order, histories)


def sample_unit_sequences(config: GraphConfig, lang: Lang, texts: Sequence[str]) -> list[list[int]]:
    """Sample one unit sequence per transcript: a pronunciation of each word, and silences with their probabilities.

    Args:
        config: probabilities of silence, and seed.
        lang: lang folder.
        texts: normalised transcripts.
    """
    generator = random.Random(config.seed)
    return [_sample_units(config, lang, text.split(), generator) for text in texts]


def _sample_units(config: GraphConfig, lang: Lang, words: Sequence[str], generator: random.Random) -> list[int]:
    def silence(probability: float) -> list[int]:
        return list(lang.silence_ids) if generator.random() < probability else []

    units = silence(config.silence_at_ends)
    for i, word in enumerate(words):
        if i:
            units += silence(config.silence_between_words)
        units += generator.choice(lang.pronunciations.get(word) or lang.pronunciations[lang.oov_word])
    return units + silence(config.silence_at_ends)
