"""The language-model stage: its FSTs score as its ARPA files do, extra text helps, faults are told."""

from __future__ import annotations

import gzip
import json
import math
from collections import defaultdict
from pathlib import Path

import pytest

from augmem.lang import Lang, LmConfig, prepare_language_models, read_arpa
from augmem.lang.arpa import END, START
from tests.lang.conftest import invent


def walk(fst: str, words: list[int], backoff: int) -> float:
    """Cost of a sentence by a failure walk: the back-off arc is taken only where the word is missing."""
    arcs: dict[int, dict[int, tuple[int, float]]] = defaultdict(dict)
    final: dict[int, float] = {}
    start: int | None = None
    for fields in (line.split() for line in fst.splitlines() if line.strip()):
        start = int(fields[0]) if start is None else start
        if len(fields) <= 2:
            final[int(fields[0])] = float(fields[1]) if len(fields) == 2 else 0.0
        else:
            arcs[int(fields[0])][int(fields[2])] = (
                int(fields[1]),
                float(fields[4]) if len(fields) > 4 else 0.0,
            )
    assert start is not None
    state, cost = start, 0.0
    for word in words:
        while word not in arcs[state]:
            state, more = arcs[state][backoff]
            cost += more
        state, more = arcs[state][word]
        cost += more
    while state not in final:
        state, more = arcs[state][backoff]
        cost += more
    return cost + final[state]


@pytest.fixture(scope="module")
def novel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "novel.txt"
    path.write_text("The captain gave up.\n\n" + "\n".join(text.lower() for text in invent(5, 2000)))
    return path


@pytest.fixture(scope="module")
def plain(lang_dir: Path, train_texts: list[str], dev_texts: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    prepare_language_models(LmConfig(), train_texts[:60], dev_texts, lang_dir, folder)
    return folder


def test_the_fst_scores_sentences_as_the_arpa_file_does(
    plain: Path, lang_dir: Path, dev_texts: dict[str, list[str]]
) -> None:
    lang = Lang.load(lang_dir)
    model = read_arpa(plain / "first_pass.arpa")
    fst = (plain / "first_pass.fst.txt").read_text()
    for text in dev_texts["near"][:10]:
        words = [START, *text.split(), END]
        truth = -math.log(10) * sum(model.logprob(words[i], words[:i]) for i in range(1, len(words)))
        assert walk(fst, lang.word_ids(text), lang.words["#0"]) == pytest.approx(truth, abs=2e-3)


def test_the_summary_counts_ngrams_and_fits_each_part(plain: Path, dev_texts: dict[str, list[str]]) -> None:
    summary = json.loads((plain / "summary.json").read_text())
    for name, orders in [("first_pass", 3), ("rescoring", 4)]:
        model = read_arpa(plain / f"{name}.arpa")
        assert summary[name]["ngrams"] == list(model.counts) and len(model.counts) == orders
        for part, texts in dev_texts.items():
            assert summary[name]["parts"][part]["perplexity"] == pytest.approx(model.perplexity(texts).value)
            assert summary[name]["parts"][part]["words"] == sum(len(text.split()) for text in texts)


def test_extra_text_of_the_same_kind_lowers_perplexity(
    plain: Path, novel: Path, lang_dir: Path, train_texts: list[str], dev_texts: dict, tmp_path: Path
) -> None:
    config = LmConfig(extra_text=(str(novel),))
    prepare_language_models(config, train_texts[:60], dev_texts, lang_dir, tmp_path / "lm")
    before, after = (json.loads((folder / "summary.json").read_text()) for folder in (plain, tmp_path / "lm"))
    for name in before:
        fits = [summary[name]["parts"]["near"] for summary in (before, after)]
        assert fits[1]["perplexity"] < 0.9 * fits[0]["perplexity"]
        assert fits[0]["oov"] == fits[1]["oov"]  # the vocabulary is the lang's, whatever the text


def test_unknown_words_of_the_training_text_become_unk(lang_dir: Path, train_texts: list[str], tmp_path: Path) -> None:
    texts = [text.replace("PILOT", "XYZZY") for text in train_texts]
    prepare_language_models(LmConfig(), texts, {}, lang_dir, tmp_path)
    model = read_arpa(tmp_path / "first_pass.arpa")
    assert model.logprob("<UNK>", ["THE"]) > model.logprob("PILOT", ["THE"])
    assert ("XYZZY",) not in model.ngrams


def test_given_arpa_files_are_taken(plain: Path, lang_dir: Path, dev_texts: dict, tmp_path: Path) -> None:
    given = LmConfig(
        first_pass_arpa=str(plain / "first_pass.arpa"), rescoring_arpa=str(plain / "rescoring.arpa")
    )  # fmt: skip
    prepare_language_models(given, [], dev_texts, lang_dir, tmp_path / "lm")
    for name in ("first_pass.arpa", "first_pass.fst.txt", "rescoring.arpa", "summary.json"):
        assert (tmp_path / "lm" / name).read_bytes() == (plain / name).read_bytes()


@pytest.mark.parametrize(
    ("config", "train", "dev", "fault"),
    [
        (LmConfig(), [], {"dev": ["A"]}, "the training text has no words"),
        (LmConfig(extra_text=("/none.txt",)), ["THE PILOT"], {"dev": ["A"]}, "/none.txt: no such file"),
        (LmConfig(extra_text=("NOVEL",)), ["THE PILOT"], {}, "extra_text needs dev text"),
        (LmConfig(first_pass_arpa="/none.arpa"), ["THE PILOT"], {}, "/none.arpa: no such file"),
    ],
)
def test_faults_are_told(
    config: LmConfig, train: list, dev: dict, fault: str, lang_dir: Path, novel: Path, tmp_path: Path
) -> None:
    if config.extra_text == ("NOVEL",):
        config = LmConfig(extra_text=(str(novel),))
    with pytest.raises((ValueError, FileNotFoundError), match=fault):
        prepare_language_models(config, train, dev, lang_dir, tmp_path / "lm")
    assert not list((tmp_path / "lm").glob("*.arpa"))


@pytest.mark.parametrize("damage", ["cut short", "overwritten", "not gzip"])
def test_a_damaged_gzip_file_is_named(damage: str, lang_dir: Path, tmp_path: Path) -> None:
    packed = gzip.compress("\n".join(invent(5, 500)).encode())
    torn = {
        "cut short": packed[: len(packed) // 2],
        "overwritten": packed[:10] + b"\xff" * 30 + packed[40:],
        "not gzip": b"\\data\\",
    }
    path = tmp_path / "mine.gz"
    path.write_bytes(torn[damage])
    for config in (LmConfig(first_pass_arpa=str(path)), LmConfig(extra_text=(str(path),))):
        with pytest.raises(ValueError, match=r"mine\.gz: damaged gzip file .*; fetch it again"):
            prepare_language_models(config, ["THE PILOT"], {"dev": ["A"]}, lang_dir, tmp_path / "lm")


def test_impossible_options_are_told() -> None:
    with pytest.raises(ValueError, match=r"LmConfig\.first_pass_order is 9"):
        LmConfig(first_pass_order=9)
    with pytest.raises(ValueError, match=r"LmConfig\.rescoring_pruning is -1"):
        LmConfig(rescoring_pruning=-1)
