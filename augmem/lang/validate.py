"""Validation of lang folders. Every message contains file, line, problem and remedy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from augmem.lang.lang import HASHED, content_hash
from augmem.lang.lexicon import DISAMBIGUATION, OOV_WORD

REMEDY = "run the lang stage again"
BLANKS = ("<eps>", "<blk>")
Numbered = list[tuple[int, list[str]]]


def validate_lang(folder: Path) -> list[str]:
    """Check a lang folder, of this project or of icefall; return a list of problems."""
    folder = Path(folder)
    needed = (*HASHED, "lexicon_disambig.txt")
    missing = [f"{folder / name}: no such file; {REMEDY}" for name in needed if not (folder / name).is_file()]
    if missing:
        return missing
    texts = {name: _fields(folder / name) for name in needed}
    return [
        *_check_tokens(folder / "tokens.txt", texts["tokens.txt"]),
        *_check_words(folder / "words.txt", texts["words.txt"]),
        *_check_lexicon(folder / "lexicon.txt", texts["lexicon.txt"], texts, plain=True),
        *_check_lexicon(folder / "lexicon_disambig.txt", texts["lexicon_disambig.txt"], texts, plain=False),
        *_check_lexicons_agree(folder / "lexicon_disambig.txt", texts),
        *_check_prefixes(folder / "lexicon_disambig.txt", texts["lexicon_disambig.txt"]),
        *_check_hash(folder),
    ]


def _fields(path: Path) -> Numbered:
    text = path.read_text(encoding="utf-8", errors="replace")
    return [(number, line.split()) for number, line in enumerate(text.splitlines(), start=1)]


def _check_table(path: Path, rows: Numbered) -> Iterator[str]:
    """Check that symbols are unique and ids are 0, 1, 2, ... in the order of the lines."""
    seen: dict[str, int] = {}
    for number, fields in rows:
        if len(fields) != 2:
            yield f'{path}:{number}: expected "symbol id", found {" ".join(fields)!r}; {REMEDY}'
            continue
        symbol, index = fields
        if symbol in seen:
            yield f"{path}:{number}: {symbol} is on line {seen[symbol]} already; {REMEDY}"
        seen.setdefault(symbol, number)
        if index != str(number - 1):
            yield f"{path}:{number}: {symbol} has id {index}, expected {number - 1}; {REMEDY}"


def _check_tokens(path: Path, rows: Numbered) -> Iterator[str]:
    yield from _check_table(path, rows)
    symbols = [fields[0] for _, fields in rows if fields]
    if not symbols or symbols[0] not in BLANKS:
        yield f"{path}:1: the first token must be the blank, <eps> or <blk>; {REMEDY}"
    numbered = [symbol for symbol in symbols if DISAMBIGUATION.fullmatch(symbol)]
    if not numbered or symbols[-len(numbered) :] != [f"#{i}" for i in range(len(numbered))]:
        yield f"{path}:{len(rows)}: the last tokens must be #0, #1, #2, ... without gaps; {REMEDY}"


def _check_words(path: Path, rows: Numbered) -> Iterator[str]:
    yield from _check_table(path, rows)
    words = [fields[0] for _, fields in rows if fields]
    if not words or words[0] != "<eps>":
        yield f"{path}:1: the first word must be <eps>; {REMEDY}"
    if OOV_WORD not in words:
        yield f"{path}:{len(rows)}: {OOV_WORD}, the word for all unknown words, is missing; {REMEDY}"
    if words[-3:] != ["#0", "<s>", "</s>"]:
        yield f"{path}:{len(rows)}: the last words must be #0, <s> and </s>; {REMEDY}"


def _check_lexicon(path: Path, rows: Numbered, texts: dict[str, Numbered], plain: bool) -> Iterator[str]:
    """Check that words and units are in their tables, entries are complete and unique, and every word has an entry."""
    tokens = {fields[0] for _, fields in texts["tokens.txt"] if fields}
    words = [fields[0] for _, fields in texts["words.txt"] if fields]
    known, seen = set(words), dict[tuple[str, ...], int]()
    for number, fields in rows:
        entry = tuple(fields)
        if len(entry) < 2:
            yield f"{path}:{number}: expected a word and its units, found {' '.join(entry)!r}; {REMEDY}"
            continue
        if entry[0] not in known:
            yield f"{path}:{number}: {entry[0]} is not in words.txt; {REMEDY}"
        for unit in entry[1:]:
            if unit not in tokens or unit in BLANKS or (plain and DISAMBIGUATION.fullmatch(unit)):
                yield f"{path}:{number}: {entry[0]} has {unit}, which is not a unit of tokens.txt; {REMEDY}"
        if entry in seen:
            yield f"{path}:{number}: {' '.join(entry)} is on line {seen[entry]} already; {REMEDY}"
        seen.setdefault(entry, number)
    without = known - {entry[0] for entry in seen} - {"<eps>", "#0", "<s>", "</s>"}
    for word in sorted(without):
        line = words.index(word) + 1
        yield f"{path.parent / 'words.txt'}:{line}: {word} has no entry in {path.name}; {REMEDY}"


def _strip(fields: Iterable[str]) -> list[str]:
    return [field for field in fields if not DISAMBIGUATION.fullmatch(field)]


def _check_lexicons_agree(path: Path, texts: dict[str, Numbered]) -> Iterator[str]:
    plain = [fields for _, fields in texts["lexicon.txt"]]
    distinct = [(number, _strip(fields)) for number, fields in texts["lexicon_disambig.txt"]]
    if len(plain) != len(distinct):
        yield f"{path}: {len(distinct)} lines, but lexicon.txt has {len(plain)}; {REMEDY}"
    for (number, fields), expected in zip(distinct, plain, strict=False):
        if fields != expected:
            yield f"{path}:{number}: {' '.join(fields)} is {' '.join(expected)} in lexicon.txt; {REMEDY}"
            return


def _check_prefixes(path: Path, rows: Numbered) -> Iterator[str]:
    """Check that no unit sequence is equal to or a prefix of another one: otherwise L o G cannot be determinised."""
    lines: dict[tuple[str, ...], int] = {}
    for number, fields in rows:
        units = tuple(fields[1:])
        if units in lines:
            yield f"{path}:{number}: same units as line {lines[units]} without #n to distinguish them; {REMEDY}"
        lines.setdefault(units, number)
    for units, number in lines.items():
        for length in range(1, len(units)):
            if units[:length] in lines:
                line = lines[units[:length]]
                yield f"{path}:{line}: units are a prefix of line {number}, without #n; {REMEDY}"


def _check_hash(folder: Path) -> Iterator[str]:
    """Check hash.txt, which icefall's folders do not have."""
    path = folder / "hash.txt"
    if path.is_file() and path.read_bytes().strip() != content_hash(folder).encode():
        yield f"{path}:1: not the hash of {', '.join(HASHED)}: one of them was edited; {REMEDY}"
