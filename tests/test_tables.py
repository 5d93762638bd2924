"""Text files and tables of users: encodings, compression, malformed lines."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from augmem.errors import UserError
from augmem.tables import read_lines, read_table


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_lines_are_numbered_and_blank_lines_left_out(tmp_path: Path, name: str) -> None:
    content = "\ufeffone\n\n  \nthr\u00e9e\r\n".encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert list(read_lines(tmp_path / name)) == [(1, "one"), (4, "thr\u00e9e")]


def test_line_that_is_not_utf8_is_named_and_skipped_on_request(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\ncaf\xe9\nthree\n")
    with pytest.raises(UserError, match=r"a\.txt:2: byte 0xe9 at column 4 is not UTF-8; .*iconv -f latin1"):
        list(read_lines(tmp_path / "a.txt"))
    messages: list[str] = []
    assert list(read_lines(tmp_path / "a.txt", messages.append)) == [(1, "one"), (3, "three")]
    assert len(messages) == 1


@pytest.mark.parametrize("length", [5, 30])
def test_damaged_gzip_file_is_named(tmp_path: Path, length: int) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(range(256)))[:length])
    with pytest.raises(UserError, match=r"a\.gz: damaged compressed file"):
        list(read_lines(tmp_path / "a.gz"))


def test_table_is_read_by_column(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("a\tb\tc\n1\t2\t3\n\n4\t\t6\n")
    rows = list(read_table(tmp_path / "a.tsv", ("c", "a")))
    assert rows == [(2, {"a": "1", "b": "2", "c": "3"}), (4, {"a": "4", "b": "", "c": "6"})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\tb\n1\t2\n", r"a\.tsv:1: no column c; the first line must name the columns"),
        ("", r"a\.tsv:1: no column c"),
        ("c\ta\n1\t2\n1\n", r"a\.tsv:3: 1 cells, but the first line names 2 columns"),
    ],
)
def test_malformed_table_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.tsv").write_text(content)
    with pytest.raises(UserError, match=message):
        list(read_table(tmp_path / "a.tsv", ("c",)))
