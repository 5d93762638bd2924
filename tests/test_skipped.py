"""skipped.tsv: what is written is read, malformed lines are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from augmem.errors import UserError
from augmem.skipped import SkipLog, SkippedUtterance, read_skipped


def test_written_table_is_read(tmp_path: Path) -> None:
    log = SkipLog()
    log.add("u1", "missing audio")
    log.add("u2", "too short", "a.wav: 3\tframes\nonly")
    log.write(tmp_path / "skipped.tsv")
    lines = (tmp_path / "skipped.tsv").read_text().splitlines()
    assert lines == ["id\treason\tdetail", "u1\tmissing audio\t", "u2\ttoo short\ta.wav: 3 frames only"]
    expected = [SkippedUtterance("u1", "missing audio"), SkippedUtterance("u2", "too short", "a.wav: 3 frames only")]
    assert read_skipped(tmp_path / "skipped.tsv") == expected


def test_malformed_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "skipped.tsv").write_text("id\treason\tdetail\nu1 no audio\n")
    with pytest.raises(UserError, match=r"skipped\.tsv:2: expected id, reason and detail"):
        read_skipped(tmp_path / "skipped.tsv")


def test_log_counts_reasons_and_shows_an_example_of_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = SkipLog()
    for number in range(3):
        log.add(f"u{number}", "too long" if number == 1 else "missing audio", f"line {number}")
    log.log("part train", 7, tmp_path / "skipped.tsv")
    assert [record.message for record in caplog.records] == [
        "part train: skipped 3 of 10 (2 missing audio, 1 too long); listed in skipped.tsv",
        "  e.g. u0: missing audio: line 0",
        "  e.g. u1: too long: line 1",
    ]


def test_error_is_raised(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="wrong"):
        SkipLog().error("wrong")
