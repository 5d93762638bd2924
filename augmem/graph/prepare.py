"""The stage "graphs": from lang folder, language models and transcripts to all graphs."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from pathlib import Path

from augmem.files import write_json
from augmem.graph.config import GraphConfig
from augmem.graph.context import BIPHONES_FILE, Biphone, context_hash, frequent_biphones, write_biphones
from augmem.graph.denominator import denominator_fsa
from augmem.graph.fsa import save_fsa
from augmem.graph.hlg import Origin, SizeLog, build_hlg, mark_origin, read_grammar
from augmem.graph.phone_lm import PhoneLm, estimate_phone_lm
from augmem.lang import Lang

_LOG = logging.getLogger(__name__)
SILENCE = "SIL"


def prepare_graphs(config: GraphConfig, lang_dir: Path, lm_dir: Path, train_texts: Sequence[str], output: Path) -> None:
    """Write P.pt, HLG.pt and sizes.json (states, arcs, seconds of each step) to `output`; with context, biphones.tsv.

    Args:
        lang_dir: the lang folder.
        lm_dir: holds first_pass.fst.txt.
        train_texts: normalised transcripts, from which P is estimated and biphones are counted.

    Raises:
        FileNotFoundError, ValueError: naming the file that is missing or wrong, and the stage that makes it.
    """
    lang = Lang.load(lang_dir)
    log = SizeLog()
    biphones = choose_biphones(config, lang, train_texts)
    if biphones:
        write_biphones(output / BIPHONES_FILE, biphones, lang.unit_of)
    phone_lm = log("P", lambda: train_phone_lm(config, lang, train_texts).acceptor())
    save_fsa(phone_lm, output / "P.pt")
    log("H o P", lambda: denominator_fsa(phone_lm, config.topology, lang.num_units, tuple(biphones)))
    grammar = read_grammar(lm_dir / "first_pass.fst.txt")
    origin = Origin(lang.content_hash, config.topology, context_hash(biphones))
    hlg = build_hlg(lang, config.topology, grammar, log, tuple(biphones))
    save_fsa(mark_origin(hlg, origin), output / "HLG.pt")
    write_json(output / "sizes.json", log.sizes)


def choose_biphones(config: GraphConfig, lang: Lang, texts: Sequence[str]) -> dict[Biphone, int]:
    """Biphones that get outputs of their own, with their counts; none without context."""
    if config.context == "none":
        return {}
    sequences = unit_sequences(config, lang, texts)
    silence = [lang.tokens[SILENCE]] if SILENCE in lang.tokens else []
    found = frequent_biphones(sequences, config.context_min_count, silence)
    covered = sum(found.values()) / max(1, sum(map(len, sequences)))
    _LOG.info(
        "context: %d biphones beside %d units; %.0f %% of what is said", len(found), len(lang.unit_ids), 100 * covered
    )
    return found


def train_phone_lm(config: GraphConfig, lang: Lang, texts: Sequence[str]) -> PhoneLm:
    """Estimate P from transcripts; every tenth is first held out to log what P is worth on unseen text."""
    sequences = unit_sequences(config, lang, texts)
    order, histories = config.phone_lm_order, config.phone_lm_histories
    held_out = sequences[::10]
    rest = [sequence for i, sequence in enumerate(sequences) if i % 10]
    if rest:
        perplexity = estimate_phone_lm(rest, lang.unit_ids, order, histories).perplexity(held_out)
        _LOG.info("P: order %d, perplexity %.2f per unit on held-out transcripts", order, perplexity)
    return estimate_phone_lm(sequences, lang.unit_ids, order, histories)


def unit_sequences(config: GraphConfig, lang: Lang, texts: Sequence[str]) -> list[list[int]]:
    """One unit sequence a transcript: a pronunciation drawn for each word, silences by their chances."""
    chance = random.Random(config.seed)
    silence = [lang.tokens[SILENCE]] if SILENCE in lang.tokens else []
    return [_draw_units(config, lang, text.split(), silence, chance) for text in texts]


def _draw_units(
    config: GraphConfig, lang: Lang, words: Sequence[str], silence: list[int], chance: random.Random
) -> list[int]:
    def pause(probability: float) -> list[int]:
        return silence if chance.random() < probability else []

    units = pause(config.silence_at_ends)
    for i, word in enumerate(words):
        if i:
            units = units + pause(config.silence_between_words)
        found = lang.pronunciations.get(word) or lang.pronunciations[lang.oov_word]
        units = units + chance.choice(found)
    return units + pause(config.silence_at_ends)
