"""The stage lm: FSTs score as ARPA files do, extra text lowers perplexity, faults name the file."""

from __future__ import annotations

import gzip
import json
import math
from collections import defaultdict
from pathlib import Path

import kenlm
import numpy as np
import pytest

from augmem.errors import UserError
from augmem.lang import Lang, LangConfig, LmConfig, prepare_lang, prepare_language_models, read_arpa
from tests.lang.conftest import make_sentences


def walk(fst: str, words: list[int], backoff: int) -> float:
    """Return the cost of a sentence; the back-off arc is taken only if the word has no arc."""
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
    path.write_text("The captain gave up.\n\n" + "\n".join(text.lower() for text in make_sentences(5, 2000)))
    return path


@pytest.fixture(scope="module")
def plain(lang_dir: Path, train_texts: list[str], dev_texts: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    prepare_language_models(LmConfig(), train_texts[:60], dev_texts, lang_dir, folder)
    return folder


def test_the_fst_scores_sentences_as_kenlm_does(plain: Path, lang_dir: Path, dev_texts: dict[str, list[str]]) -> None:
    lang = Lang.load(lang_dir)
    model = kenlm.Model(str(plain / "first_pass.arpa"))
    fst = (plain / "first_pass.fst.txt").read_text()
    for text in dev_texts["near"][:10]:
        cost = -math.log(10) * model.score(text)
        assert walk(fst, lang.word_ids(text), lang.words["#0"]) == pytest.approx(cost, abs=2e-3)


def test_the_summary_has_counts_and_the_fit_of_each_part(plain: Path, dev_texts: dict[str, list[str]]) -> None:
    """Perplexity and OOV rate follow from the back-off walk of an independent implementation."""
    summary = json.loads((plain / "summary.json").read_text())
    for name, orders in [("first_pass", 3), ("rescoring", 4)]:
        model = read_arpa(plain / f"{name}.arpa")
        assert summary[name]["ngrams"] == list(model.counts) and len(model.counts) == orders
        numbers = {word: index for index, word in enumerate(model.words)}
        for part, texts in dev_texts.items():
            scores, oov = [], 0
            for text in texts:
                ids = [numbers.get(word, numbers["<UNK>"]) for word in ("<s>", *text.split(), "</s>")]
                for end in range(2, len(ids) + 1):
                    known = ids[end - 1] != numbers["<UNK>"]
                    oov += not known
                    scores += [model.score(np.array([ids[max(0, end - orders) : end]]))[0]] * known
            fit = summary[name]["parts"][part]
            assert fit["perplexity"] == pytest.approx(10 ** -np.mean(scores), rel=1e-4)
            assert fit["words"] == sum(len(text.split()) for text in texts)
            assert fit["oov"] == oov == (2 if part == "far" else 0)  # ZEBRA and YODELS


def test_every_word_of_the_lang_folder_and_unk_are_in_the_model(plain: Path, lang_dir: Path) -> None:
    words = {line.split()[0] for line in (lang_dir / "words.txt").read_text().splitlines()}
    assert set(read_arpa(plain / "first_pass.arpa").words) == words - {"<eps>", "!SIL", "<SPOKEN_NOISE>", "#0"}


def test_no_back_off_weight_is_positive(plain: Path) -> None:
    """A decoding graph may back off although the n-gram is listed; a positive weight would make that cheaper."""
    assert max(level.backoff.max() for level in read_arpa(plain / "first_pass.arpa").levels) <= 1e-6


def test_extra_text_of_the_same_kind_lowers_perplexity(
    plain: Path, novel: Path, lang_dir: Path, train_texts: list[str], dev_texts: dict, tmp_path: Path
) -> None:
    config = LmConfig(extra_text=(str(novel),))
    prepare_language_models(config, train_texts[:60], dev_texts, lang_dir, tmp_path / "lm")
    before, after = (json.loads((folder / "summary.json").read_text()) for folder in (plain, tmp_path / "lm"))
    for name in before:
        fits = [summary[name]["parts"]["near"] for summary in (before, after)]
        assert fits[1]["perplexity"] < 0.9 * fits[0]["perplexity"]
        assert fits[0]["oov"] == fits[1]["oov"]  # the vocabulary is that of the lang folder


def test_unknown_words_of_the_training_text_become_unk(lang_dir: Path, train_texts: list[str], tmp_path: Path) -> None:
    texts = [text.replace("PILOT", "XYZZY") for text in train_texts]
    prepare_language_models(LmConfig(), texts, {}, lang_dir, tmp_path)
    model = read_arpa(tmp_path / "first_pass.arpa")
    the, unknown, pilot = (model.words.index(word) for word in ("THE", "<UNK>", "PILOT"))
    scores = model.score(np.array([[the, unknown], [the, pilot]]))
    assert scores[0] > scores[1]
    assert "XYZZY" not in model.words


def test_given_models_are_used(plain: Path, lang_dir: Path, dev_texts: dict, tmp_path: Path) -> None:
    given = LmConfig(first_pass_arpa=str(plain / "first_pass.arpa"), rescoring_arpa=str(plain / "rescoring.arpa"))
    prepare_language_models(given, [], dev_texts, lang_dir, tmp_path / "lm")
    assert (tmp_path / "lm" / "first_pass.fst.txt").read_bytes() == (plain / "first_pass.fst.txt").read_bytes()
    before, after = (json.loads((folder / "summary.json").read_text()) for folder in (plain, tmp_path / "lm"))
    for name in before:
        assert before[name]["parts"] == after[name]["parts"]


def test_the_first_pass_is_the_given_rescoring_model_pruned(
    plain: Path, lang_dir: Path, dev_texts: dict, tmp_path: Path
) -> None:
    given = LmConfig(rescoring_arpa=str(plain / "rescoring.arpa"), first_pass_pruning=1e-4)
    prepare_language_models(given, [], dev_texts, lang_dir, tmp_path / "lm")
    summary = json.loads((tmp_path / "lm" / "summary.json").read_text())
    expected = read_arpa(plain / "rescoring.arpa").prune(1e-4)
    assert summary["first_pass"]["ngrams"] == list(expected.counts)
    assert sum(summary["first_pass"]["ngrams"]) < sum(summary["rescoring"]["ngrams"])


def test_words_without_pronunciation_are_oov_and_their_ngrams_are_counted(plain: Path, tmp_path: Path) -> None:
    text = "THE CAPTAIN FINDS A JUNGLE"
    prepare_lang(LangConfig(g2p="none"), [text], tmp_path / "lang")
    given = LmConfig(rescoring_arpa=str(plain / "rescoring.arpa"), first_pass_pruning=0)
    prepare_language_models(given, [], {"dev": ["THE PILOT FINDS A JUNGLE"]}, tmp_path / "lang", tmp_path / "lm")
    summary = json.loads((tmp_path / "lm" / "summary.json").read_text())
    known = {*text.split(), "<s>", "</s>", "<UNK>"}
    ngrams = [
        line.split("\t")[1].split() for line in (plain / "rescoring.arpa").read_text().splitlines() if "\t" in line
    ]
    for model in summary.values():
        assert model["parts"]["dev"]["oov"] == 1
        assert model["ngrams_left_out"] == sum(not known.issuperset(words) for words in ngrams)


@pytest.mark.parametrize(
    ("config", "train", "dev", "fault"),
    [
        (LmConfig(), [], {"dev": ["A"]}, "the training text has no words"),
        (LmConfig(extra_text=("/none.txt",)), ["THE PILOT"], {"dev": ["A"]}, "/none.txt: no such file"),
        (LmConfig(extra_text=("NOVEL",)), ["THE PILOT"], {}, "extra_text needs dev text"),
        (
            LmConfig(first_pass_order=4),
            ["THE PILOT"],
            {"dev": ["A"]},
            "a text of 2 words is too small for a 4-gram model",
        ),
        (LmConfig(first_pass_arpa="/none.arpa"), ["THE PILOT"], {}, "/none.arpa: no such file"),
    ],
)
def test_faults_name_the_option_or_file(
    config: LmConfig, train: list, dev: dict, fault: str, lang_dir: Path, novel: Path, tmp_path: Path
) -> None:
    if config.extra_text == ("NOVEL",):
        config = LmConfig(extra_text=(str(novel),))
    with pytest.raises((UserError, FileNotFoundError), match=fault):
        prepare_language_models(config, train, dev, lang_dir, tmp_path / "lm")
    assert not list((tmp_path / "lm").glob("*.arpa"))


@pytest.mark.parametrize("damage", ["cut short", "overwritten"])
def test_a_damaged_gzip_file_is_named(damage: str, lang_dir: Path, tmp_path: Path) -> None:
    packed = gzip.compress("\n".join(make_sentences(5, 500)).encode())
    torn = {
        "cut short": packed[: len(packed) // 2],
        "overwritten": packed[:10] + b"\xff" * 30 + packed[40:],
    }
    path = tmp_path / "mine.gz"
    path.write_bytes(torn[damage])
    for config in (LmConfig(first_pass_arpa=str(path)), LmConfig(extra_text=(str(path),))):
        with pytest.raises(UserError, match=r"mine\.gz: damaged compressed file .*; fetch it again"):
            prepare_language_models(config, ["THE PILOT"], {"dev": ["A"]}, lang_dir, tmp_path / "lm")


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(UserError, match=r"lm\.first_pass_order is 9"):
        LmConfig(first_pass_order=9)
    with pytest.raises(UserError, match=r"lm\.rescoring_pruning is -1"):
        LmConfig(rescoring_pruning=-1)
