"""Text normalisation: examples, and properties of any text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augmem.lang import normalise_text
from augmem.lang.fortunes import fortune_sentences

READINGS = [
    ("You couldn't pilot your way out of a paper bag.", "YOU COULDN'T PILOT YOUR WAY OUT OF A PAPER BAG"),
    ("Speeds of up to 100 miles an hour,", "SPEEDS OF UP TO ONE HUNDRED MILES AN HOUR"),
    ("He discovered it in 1844.", "HE DISCOVERED IT IN EIGHTEEN FORTY FOUR"),
    ("born 13th July, 1922, huh?", "BORN THIRTEENTH JULY NINETEEN TWENTY TWO HUH"),
    ("This is the 1940's.", "THIS IS THE NINETEEN FORTIES"),
    ("tonight at 19:00 Hours", "TONIGHT AT NINETEEN HUNDRED HOURS"),
    ("wake me at 7:05 or at 8:00", "WAKE ME AT SEVEN OH FIVE OR AT EIGHT O'CLOCK"),
    ("2B or not 2B: Model X7", "TWO B OR NOT TWO B MODEL X SEVEN"),
    ("007 paid $5.50 or 1,000,000 yen", "ZERO ZERO SEVEN PAID FIVE DOLLARS FIFTY OR ONE MILLION YEN"),
    ("50% of 3.14", "FIFTY PERCENT OF THREE POINT ONE FOUR"),
    ("Mr. Smith & Mrs. Jones vs. Dr. No", "MISTER SMITH AND MISSUS JONES VERSUS DOCTOR NO"),
    ("<Sound of drums (loud)> Mary-Lou [sighs] says: Hello!", "MARY LOU SAYS HELLO"),
    ("&#($!!, he got away!", "HE GOT AWAY"),
    ("\u2018Em go jumpin\u2019 at Amazons\u2019 \u2018caf\u00e9\u2019", "'EM GO JUMPIN' AT AMAZONS' CAFE"),
    ("Super Soldier Treatment^_ ... @@ now @@", "SUPER SOLDIER TREATMENT NOW"),
    ("...", ""),
]  # fmt: skip


@pytest.mark.parametrize(("written", "spoken"), READINGS)
def test_readings(written: str, spoken: str) -> None:
    assert normalise_text(written) == spoken


@given(st.text())
def test_output_is_normalised_and_normalisation_is_idempotent(text: str) -> None:
    spoken = normalise_text(text)
    assert re.fullmatch(r"([A-Z']+( [A-Z']+)*)?", spoken)
    assert not any(set(word) == {"'"} for word in spoken.split())
    assert normalise_text(spoken) == spoken


@given(st.lists(st.from_regex(r"[A-Z]('?[A-Z])*'?|'[A-Z]+", fullmatch=True)))
def test_librispeech_transcripts_are_not_changed(words: list[str]) -> None:
    words = [word for word in words if word not in {"MR", "MRS", "DR", "VS", "JR"}]
    assert normalise_text(" ".join(words)) == " ".join(words)


@given(st.integers(0, 10**18))
def test_numbers_are_read_out(number: int) -> None:
    assert normalise_text(f"{number}") and normalise_text(f"{number}th") and normalise_text(f"x{number}s")


def test_fortunes_are_sentences_without_sources() -> None:
    text = 'A black cat.  It goes\nsomewhere, Mr. Fox!\n\t\t-- Groucho Marx\n%\nHe said: "No."\n%\n'
    assert list(fortune_sentences(text)) == ["A BLACK CAT", "IT GOES SOMEWHERE MISTER FOX", "HE SAID", "NO"]
