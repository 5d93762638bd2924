"""The stage lm: n-gram language models of the training text and further texts, as ARPA and FST text."""

from __future__ import annotations

import logging
import math
import shutil
import subprocess
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import kenlm

from augmem.errors import UserError
from augmem.files import atomic_path, sha256_file, temporary_folder, write_json
from augmem.lang.arpa import copy_arpa, read_arpa, read_entries, read_vocabulary, write_arpa
from augmem.lang.backoff import END, START, UNKNOWN_WORDS, BackoffModel
from augmem.lang.config import LmConfig
from augmem.lang.lang import Lang
from augmem.lang.lexicon import OOV_WORD, SPECIAL_WORDS
from augmem.lang.normalisation import ENGLISH, Normalisation
from augmem.lang.symbols import read_symbols
from augmem.lang.text_files import lines
from augmem.lang.tools import run_tool
from augmem.lang.vocabulary import read_text
from augmem.programs import ProgramError, describe_failure

logger = logging.getLogger(__name__)

FIRST_PASS, RESCORING = "first_pass", "rescoring"
MODELS = (RESCORING, FIRST_PASS)
_SMALL_TEXT = 1000  # words; on less text MITLM may fail to estimate discounts
DevTexts = Mapping[str, Sequence[str]]


class TrainingText(NamedTuple):
    """A training text: its name and its normalised sentences."""

    name: str
    texts: Sequence[str]


def prepare_language_models(
    config: LmConfig, train_texts: Sequence[str], dev_texts: DevTexts, lang_dir: Path, output: Path
) -> None:
    """Write `rescoring` and `first_pass` as .arpa, and their perplexity on dev as summary.json.

    Trained models have exactly the lang folder's words and <UNK>. `first_pass`, which goes into the decoding graph, is
    also written as .fst.txt, with the ids of words.txt, and #0 on back-off arcs.

    Args:
        config: orders, given models and extra texts.
        train_texts: normalised training sentences.
        dev_texts: normalised sentences of each dev part; they tune interpolation weights and nothing else.
        lang_dir: lang folder.
        output: folder to write.

    Raises:
        FileNotFoundError: a file of the config is missing.
        UserError: an empty text, or a fault in a file of the config.
    """
    lang = Lang.load(lang_dir)
    vocabulary = set(lang.pronunciations) - SPECIAL_WORDS
    given = config.rescoring_arpa
    sources = [] if given else read_sources(config, train_texts, vocabulary, lang.normalisation)
    if len(sources) > 1 and not any(text for texts in dev_texts.values() for text in texts):
        raise UserError(
            "lm.extra_text needs dev text to tune interpolation weights: choose a dev part, or set it to []"
        )
    output.mkdir(parents=True, exist_ok=True)
    names = MODELS if config.rescoring_arpa else MODELS[::-1]  # given models first
    left_out = {
        name: _make_model(config, name, sources, vocabulary, dev_texts, output / f"{name}.arpa") for name in names
    }
    first_pass = output / f"{FIRST_PASS}.arpa"
    source = config.first_pass_arpa or config.rescoring_arpa or ""
    write_grammar(first_pass, lang_dir / "words.txt", output / f"{FIRST_PASS}.fst.txt", source)
    recognisable = vocabulary.intersection(read_vocabulary(first_pass))
    summary = {
        name: evaluate(output / f"{name}.arpa", dev_texts, recognisable, getattr(config, f"{name}_arpa") or "")
        | {"ngrams_left_out": left_out[name]}
        for name in MODELS
    }
    write_json(output / "summary.json", summary)
    logger.info("%s", format_table(summary))


def _make_model(
    config: LmConfig, name: str, sources: Sequence[TrainingText], vocabulary: set[str], dev_texts: DevTexts, arpa: Path
) -> int:
    """Write one model; return its number of n-grams with words that have no pronunciation."""
    given = getattr(config, f"{name}_arpa")
    logger.info("making the %s model", name.replace("_", "-"))
    if given:
        return copy_arpa(Path(given), arpa, vocabulary)
    if name == FIRST_PASS and config.rescoring_arpa:
        pruned = _write_pruned(arpa.with_name(f"{RESCORING}.arpa"), arpa, config.first_pass_pruning)
        return pruned.count_ngrams_outside(vocabulary)
    with atomic_path(arpa) as partial:
        train_ngram_model(sources, vocabulary, getattr(config, f"{name}_order"), dev_texts, partial)
        if pruning := getattr(config, f"{name}_pruning"):
            _write_pruned(partial, partial, pruning)
    return 0


def read_sources(
    config: LmConfig, train_texts: Sequence[str], vocabulary: set[str], normalisation: Normalisation = ENGLISH
) -> list[TrainingText]:
    """Return the training text and every extra text.

    In the training text, words outside the vocabulary become <UNK>, so that the model learns where they occur.
    In other texts they are gaps: such a text may have many, and <UNK> would take as much probability.

    Args:
        config: extra texts.
        train_texts: normalised training sentences.
        vocabulary: words of the lang folder.
        normalisation: normalisation of the extra texts.

    Raises:
        UserError: a text is empty.
    """
    covered = [" ".join(w if w in vocabulary else OOV_WORD for w in text.split()) for text in train_texts]
    extra = [TrainingText(name, list(read_text(Path(name), normalisation))) for name in config.extra_text]
    sources = [TrainingText("the training text", [text for text in covered if text]), *extra]
    for source in sources:
        if not source.texts:
            raise UserError(f"{source.name} has no words: check it, or remove it from the recipe")
    return sources


def train_ngram_model(
    sources: Sequence[TrainingText], vocabulary: set[str], order: int, dev_texts: DevTexts, output: Path
) -> None:
    """Train a modified Kneser-Ney model of each text; interpolate several with weights tuned on the dev text.

    Args:
        sources: training texts.
        vocabulary: words of the model.
        order: order of the n-grams.
        dev_texts: sentences of each dev part.
        output: ARPA file to write.
    """
    with temporary_folder() as work:
        words = work / "vocabulary"
        _write_lines([OOV_WORD, *sorted(vocabulary)], words)
        parts = [_estimate(source.texts, order, words, work / f"{index}.arpa") for index, source in enumerate(sources)]
        if len(parts) == 1:
            shutil.copyfile(parts[0], output)
        else:
            _interpolate(parts, order, words, dev_texts, work, output)


def _write_pruned(source: Path, target: Path, threshold: float) -> BackoffModel:
    whole = read_arpa(source)
    pruned = whole.prune(threshold)
    logger.info("pruning: %d of %d n-grams remain", sum(pruned.counts), sum(whole.counts))
    write_arpa(target, pruned)
    return pruned


def _estimate(texts: Iterable[str], order: int, words: Path, arpa: Path) -> Path:
    text = arpa.with_suffix(".txt")
    _write_lines(texts, text)
    try:
        run_tool("estimate-ngram", "-order", str(order), "-vocab", words, "-text", text, "-write-lm", arpa)
    except ProgramError as error:
        number = len(text.read_text(encoding="utf-8").split())
        if number >= _SMALL_TEXT:
            raise
        raise UserError(
            f"a text of {number} words is too small for a {order}-gram model: lower lm.first_pass_order and "
            "lm.rescoring_order, or add text (lm.extra_text)"
        ) from error
    return arpa


def _interpolate(parts: Sequence[Path], order: int, words: Path, dev_texts: DevTexts, work: Path, output: Path) -> None:
    dev = work / "dev.txt"
    _write_lines((text for texts in dev_texts.values() for text in texts), dev)
    arpas = ",".join(map(str, parts))
    run_tool(
        "interpolate-ngram", "-order", str(order), "-vocab", words, "-lm", arpas,
        "-opt-perp", dev, "-write-lm", output,
    )  # fmt: skip


def _write_lines(texts: Iterable[str], path: Path) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{text}\n" for text in texts if text)


def write_grammar(arpa: Path, words: Path, output: Path, source: str = "") -> None:
    """Run Kaldi's arpa2fst in a process of its own, because its log cannot be silenced.

    N-grams with words that words.txt lacks are skipped; all others must be in the result.

    Args:
        arpa: the model, as plain text.
        words: words.txt.
        output: file of FST text.
        source: the model that `arpa` was made from, for messages; empty: `arpa` itself.

    Raises:
        UserError: the conversion failed, or lost n-grams.
    """
    with atomic_path(output) as partial:
        command = [
            sys.executable, "-m", "kaldilm", "--read-symbol-table", str(words), "--disambig-symbol", "#0",
            "--max-arpa-warnings", "0", str(arpa),
        ]  # fmt: skip
        with partial.open("w", encoding="utf-8") as stream:
            done = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            reason = describe_failure(done.returncode, done.stderr)
            raise UserError(f"{source or arpa}: cannot be converted to an FST, kaldilm {reason}")
        symbols = read_symbols(words)
        lost = _expected_arcs(arpa, symbols) - _word_arcs(partial, symbols["#0"])
        if lost:
            raise UserError(
                f"{source or arpa}: {lost} n-grams are lost in the FST: the first words of each n-gram must be "
                "an n-gram of the next lower order; train or prune the model again"
            )


def _expected_arcs(arpa: Path, symbols: Container[str]) -> int:
    """Count the n-grams of known words that do not end in a sentence mark: each is one arc of the FST."""
    return sum(
        row[order] not in (START, END) and all(word in symbols for word in row[1 : order + 1])
        for order, _, row in read_entries(arpa)
    )


def _word_arcs(fst: Path, back_off: int) -> int:
    with fst.open(encoding="utf-8") as stream:
        return sum(len(fields) > 3 and fields[2] != str(back_off) for fields in map(str.split, stream))


def evaluate(arpa: Path, dev_texts: DevTexts, vocabulary: Container[str], source: str = "") -> dict[str, Any]:
    """Return the numbers of n-grams, and perplexity and OOV rate of each dev part.

    Words outside the vocabulary are OOV. They are not scored; to the words after them they are <unk>.

    Args:
        arpa: language model.
        dev_texts: sentences of each dev part.
        vocabulary: words of the lang folder.
        source: the file that `arpa` is a copy of, for messages; empty: it is no copy.

    Raises:
        UserError: KenLM does not read the model.
    """
    settings = kenlm.Config()
    settings.show_progress, settings.arpa_complain = False, kenlm.ARPALoadComplain.NONE
    try:
        model = kenlm.Model(str(arpa), settings)
    except (OSError, RuntimeError) as error:
        reason = str(error).split("Exception")[-1].strip(" .)")
        raise UserError(
            f"{source or arpa}: KenLM does not read it ({reason}); train or prune the model again"
        ) from error
    parts = {part: _fit(model, texts, vocabulary) for part, texts in dev_texts.items()}
    return {"ngrams": _counts(arpa), "parts": parts, "sha256": sha256_file(arpa)}


def _fit(model: kenlm.Model, texts: Sequence[str], vocabulary: Container[str]) -> dict[str, Any]:
    total, words, oov = 0.0, 0, 0
    for text in texts:
        known = " ".join(word if word in vocabulary else UNKNOWN_WORDS[0] for word in text.split())
        for logprob, _, unknown in model.full_scores(known):
            total += 0.0 if unknown else logprob
            oov += unknown
            words += 1
    words -= len(texts)  # ends of sentences are scored too
    scored = words + len(texts) - oov
    perplexity = 10 ** (-total / scored) if scored else math.nan
    return {
        "perplexity": perplexity, "oov_rate": oov / words if words else 0.0, "oov": oov, "words": words,
        "sentences": len(texts),
    }  # fmt: skip


def _counts(arpa: Path) -> list[int]:
    counts = []
    for line in lines(arpa):
        if line.startswith("ngram "):
            counts.append(int(line.partition("=")[2]))
        elif counts:
            break
    return counts


def format_table(summary: Mapping[str, Any]) -> str:
    """Format the summary: n-grams of each model, perplexity and OOV rate of each part."""
    rows = []
    for name, model in summary.items():
        rows.append(f"{name}: " + ", ".join(f"{count} {n}-grams" for n, count in enumerate(model["ngrams"], start=1)))
        if model.get("ngrams_left_out"):
            rows.append(
                f"  {model['ngrams_left_out']} n-grams have a word without pronunciation: left out of the graph"
            )
        for part, fit in model["parts"].items():
            rows.append(
                f"  {part:<20} perplexity {fit['perplexity']:8.1f}   "
                f"OOV {100 * fit['oov_rate']:5.2f} % ({fit['oov']} of {fit['words']} words)"
            )
    return "\n".join(rows)
