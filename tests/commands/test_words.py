"""`augmem words`: further words for a trained model."""

from __future__ import annotations

from pathlib import Path

import pytest

from augmem.adaptation import add_words, from_package
from augmem.automata import load_fsa
from augmem.cli import parse_and_run
from augmem.errors import UserError
from augmem.graph import HLG_FILE
from augmem.lang import Lang, read_arpa
from augmem.streaming import GRAMMAR_FILE, Recognizer
from tests.tiny import RATE, noise


@pytest.fixture(scope="module")
def lm(package: Path) -> Path:
    return package.parent / "lm" / "first_pass.arpa"


def recognisable(package: Path) -> set[str]:
    """The words on the arcs of the decoding graph."""
    words = Lang.load(package / "lang").word_of
    return {words[index] for index in load_fsa(package / HLG_FILE).aux_labels.values.tolist() if index > 0} - {"<UNK>"}


def test_added_words_are_in_lexicon_grammar_and_graph(
    package: Path, lm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """WUN is given, ONE gets a second pronunciation, and ONETWO needs no word of its own."""
    names, new = tmp_path / "names.txt", tmp_path / "new"
    names.write_text("# names\nWun\tW AH N W\t100\none\tT AH N\n\n")
    assert parse_and_run(["words", str(package), "add", str(names), "--lm", str(lm), "--output", str(new)]) == 0
    assert capsys.readouterr().out == f"ONE\tW AH N\t(lexicon)\nwrote {new}\n"
    lang = Lang.load(new / "lang")
    assert lang.units_hash == Lang.load(package / "lang").units_hash
    forms = {tuple(lang.unit_of[unit] for unit in form) for form in lang.pronunciations["ONE"]}
    assert forms == {("T", "AH", "N"), ("W", "AH", "N")}
    assert recognisable(new) == {"ONE", "TWO", "WUN"}
    assert Recognizer.load(new).transcribe([noise(1.0)], RATE) is not None
    assert "2 words of names.txt were added" in (new / "README.md").read_text()
    names.write_text("TOO\tT UW\n")  # in place, with the grammar of the package itself
    assert parse_and_run(["words", str(new), "add", str(names)]) == 0
    assert recognisable(new) == {"ONE", "TWO", "WUN", "TOO"}
    model = read_arpa(new / GRAMMAR_FILE)
    assert sum(10**p for p, word in zip(model.levels[0].logprob, model.words, strict=True) if word != "<s>") == (
        pytest.approx(1, abs=1e-4)
    )
    assert model.levels[0].logprob[model.words.index("WUN")] > model.levels[0].logprob[model.words.index("TOO")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"names\.txt: no word"),
        ("\n# no entries\n", r"names\.txt: no word"),
        ("WUN\tW AH N\t1\tx\n", r"names\.txt:1: 4 fields"),
        ("TOO\nWUN\tW XX\n", r"names\.txt:2: XX is not a phone of the model; its phones are SIL SPN AH N"),
        ("WUN TOO\tW AH N\n", r"names\.txt:1: 'WUN TOO' is 2 words"),
        ("WUN\t\t-1\n", r"names\.txt:1: weight '-1' must be a number above 0"),
        ("WUN\t\tmuch\n", r"names\.txt:1: weight 'much'"),
        ("东京\n", r"names\.txt:1: no word of '东京' remains after normalisation english"),
    ],
)
def test_invalid_lists_are_refused_and_nothing_is_written(
    package: Path, lm: Path, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        add_words(from_package(package), tmp_path / "names.txt", lm, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_model_without_language_model_needs_one(package: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("WUN\tW AH N\n")
    with pytest.raises(UserError, match=r"no language model in it; give the one it was made with: --lm"):
        add_words(from_package(package), tmp_path / "names.txt", None, tmp_path / "new")


def test_an_experiment_needs_an_output(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(UserError, match=r"is an experiment: give the package to write"):
        parse_and_run(["words", str(tmp_path), "add", str(tmp_path / "names.txt")])
