"""Global mapping files (GLM) of NIST: rules that rewrite texts before scoring, as csrfilt and rfilter1 of SCTK do.

    * case_sensitive = 'F'
    ;; comment
    MR => MISTER / [ ] __ [ ]
    [I'D] => [{I HAD / I WOULD}] / [ ] __ [ ]

At each position of a text the first rule whose pattern and contexts match is applied; the text after the pattern
follows. Contexts are those of the text before any rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from augmem.errors import UserError

_STRING = r"(?:\[((?:[^\[\]]|\[[^\[\]]*\])*)\]|'([^']*)'|\"([^\"]*)\"|(\S.*?))"
_RULE = re.compile(rf"{_STRING}\s*=>\s*{_STRING}?\s*(?:/\s*{_STRING}?\s*__\s*{_STRING}?\s*)?")
_HEADER = re.compile(r"\*\s*(\w+)\s*[=:]?\s*(?:'([^']*)'|\"([^\"]*)\")")
_SECTION = re.compile(r";;\s+INPUT_DEPENDENT_APPLICATION\s*=\s*\"([^\"]*)\"")
_TRUE, _FALSE = ("T", "TRUE", "YES"), ("F", "FALSE", "NO")


class Rule(NamedTuple):
    """Replace `pattern` by `replacement` between two contexts."""

    pattern: str
    replacement: str
    left: str
    right: str


class GlobalMap:
    """The rules of a GLM file for one kind of input.

    Args:
        path: the file.
        kinds: what the rules are applied to, for the sections INPUT_DEPENDENT_APPLICATION: the format, and ref or hyp.

    Raises:
        FileNotFoundError: no such file.
        UserError: a line is no rule.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "en.glm"
        >>> _ = path.write_text("MR => MISTER / [ ] __ [ ]")
        >>> GlobalMap(path)("mr Brown and mrs Brown")
        'MISTER Brown and mrs Brown'
    """

    def __init__(self, path: Path, *kinds: str) -> None:
        self._ignore_case = True
        self._rules: dict[str, list[Rule]] = {}  # by the first character of the pattern
        for number, line in _applicable_lines(path, kinds):
            if line.startswith("*"):
                self._read_header(path, number, line)
            else:
                rule = _read_rule(path, number, line)
                self._rules.setdefault(rule.pattern[0].upper(), []).append(rule)

    def __call__(self, text: str) -> str:
        """Return the text with all rules applied."""
        padded, position, pieces = f" {' '.join(text.split())} ", 0, []
        while position < len(padded):
            rule = self._find(padded, position)
            pieces.append(rule.replacement if rule else padded[position])
            position += len(rule.pattern) if rule else 1
        return " ".join("".join(pieces).split())

    def _find(self, text: str, position: int) -> Rule | None:
        rules = self._rules.get(text[position].upper(), ())
        return next((rule for rule in rules if self._applies(rule, text, position)), None)

    def _applies(self, rule: Rule, text: str, position: int) -> bool:
        start, around = position - len(rule.left), rule.left + rule.pattern + rule.right
        return start >= 0 and self._case(text[start : start + len(around)]) == self._case(around)

    def _case(self, text: str) -> str:
        return text.upper() if self._ignore_case else text

    def _read_header(self, path: Path, number: int, line: str) -> None:
        match = _HEADER.match(line)
        key, value = (match[1].lower(), (match[2] or match[3] or "").upper()) if match else ("", "")
        if key in ("case_sensitive", "copy_no_hit") and value not in (*_TRUE, *_FALSE):
            raise UserError(f"{path}:{number}: {key} is {value!r}: it must be 'T' or 'F'")
        if key == "case_sensitive":
            self._ignore_case = value in _FALSE
        elif key == "copy_no_hit" and value in _FALSE:
            raise UserError(f"{path}:{number}: copy_no_hit 'F' deletes all text without a rule; set it to 'T'")


def _applicable_lines(path: Path, kinds: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Yield (number, line) of headers and rules, without comments."""
    applies = True
    for number, raw in enumerate(path.read_bytes().splitlines(), start=1):
        line = raw.decode("latin1").strip()  # older files; ASCII but for names
        if section := _SECTION.match(line):
            applies = any(re.search(section[1].lower(), kind) for kind in kinds)
        line = line.split(";;")[0].strip()
        if line and applies:
            yield number, line


def _read_rule(path: Path, number: int, line: str) -> Rule:
    match = _RULE.fullmatch(line)
    strings = match.groups() if match else ()
    rule = Rule(*(_first(strings[4 * i : 4 * i + 4]) for i in range(4)))
    if not rule.pattern:
        raise UserError(f"{path}:{number}: expected PATTERN => REPLACEMENT / LEFT __ RIGHT, found {line[:80]!r}")
    return rule


def _first(strings: tuple[str | None, ...]) -> str:
    return next((string for string in strings if string is not None), "")
