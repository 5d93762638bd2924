"""`augmem prune-lm`: a smaller model in a compressed file, and the pronunciations of its words."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from augmem.cli import main
from augmem.errors import UserError
from augmem.lang import LangConfig, LmConfig, prepare_lang, prepare_language_models, read_arpa
from augmem.lang.text_files import lines
from tests.lang.conftest import make_sentences
from tests.lang.test_arpa import TINY


@pytest.fixture(scope="module")
def arpa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lm")
    texts = make_sentences(1, 400)
    prepare_lang(LangConfig(g2p="none"), texts, folder / "lang")
    prepare_language_models(LmConfig(first_pass_pruning=0), texts, {}, folder / "lang", folder)
    return folder / "first_pass.arpa"


@pytest.fixture
def prune_lm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def run(*words: str | Path) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["augmem", "prune-lm", *map(str, words)])
        status = main()
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return run


def test_the_model_is_small_and_every_word_has_a_pronunciation(arpa: Path, tmp_path: Path, prune_lm) -> None:  # type: ignore[no-untyped-def]
    text, small, lexicon = tmp_path / "text", tmp_path / "small.arpa.xz", tmp_path / "lexicon.txt.xz"
    text.write_text("BREAD AND BUTTER\n")
    status, output = prune_lm(
        arpa, "--output", small, "--vocabulary", "15", "--max-ngrams", "40", "--decimals", "2",
        "--lexicon", lexicon, "--lexicon-text", text,
    )  # fmt: skip
    model = read_arpa(small)
    assert status == 0 and f"{model.counts[1]:,} 2-grams" in output
    assert len(model.words) == 18 and sum(model.counts) <= 40
    pronounced = {line.split()[0] for line in lines(lexicon)}
    assert pronounced == {word for word in model.words if word[0] != "<"} | {"BREAD", "AND", "BUTTER"}


def test_a_vocabulary_that_shares_no_word_is_refused(arpa: Path, tmp_path: Path, prune_lm) -> None:  # type: ignore[no-untyped-def]
    words = tmp_path / "words.tsv"
    words.write_text("ZEBRA\t3\n")
    status, output = prune_lm(arpa, "--output", tmp_path / "out.arpa", "--vocabulary", words)
    assert status == 1 and "words.tsv: the language model has none of its words" in output
    assert not (tmp_path / "out.arpa").exists()


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.arpa.xz"
    path.write_bytes(lzma.compress(b"\n\\data\\\nngram 1=1\n" * 1000)[:-20])
    with pytest.raises(UserError, match=r"cut\.arpa\.xz: damaged compressed file"):
        read_arpa(path)


def test_words_are_converted_to_upper_case(tmp_path: Path, prune_lm) -> None:  # type: ignore[no-untyped-def]
    lower, twice = tmp_path / "lower.arpa", tmp_path / "twice.arpa"
    lower.write_text(TINY.replace("A", "a"))
    twice.write_text(TINY.replace("1=3", "1=4").replace("-0.5\tA", "-0.5\ta\n-0.5\tA"))
    assert prune_lm(lower, "--upper-case", "--output", tmp_path / "upper.arpa")[0] == 0
    assert set(read_arpa(tmp_path / "upper.arpa").words) == {"A", "<s>", "</s>"}
    status, output = prune_lm(twice, "--upper-case", "--output", tmp_path / "none.arpa")
    assert status == 1 and "1 words are not unique in upper case (A, ...)" in output


@pytest.mark.parametrize(("option", "value"), [("--pruning", "2.0"), ("--max-ngrams", "-1"), ("--decimals", "9")])
def test_options_out_of_range_are_refused(tmp_path: Path, prune_lm, option: str, value: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "tiny.arpa").write_text(TINY)
    status, output = prune_lm(tmp_path / "tiny.arpa", "--output", tmp_path / "out.arpa", option, value)
    assert status == 1 and f"{option} is {value}; it must be" in output
