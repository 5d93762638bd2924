"""Lang folders: content, vocabulary, validation."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import sentencepiece

from augmem.errors import UserError
from augmem.lang import Lang, LangConfig, load_cmudict, prepare_lang, validate_lang
from augmem.lang.bpe import load_pieces


def test_a_phone_lang_folder_has_the_words_and_their_dictionary_pronunciations(
    lang_dir: Path, train_texts: list[str]
) -> None:
    lang = Lang.load(lang_dir)
    words = {word for text in train_texts for word in text.split()}
    assert set(lang.pronunciations) == words | {"!SIL", "<SPOKEN_NOISE>", "<UNK>"}
    assert [*lang.words][:1] == ["<eps>"] and [*lang.words][-3:] == ["#0", "<s>", "</s>"]
    reference = load_cmudict()
    for word in words:
        assert [tuple(lang.unit_of[unit] for unit in form) for form in lang.pronunciations[word]] == reference[word]
    assert lang.num_units == 42 and lang.unit_ids == list(range(1, 42))  # blank, SIL, SPN and 39 phones
    assert validate_lang(lang_dir) == []


@pytest.mark.parametrize(("line", "fault"), [("PILOT", "found 'PILOT'"), ("", "found ''"), ("X QQ", "QQ is not in")])
def test_faulty_lexicon_lines_are_named(lang_dir: Path, tmp_path: Path, line: str, fault: str) -> None:
    folder = shutil.copytree(lang_dir, tmp_path / "lang")
    lexicon = folder / "lexicon.txt"
    lexicon.write_text(lexicon.read_text() + line + "\n")
    number = len(lexicon.read_text().splitlines())
    with pytest.raises(UserError, match=rf"lexicon\.txt:{number}: .*{fault}"):
        Lang.load(folder)


def test_unknown_words_are_read_as_unk(lang_dir: Path) -> None:
    lang = Lang.load(lang_dir)
    ids = lang.word_ids("THE ZEBRA FLIES <s>")
    assert [lang.word_of[index] for index in ids] == ["THE", "<UNK>", "FLIES", "<UNK>"]


def test_the_words_hash_depends_on_the_words_and_the_units_hash_does_not(tmp_path: Path) -> None:
    config = LangConfig(g2p="none")
    hashes = []
    for name, text in [("a", "CAT"), ("b", "DOG"), ("again", "CAT")]:
        prepare_lang(config, [text], tmp_path / name)
        lang = Lang.load(tmp_path / name)
        hashes.append((lang.words_hash, lang.units_hash))
    assert hashes[0] == hashes[2]
    assert hashes[0][0] != hashes[1][0] and hashes[0][1] == hashes[1][1]


def test_word_pieces_of_a_word_join_to_the_word(tmp_path: Path, train_texts: list[str]) -> None:
    prepare_lang(LangConfig(units="bpe", bpe_vocab_size=60), train_texts, tmp_path)
    lang = Lang.load(tmp_path)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "bpe.model"))
    assert validate_lang(tmp_path) == []
    assert lang.num_units == 60 and [lang.unit_of[i] for i in range(3)] == ["<blk>", "<sos/eos>", "<unk>"]
    for word, forms in lang.pronunciations.items():
        if word != "<UNK>":
            assert "".join(lang.unit_of[unit] for unit in forms[0]) == f"\u2581{word}"
            assert pieces.encode(word) == forms[0]


def test_letters_have_position_marks(tmp_path: Path) -> None:
    prepare_lang(LangConfig(units="grapheme"), ["I CAN'T GO", "A BEE"], tmp_path)
    lang = Lang.load(tmp_path)
    assert validate_lang(tmp_path) == []
    letters = {word: " ".join(lang.unit_of[unit] for unit in form) for word, (form,) in lang.pronunciations.items()}
    assert letters == {
        "I": "I_S", "A": "A_S", "GO": "G_B O_E", "BEE": "B_B E_I E_E", "CAN'T": "C_B A_I N_I '_I T_E",
        "<UNK>": "SPN", "<SPOKEN_NOISE>": "SPN", "!SIL": "SIL",
    }  # fmt: skip


def test_too_many_word_pieces_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="bpe_vocab_size is 500: too many"):
        prepare_lang(LangConfig(units="bpe"), ["A CAT"], tmp_path)


def test_a_given_lexicon_and_extra_files_widen_the_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "novel.txt").write_text("The zebra saw the zebra, a blorft and an okapi. The end.\n")
    (tmp_path / "names.tsv").write_text("Blorft\t2\nGnu\t1\n")
    (tmp_path / "words").write_text("CAT K AE T\nTHE DH AH\nZEBRA Z IY B R AH\n")
    config = LangConfig(
        lexicon=str(tmp_path / "words"), g2p="none", min_count=2, extra_vocabulary_size=3,
        extra_vocabulary=(str(tmp_path / "novel.txt"), str(tmp_path / "names.tsv")),
    )  # fmt: skip
    prepare_lang(config, ["CAT CAT DOG"], tmp_path / "lang")
    assert vocabulary_of(tmp_path / "lang") == {"CAT", "THE", "ZEBRA"}  # DOG is rare
    assert (tmp_path / "lang" / "g2p_words.txt").read_text() == "BLORFT\t\tleft out: read as <UNK>\n"


ARPA = """\\data\\
ngram 1=6

\\1-grams:
-0.7\t</s>
-99\t<s>
-0.7\t<unk>
-0.7\tCAT
-0.7\tZEBRA
-0.7\tX-RAY

\\end\\
"""


def vocabulary_of(folder: Path) -> set[str]:
    return set(Lang.load(folder).pronunciations) - {"!SIL", "<SPOKEN_NOISE>", "<UNK>"}


def test_a_given_language_model_widens_the_vocabulary(tmp_path: Path) -> None:
    arpa = tmp_path / "given.arpa"
    arpa.write_text(ARPA)
    prepare_lang(LangConfig(), ["A CAT"], tmp_path / "lang", [arpa])
    assert vocabulary_of(tmp_path / "lang") == {"A", "CAT", "ZEBRA"}


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("a cat", r"given\.arpa: its words are in another case .*augmem prune-lm .*--upper-case"),
        ("BONJOUR MONDE", r"given\.arpa: it has 0\.0% of the words .*of another language"),
    ],
)
def test_a_language_model_of_another_case_or_language_is_refused(tmp_path: Path, words: str, fault: str) -> None:
    arpa = tmp_path / "given.arpa"
    first, second = words.split()
    arpa.write_text(ARPA.replace("CAT", first).replace("ZEBRA", second))
    with pytest.raises(UserError, match=fault):
        prepare_lang(LangConfig(), ["A CAT"], tmp_path / "lang", [arpa])


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("names.tsv", "Gnu 1\n", r"names\.tsv:1: expected word<TAB>count"),
        ("names.tsv", "Gnu\t\x1c3\n", r"names\.tsv:1: expected word<TAB>count"),
        ("novel.txt", None, "no such file"),
        ("novel.txt", b"fine\nna\xefve\n", r"novel\.txt:2: not UTF-8"),
    ],
)
def test_faults_in_extra_files_are_named(tmp_path: Path, name: str, text: str | bytes | None, fault: str) -> None:
    if text is not None:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises((UserError, FileNotFoundError), match=fault):
        prepare_lang(LangConfig(extra_vocabulary=(str(tmp_path / name),)), ["CAT"], tmp_path / "lang")


def test_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no word occurs 1 times or more in the 1 training transcripts"):
        prepare_lang(LangConfig(), [""], tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("units", "letters"),
        ("silence_probability", 1.0),
        ("min_count", 0),
        ("bpe_vocab_size", 3),
        ("g2p", "magic"),
    ],
)
def test_options_out_of_range_are_refused(field: str, value: object) -> None:
    with pytest.raises(UserError, match=rf"lang\.{field} is {value!r}"):
        LangConfig(**{field: value})


FAULTS = [
    ("tokens.txt", "SPN 2\n", "SPN 7\n", r"tokens\.txt:3: SPN has id 7, expected 2"),
    ("tokens.txt", "ZH 41\n", "Z 41\n", r"tokens\.txt:42: Z is on line 41 already"),
    ("tokens.txt", "#0 42\n", "#9 42\n", r"the last tokens must be #0, #1"),
    ("words.txt", "<eps> 0\n", "<nil> 0\n", r"words\.txt:1: the first word must be <eps>"),
    ("words.txt", "<UNK>", "<OOV>", r"words\.txt:\d+: <UNK>, the word for all unknown words, is missing"),
    ("words.txt", "</s>", "<end>", r"the last words must be #0, <s> and </s>"),
    ("lexicon.txt", "PILOT P", "PILOTS P", r"lexicon\.txt:\d+: PILOTS is not in words\.txt"),
    ("lexicon.txt", "PILOT P", "PILOT PP", r"lexicon\.txt:\d+: PILOT has PP, which is not a unit"),
    ("lexicon.txt", "PILOT P AY L AH T\n", "PILOT\n", r"expected a word and its units, found 'PILOT'"),
    ("lexicon.txt", "PILOT P AY L AH T\n", "", r"words\.txt:\d+: PILOT has no entry in lexicon\.txt"),
    ("lexicon_disambig.txt", "SPN #1", "SPN", r"disambig\.txt:2: units are a prefix of line 3, without #n"),
    (
        "lexicon_disambig.txt",
        "SPN #2",
        "SPN #1",
        r"disambig\.txt:3: same units as line 2 without #n",
    ),
    ("lexicon_disambig.txt", "PILOT P", "PILOT B", r"PILOT B AY L AH T is PILOT P AY L AH T in lexicon"),
    ("hash.txt", "", "0", r"hash\.txt:1: not the hash"),
]


@pytest.mark.parametrize(("name", "old", "new", "message"), FAULTS)
def test_validation_names_file_line_fault_and_remedy(
    lang_dir: Path, tmp_path: Path, name: str, old: str, new: str, message: str
) -> None:
    folder = shutil.copytree(lang_dir, tmp_path / "lang")
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))
    findings = "\n".join(validate_lang(folder))
    assert "run the lang stage again" in findings
    assert re.search(message, findings), findings


def test_damaged_files_of_a_lang_folder_are_named(lang_dir: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(lang_dir, tmp_path / "lang")
    for content in (b"\xae", b"0,5", b"nan", b"1"):
        (folder / "silence_probability.txt").write_bytes(content)
        with pytest.raises(UserError, match=r"silence_probability\.txt:1: expected a probability below 1, found"):
            assert Lang.load(folder).silence_probability
    (folder / "hash.txt").write_bytes(b"\xae")
    assert any(re.search(r"hash\.txt:1: not the hash", problem) for problem in validate_lang(folder))
    (folder / "bpe.model").write_bytes(b"\xff" * 9)
    with pytest.raises(UserError, match=r"bpe\.model: not a sentencepiece model"):
        load_pieces(folder)


def test_icefall_folders_without_a_hash_are_valid(lang_dir: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(lang_dir, tmp_path / "lang")
    (folder / "hash.txt").unlink()
    assert validate_lang(folder) == []
