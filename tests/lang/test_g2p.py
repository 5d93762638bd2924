"""G2P: rules, the trained model on unseen words, and its cache."""

from __future__ import annotations

import random
from pathlib import Path

import kaldialign
import pytest

from augmem.errors import UserError
from augmem.lang import LangConfig, load_cmudict, prepare_lang
from augmem.lang.g2p import apply_model, apply_rules, guess_pronunciations, load_or_train
from augmem.lang.lexicon import Lexicon

LEXICON: Lexicon = {
    "CAT": [("K", "AE", "T")],
    "DOG": [("D", "AO", "G"), ("D", "AA", "G")],
    "FOX": [("F", "AA", "K", "S")],
}


@pytest.mark.parametrize(
    ("word", "forms"),
    [
        ("CAT'S", [("K", "AE", "T", "S")]),
        ("DOG'S", [("D", "AO", "G", "Z"), ("D", "AA", "G", "Z")]),
        ("FOX'S", [("F", "AA", "K", "S", "IH", "Z")]),
        ("FOX'", [("F", "AA", "K", "S")]),
        ("'CAT'S", [("K", "AE", "T", "S")]),
        ("COW", []),
        ("'S", []),
    ],
)
def test_words_with_apostrophes(word: str, forms: list) -> None:
    assert [guess.phones for guess in apply_rules(word, LEXICON)] == forms


@pytest.fixture(scope="module")
def split() -> tuple[Lexicon, list[str]]:
    """Entries of the CMU dictionary for training, and words that are not among them."""
    lexicon = load_cmudict()
    words = sorted(word for word in lexicon if word.isalpha() and 4 <= len(word) <= 9)
    random.Random(7).shuffle(words)
    return {word: lexicon[word] for word in words[500:3500]}, words[:300]


def test_phone_error_rate_on_unseen_words(split: tuple[Lexicon, list[str]], tmp_path: Path) -> None:
    lexicon, unseen = split
    guesses, left_out = guess_pronunciations(unseen, lexicon, tmp_path, 0)
    reference = load_cmudict()
    errors = sum(
        min(kaldialign.edit_distance(list(form), list(guess.phones))["total"] for form in reference[guess.word])
        for guess in guesses
    )
    assert len(guesses) + len(left_out) == len(unseen) and len(left_out) < 3
    assert errors / sum(len(reference[guess.word][0]) for guess in guesses) < 0.25  # 3,000 words are few: about 0.18


def test_a_model_is_trained_once(split: tuple[Lexicon, list[str]], tmp_path: Path) -> None:
    lexicon = dict(list(split[0].items())[:300])
    first = load_or_train(lexicon, tmp_path, 0)
    stamp = first.stat().st_mtime_ns
    assert load_or_train(lexicon, tmp_path, 0) == first and first.stat().st_mtime_ns == stamp
    assert [path.name for path in tmp_path.iterdir()] == [first.name]
    assert set(apply_model(first, ["BANANA", "B'ANANA"])) == {"BANANA", "B'ANANA"}


def test_every_guess_is_listed(split: tuple[Lexicon, list[str]], tmp_path: Path) -> None:
    lexicon = tmp_path / "lexicon.txt"
    entries = list(split[0].items())[:300]
    lexicon.write_text("".join(f"{word} {' '.join(form)}\n" for word, forms in entries for form in forms))
    known = entries[0][0]
    config = LangConfig(lexicon=str(lexicon), g2p_cache=str(tmp_path / "cache"), silence_probability=0)
    prepare_lang(config, [f"{known} {known}'S BLORT"], tmp_path / "lang")
    rows = [row.split("\t") for row in (tmp_path / "lang" / "g2p_words.txt").read_text().splitlines()]
    sources = {row[0]: row[2] for row in rows}
    assert sources == {f"{known}'S": f"possessive of {known}", "BLORT": "g2p"}


def test_a_lexicon_too_small_for_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"3 entries|4 entries"):
        guess_pronunciations(["ZEBU"], LEXICON, tmp_path, 0)
