"""The choice of normalisation: other languages, their lang folders, and what is reported as lost."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augmem.errors import UserError
from augmem.lang import Lang, LangConfig, Normalisation, format_losses, prepare_lang, validate_lang

GERMAN = Normalisation("unicode", "de")
PERSIAN = "\u0633\u0644\u0627\u0645 \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"


@pytest.mark.parametrize(
    ("language", "written", "words"),
    [
        ("de", "Gr\u00fc\u00dfe, Mu\u0308nchen: 25 Euro!", "gr\u00fc\u00dfe m\u00fcnchen f\u00fcnfundzwanzig euro"),
        ("de", "3,5 Kilo, 1.000.000 Leute", "drei komma f\u00fcnf kilo eine million leute"),
        ("de", "1,234.50 007", "eins zweihundertvierunddrei\u00dfig f\u00fcnfzig 007"),
        ("de", "00,5 Kilo", "00 f\u00fcnf kilo"),
        (None, "25 Euro", "25 euro"),
        ("zh", "\u4f60\u597d\uff0c\u4e16\u754c\uff01 APP 5", "\u4f60\u597d \u4e16\u754c app 5"),
        ("fa", f"{PERSIAN}\u060c \u06f5", f"{PERSIAN} \u067e\u0646\u062c"),
        ("fr", "\u00ab L\u2019eau, \u2018oui\u2019 \u00bb (rires)", "l'eau oui"),
        ("hi", "\u0928\u092e\u0938\u094d\u0924\u0947 so\u00adft", "\u0928\u092e\u0938\u094d\u0924\u0947 soft"),
    ],
)  # fmt: skip
def test_unicode_keeps_letters_of_all_languages(language: str | None, written: str, words: str) -> None:
    assert Normalisation("unicode", language)(written) == words


@given(st.text(), st.sampled_from(["english", "unicode", "none"]), st.sampled_from([None, "en", "de", "ar", "ja"]))
def test_normalised_text_is_not_changed_and_consists_of_words(text: str, form: str, language: str | None) -> None:
    rules = Normalisation(form, None if form == "english" else language)  # type: ignore[arg-type]
    words = rules(text)
    assert rules(words) == words == " ".join(words.split())
    assert all(map(rules.is_word, words.split()))
    assert form != "unicode" or unicodedata.is_normalized("NFC", words)


def test_none_changes_nothing_but_white_space() -> None:
    assert Normalisation("none")(" Na\u00efve\u3000  [Lachen] 5,-\t") == "Na\u00efve [Lachen] 5,-"
    assert Normalisation("none").is_word("5,-") and Normalisation("none").change_case("Na\u00efve") == "Na\u00efve"


def test_losses_of_unicode_are_digits_and_symbols() -> None:
    losses = Normalisation("unicode").losses("M\u00fcller & S\u00f6hne, 100 % [lacht]")
    assert losses == {
        ("numbers in digits", "100"): 1, ("symbols", "&"): 1, ("symbols", "%"): 1,
        ("passages in brackets", "[lacht]"): 1,
    }  # fmt: skip
    assert GERMAN.losses("1,234.50") == {("ambiguous numbers", "1,234.50"): 1}
    assert GERMAN.losses("M\u00fcller 100") == {} == Normalisation("none").losses("100 %")


def test_losses_are_shown_by_kind() -> None:
    losses = Counter({("letters", "\u00fc"): 7, ("letters", "\u00df"): 2, ("symbols", "%"): 1})
    assert format_losses(losses) == "9 letters (\u00fc 7, \u00df 2); 1 symbols (% 1)"


@pytest.mark.parametrize(
    ("form", "language", "fault"),
    [
        ("latin", None, "corpus.normalisation is 'latin'"),
        ("unicode", "German", "corpus.language is 'German'"),
        ("english", "de", "use --corpus.normalisation unicode"),
    ],
)
def test_wrong_choices_are_refused(form: str, language: str | None, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        Normalisation(form, language)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    ["gr\u00fc\u00dfe aus m\u00fcnchen", "\u4f60\u597d \u4e16\u754c", PERSIAN],
    ids=["German", "Chinese", "right to left"],
)
def test_letters_of_any_script_are_units(tmp_path: Path, text: str) -> None:
    prepare_lang(LangConfig(units="grapheme"), [text], tmp_path, normalisation=GERMAN)
    lang = Lang.load(tmp_path)
    assert validate_lang(tmp_path) == [] and lang.normalisation == GERMAN
    letters = {"".join(lang.unit_of[unit][0] for unit in lang.pronunciations[word][0]) for word in text.split()}
    assert letters == set(text.split())


def test_own_lexicon_of_another_language(tmp_path: Path) -> None:
    (tmp_path / "lexicon").write_text("\u00c4pfel \u025b pf @ l\nf\u00fcnf f \u028f n f\n")
    config = LangConfig(lexicon=str(tmp_path / "lexicon"), g2p="none")
    prepare_lang(config, [GERMAN("F\u00fcnf \u00c4pfel.")], tmp_path / "lang", normalisation=GERMAN)
    lang = Lang.load(tmp_path / "lang")
    assert lang.normalisation == GERMAN and validate_lang(lang.folder) == []
    assert [lang.unit_of[unit] for unit in lang.pronunciations["\u00e4pfel"][0]] == ["\u025b", "pf", "@", "l"]


def test_the_english_dictionary_is_refused_for_another_language(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"lang\.lexicon is null, .* not de \(corpus\.language\): .*--lang\.units grapheme"
    ):
        prepare_lang(LangConfig(), ["drei"], tmp_path, normalisation=GERMAN)
    fault = r"CMU dictionary of English\): it has 33\.3% .*lang\.lexicon.*--lang\.units grapheme"
    with pytest.raises(UserError, match=fault):
        prepare_lang(
            LangConfig(), ["gr\u00fc\u00dfe aus m\u00fcnchen"], tmp_path, normalisation=Normalisation("unicode")
        )


def test_the_english_dictionary_has_lower_case_words_for_unicode(tmp_path: Path) -> None:
    prepare_lang(LangConfig(g2p="none"), ["hello world"], tmp_path, normalisation=Normalisation("unicode"))
    assert {"hello", "world"} < set(Lang.load(tmp_path).pronunciations)


def test_reserved_words_in_texts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="#1, <eps> in transcripts or word lists: a reserved symbol"):
        prepare_lang(LangConfig(units="grapheme"), ["a <eps> #1"], tmp_path, normalisation=Normalisation("none"))


def test_a_file_of_other_content_is_refused(tmp_path: Path) -> None:
    (tmp_path / "normalisation.json").write_text('{"kind": "english"}')
    with pytest.raises(UserError, match=r"normalisation\.json: expected form and language"):
        Normalisation.load(tmp_path)
