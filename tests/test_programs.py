"""External programs: output, and errors of one line."""

from __future__ import annotations

import pytest

from augmem.programs import ProgramError, run_program


def test_a_program_gets_its_input_and_environment() -> None:
    assert run_program(["sh", "-c", "cat; echo $WORD"], b"one ", {"WORD": "two"}) == b"one two\n"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo reading >&2; echo no model >&2; exit 3", "sh failed with status 3: no model"),
        ("exit 1", "sh failed with status 1: no message"),
        ("kill -KILL $$", "sh was ended by SIGKILL, probably because memory ran out"),
        ("kill -SEGV $$", "sh was ended by SIGSEGV: no message"),
    ],
)
def test_a_failed_program_is_one_line(script: str, message: str) -> None:
    with pytest.raises(ProgramError) as failed:
        run_program(["sh", "-c", script])
    assert str(failed.value) == message


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        run_program(["no-such-program"])
