"""Progress lines: when they are logged and what they contain."""

from __future__ import annotations

import logging

import pytest

from augmem.progress import Progress, track


class Clock:
    """A clock whose time is set by the test."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_line_has_the_count_and_the_time_left(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with caplog.at_level(logging.INFO), Progress("decoding dev", 100, "utterances", clock) as progress:
        clock.now = 10.0
        progress.advance(20)
    assert caplog.messages == ["decoding dev: 20 of 100 utterances, 40.0 s left"]


def test_lines_are_a_minute_apart_and_short_loops_have_none(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    with caplog.at_level(logging.INFO), Progress("decoding dev", 200, "utterances", clock) as progress:
        for second in range(200):
            clock.now = float(second)
            progress.advance()
    assert [message.split()[2] for message in caplog.messages] == ["6", "66", "126", "186"]
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert list(track(range(3), "decoding dev", 3, "utterances")) == [0, 1, 2]
    assert not caplog.messages
