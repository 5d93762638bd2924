"""Text normalisation: examples, and properties of any text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augmem.lang import normalise_text
from augmem.lang.fortunes import fortune_sentences
from augmem.lang.text import english_losses

READINGS = [
    ("You couldn't pilot your way out of a paper bag.", "YOU COULDN'T PILOT YOUR WAY OUT OF A PAPER BAG"),
    ("Speeds of up to 100 miles an hour,", "SPEEDS OF UP TO ONE HUNDRED MILES AN HOUR"),
    ("He discovered it in 1844.", "HE DISCOVERED IT IN EIGHTEEN FORTY FOUR"),
    ("born 13th July, 1922, huh?", "BORN THIRTEENTH JULY NINETEEN TWENTY TWO HUH"),
    ("This is the 1940's.", "THIS IS THE NINETEEN FORTIES"),
    ("tonight at 19:00 Hours", "TONIGHT AT NINETEEN HUNDRED HOURS"),
    ("wake me at 7:05 or at 8:00", "WAKE ME AT SEVEN OH FIVE OR AT EIGHT O'CLOCK"),
    ("2B or not 2B: Model X7", "TWO B OR NOT TWO B MODEL X SEVEN"),
    ("007 paid $5.50 or 1,000,000 yen", "ZERO ZERO SEVEN PAID FIVE DOLLARS FIFTY CENTS OR ONE MILLION YEN"),
    ("50% of 3.14", "FIFTY PERCENT OF THREE POINT ONE FOUR"),
    ("Mr. Smith & Mrs. Jones vs. Dr. No", "MISTER SMITH AND MISSUS JONES VERSUS DOCTOR NO"),
    ("<Sound of drums (loud)> Mary-Lou [sighs] says: Hello!", "MARY LOU SAYS HELLO"),
    ("&#($!!, he got away!", "HE GOT AWAY"),
    ("\u2018Em go jumpin\u2019 at Amazons\u2019 \u2018caf\u00e9\u2019", "'EM GO JUMPIN' AT AMAZONS' CAFE"),
    ("Super Soldier Treatment^_ ... @@ now @@", "SUPER SOLDIER TREATMENT NOW"),
    ("...", ""),
    ("$5.5 million", "FIVE POINT FIVE MILLION DOLLARS"),
    ("\u00a31,234.50", "ONE THOUSAND TWO HUNDRED AND THIRTY FOUR POUNDS FIFTY PENCE"),
    ("$1995, $.50 or $5m", "ONE THOUSAND NINE HUNDRED AND NINETY FIVE DOLLARS FIFTY CENTS OR FIVE MILLION DOLLARS"),
    ("5\u20ac and 50\u00a2", "FIVE EUROS AND FIFTY CENTS"),
    ("1995 dollars in 1995", "ONE THOUSAND NINE HUNDRED AND NINETY FIVE DOLLARS IN NINETEEN NINETY FIVE"),
    ("1,234 of 10\u00a0000", "ONE THOUSAND TWO HUNDRED AND THIRTY FOUR OF TEN THOUSAND"),
    ("3\u00bd cups, 3 1/4 and \u00bd", "THREE AND A HALF CUPS THREE AND A QUARTER AND ONE HALF"),
    ("1/2 on 9/11, 24/7", "ONE HALF ON NINE ELEVEN TWENTY FOUR SEVEN"),
    (".5 and -5, from 3-5 or 3 -5", "POINT FIVE AND MINUS FIVE FROM THREE FIVE OR THREE FIVE"),
    ("It is 3.14. The 1,000th!", "IT IS THREE POINT ONE FOUR THE ONE THOUSANDTH"),
    ("((ten)) [laughter-of] [laughter] (noise) clubs", "TEN OF CLUBS"),
    ("\u2018But thou contracted,\u2019 he, \u2018to thine own\u2019 eyes", "BUT THOU CONTRACTED HE TO THINE OWN EYES"),
    ("'Go forward ten meters'", "GO FORWARD TEN METERS"),
    ("'Ten' of 'clubs'", "TEN OF CLUBS"),
    ("'Tis the boys' house,' he said. 'Go", "'TIS THE BOYS' HOUSE HE SAID GO"),
    ("'E 'ad 'is own 'ouse, rock 'n' roll", "'E 'AD 'IS OWN 'OUSE ROCK N ROLL"),
    ("``Hello there,'' she said", "HELLO THERE SHE SAID"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "spoken"), READINGS)
def test_readings(written: str, spoken: str) -> None:
    assert normalise_text(written) == spoken


def test_losses_are_counted_by_kind() -> None:
    assert english_losses("M\u00fcller \u4eca\u5929 1.000.000 7/10 [laughs] 5\u00b0") == {
        ("letters", "\u00fc"): 1, ("letters", "\u4eca"): 1, ("letters", "\u5929"): 1,
        ("passages in brackets", "[laughs]"): 1,
        ("ambiguous numbers", "1.000.000"): 1, ("ambiguous numbers", "7/10"): 1,
        ("symbols", "/"): 1, ("symbols", "\u00b0"): 1,
    }  # fmt: skip


@given(st.text("ABC' "))
def test_normalised_text_has_no_losses(text: str) -> None:
    assert not english_losses(text)


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
