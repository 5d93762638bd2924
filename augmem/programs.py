"""External programs: errors are one line with the program, the reason and the remedy."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from augmem.errors import UserError


class ProgramError(UserError):
    """An external program that failed."""


def run_program(
    command: Sequence[str | Path], content: bytes = b"", environment: Mapping[str, str] | None = None
) -> bytes:
    """Run a program and return its standard output.

    Args:
        command: program and arguments.
        content: its standard input.
        environment: its environment variables; None: those of this process.

    Raises:
        FileNotFoundError: there is no such program.
        ProgramError: the program failed.
    """
    done = subprocess.run(list(map(str, command)), input=content, env=environment, capture_output=True, check=False)
    if done.returncode:
        raise ProgramError(f"{command[0]} {describe_failure(done.returncode, done.stderr)}")
    return done.stdout


def describe_failure(status: int, log: bytes | str) -> str:
    """Describe how a program failed.

    Args:
        status: exit status; negative: the signal that ended it.
        log: its standard error, of which the last line is shown.

    Example:
        >>> describe_failure(1, b"reading model\\nnot a model")
        'failed with status 1: not a model'
        >>> describe_failure(-9, "")
        'was ended by SIGKILL, probably because memory ran out'
    """
    if status == -signal.SIGKILL:
        return "was ended by SIGKILL, probably because memory ran out"
    text = log.decode(errors="replace") if isinstance(log, bytes) else log
    last = (text.strip().splitlines() or ["no message"])[-1][:300]
    state = f"failed with status {status}" if status > 0 else f"was ended by {signal.Signals(-status).name}"
    return f"{state}: {last}"
