"""The language-model stage: n-gram models of the training text and further texts, as ARPA and FST text."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from augmem.files import atomic_path, sha256_file, write_json
from augmem.lang.arpa import arpa_head, needed_ngrams, read_arpa, write_arpa
from augmem.lang.config import LmConfig
from augmem.lang.lang import Lang
from augmem.lang.lexicon import OOV_WORD, SPECIAL_WORDS
from augmem.lang.prune import prune
from augmem.lang.text_files import open_reader
from augmem.lang.tools import run_tool
from augmem.lang.vocabulary import read_text

log = logging.getLogger(__name__)

MODELS = ("first_pass", "rescoring")
DevTexts = Mapping[str, Sequence[str]]


class Source(NamedTuple):
    """A text to learn from: where it comes from, and its normalised sentences."""

    name: str
    texts: Sequence[str]


def prepare_language_models(
    config: LmConfig, train_texts: Sequence[str], dev_texts: DevTexts, lang_dir: Path, output: Path
) -> None:
    """Write `first_pass` and `rescoring` as .arpa, and their fit to dev as summary.json.

    Both have exactly the lang folder's words and <UNK>. `first_pass`, which goes into the decoding graph, also comes
    as .fst.txt, with the ids of words.txt, and #0 on back-off arcs.

    Args:
        train_texts: normalised training sentences.
        dev_texts: normalised sentences of each dev part; they tune interpolation weights and nothing else.
    Raises:
        ValueError: an empty text, or a fault in a file the config names.
    """
    vocabulary = set(Lang.load(lang_dir).pronunciations) - SPECIAL_WORDS
    trained = not all(getattr(config, f"{name}_arpa") for name in MODELS)
    sources = read_sources(config, train_texts, vocabulary) if trained else []
    output.mkdir(parents=True, exist_ok=True)
    for name in MODELS:
        log.info("%s language model", name)
        given = getattr(config, f"{name}_arpa")
        with atomic_path(output / f"{name}.arpa") as arpa:
            if given:
                _copy_given(Path(given), arpa)
            else:
                train(sources, vocabulary, getattr(config, f"{name}_order"), dev_texts, arpa)
                _prune(arpa, getattr(config, f"{name}_pruning"), name)
    _write_fst(output / f"{MODELS[0]}.arpa", lang_dir / "words.txt", output / f"{MODELS[0]}.fst.txt")
    summary = {name: evaluate(output / f"{name}.arpa", dev_texts) for name in MODELS}
    write_json(output / "summary.json", summary)
    log.info("language models\n%s", format_table(summary))


def read_sources(config: LmConfig, train_texts: Sequence[str], vocabulary: set[str]) -> list[Source]:
    """The training text and every extra text, none of them empty.

    In the training text words that the lang lacks become <UNK>, so that the model learns where those occur.
    In other texts they are gaps: much of such a text may be unknown, and <UNK> would swallow as much.
    """
    covered = [" ".join(w if w in vocabulary else OOV_WORD for w in text.split()) for text in train_texts]
    extra = [Source(name, list(read_text(Path(name)))) for name in config.extra_text]
    sources = [Source("the training text", [text for text in covered if text]), *extra]
    for source in sources:
        if not source.texts:
            raise ValueError(f"{source.name} has no words: mend it, or take it out of the recipe")
    return sources


def train(sources: Sequence[Source], vocabulary: set[str], order: int, dev_texts: DevTexts, output: Path) -> None:
    """One modified Kneser-Ney model for each text; several are mixed with weights that suit the dev text."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        words = work / "vocabulary"
        _write_lines([OOV_WORD, *sorted(vocabulary)], words)
        parts = [_estimate(source.texts, order, words, work / f"{index}.arpa") for index, source in enumerate(sources)]
        if len(parts) == 1:
            shutil.copyfile(parts[0], output)
        else:
            _interpolate(parts, order, words, dev_texts, work, output)


def _prune(arpa: Path, threshold: float, name: str) -> None:
    if threshold:
        whole = read_arpa(arpa)
        pruned = prune(whole, threshold)
        log.info("%s: %d of %d n-grams left after pruning", name, sum(pruned.counts), sum(whole.counts))
        write_arpa(arpa, pruned)


def _estimate(texts: Iterable[str], order: int, words: Path, arpa: Path) -> Path:
    text = arpa.with_suffix(".txt")
    _write_lines(texts, text)
    run_tool("estimate-ngram", "-order", str(order), "-vocab", words, "-text", text, "-write-lm", arpa)
    return arpa


def _interpolate(parts: Sequence[Path], order: int, words: Path, dev_texts: DevTexts, work: Path, output: Path) -> None:
    dev = work / "dev.txt"
    _write_lines((text for texts in dev_texts.values() for text in texts), dev)
    if not dev.stat().st_size:
        raise ValueError("lm.extra_text needs dev text to tune its weights on: name a dev part, or leave it empty")
    arpas = ",".join(map(str, parts))
    run_tool(
        "interpolate-ngram", "-order", str(order), "-vocab", words, "-lm", arpas,
        "-opt-perp", dev, "-write-lm", output,
    )  # fmt: skip


def _write_lines(texts: Iterable[str], path: Path) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(f"{text}\n" for text in texts if text)


def _copy_given(source: Path, target: Path) -> None:
    with open_reader(source) as stream, target.open("wb") as copy:
        shutil.copyfileobj(stream, copy)


def _write_fst(arpa: Path, words: Path, output: Path) -> None:
    """Kaldi's arpa2fst, in a process of its own because its log can't be silenced.

    N-grams with words that words.txt lacks are passed over.
    """
    with atomic_path(output) as partial:
        command = [
            sys.executable, "-m", "kaldilm", "--read-symbol-table", str(words), "--disambig-symbol", "#0",
            "--max-arpa-warnings", "0", str(arpa),
        ]  # fmt: skip
        with partial.open("w", encoding="utf-8") as stream:
            done = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise ValueError(f"{arpa}: kaldilm can't turn it into an FST: {done.stderr[-500:]}")


def evaluate(arpa: Path, dev_texts: DevTexts) -> dict[str, Any]:
    """Numbers of n-grams, and perplexity and OOV of each dev part, by the true back-off walk."""
    every = [text for texts in dev_texts.values() for text in texts]
    model = read_arpa(arpa, keep=needed_ngrams(every, *arpa_head(arpa)))
    parts = {}
    for part, texts in dev_texts.items():
        fit = model.perplexity(texts)
        parts[part] = {
            "perplexity": fit.value, "oov_rate": fit.oov_rate, "oov": fit.oov, "words": fit.words,
            "sentences": fit.sentences,
        }  # fmt: skip
    return {"ngrams": list(model.counts), "parts": parts, "sha256": sha256_file(arpa)}


def format_table(summary: Mapping[str, Any]) -> str:
    """The summary as lines of text: n-grams of each model, then perplexity and OOV of each part."""
    rows = []
    for name, model in summary.items():
        rows.append(f"{name}: " + ", ".join(f"{count} {n}-grams" for n, count in enumerate(model["ngrams"], start=1)))
        for part, fit in model["parts"].items():
            rows.append(
                f"  {part:<20} perplexity {fit['perplexity']:8.1f}   "
                f"OOV {100 * fit['oov_rate']:5.2f} % ({fit['oov']} of {fit['words']} words)"
            )
    return "\n".join(rows)
