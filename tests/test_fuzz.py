"""Damaged files: a short slice of `benchmarks.fuzz`, and its own detection of faults."""

from __future__ import annotations

import mmap
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from augmem.errors import UserError
from benchmarks.fuzz import Kind, Result, fuzz, mutate, peak_memory, read_inputs, read_valid, table
from benchmarks.fuzz_readers import KINDS


@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_are_accepted_or_refused(name: str, tmp_path: Path) -> None:
    read_valid(KINDS[name], tmp_path)
    readings = [reading for reading in read_inputs(name, KINDS[name], 2, range(9), tmp_path) if reading.outcome]
    assert [reading.number for reading in readings] == list(range(9))
    assert not [reading for reading in readings if reading.outcome not in ("accepted", "refused")]


_ENDLESS = """
from benchmarks.fuzz import Kind, exit_on_signals, fuzz
exit_on_signals()
fuzz("test", Kind(lambda folder: (folder / "a").touch(), lambda folder: None), 1, range(10**6))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_terminated_run_leaves_no_files_and_no_processes(number: int, tmp_path: Path) -> None:
    with subprocess.Popen((sys.executable, "-c", _ENDLESS), env=os.environ | {"TMPDIR": str(tmp_path)}) as run:
        while not list(tmp_path.glob("augmem-fuzz-*/input/a")):
            assert run.poll() is None
            time.sleep(0.01)
        (child,) = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        run.send_signal(number)
        assert run.wait(20) in (128 + number, -number)
    assert not list(tmp_path.iterdir())
    assert not Path(f"/proc/{child}").exists()


def test_mutations_depend_on_the_seed_alone() -> None:
    first, same, other = (mutate(b"audio\ttext\na.wav\tHello 5\n", random.Random(seed)) for seed in (1, 1, 2))
    assert first == same != other


def _make(folder: Path) -> None:
    (folder / "a").write_bytes(b"valid")


def _refuse(folder: Path) -> None:
    if (folder / "a").read_bytes() != b"valid":
        raise UserError("refused")


def _use_memory() -> None:
    """Make resident 128 MB more than this process, forked from pytest's, has used so far.

    It maps new pages: an array could lie in memory that earlier tests have freed, which stays resident.
    """
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
    with mmap.mmap(-1, (1 << 27) + max(0, peak_memory() - resident)) as pages:
        pages[:: mmap.PAGESIZE] = bytes(-(-len(pages) // mmap.PAGESIZE))


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (lambda: 1 / 0, "exception"),
        (lambda: os.abort(), "crash"),
        (lambda: time.sleep(60), "hang"),
        (_use_memory, "memory"),
    ],
)
def test_faults_are_found_and_the_other_inputs_are_read(
    monkeypatch: pytest.MonkeyPatch, fault: object, outcome: str
) -> None:
    monkeypatch.setattr("benchmarks.fuzz.LIMIT", 0.3)
    monkeypatch.setattr("benchmarks.fuzz.MEMORY", 1 << 24)

    def read(folder: Path) -> None:
        if (folder / "a").read_bytes().startswith(b"valid0"):
            fault()  # type: ignore[operator]
        _refuse(folder)

    monkeypatch.setattr("benchmarks.fuzz.mutate", lambda content, draw, tokens: b"valid%d" % draw.choice((0, 1)))
    kind = Kind(_make, read)
    result = fuzz("test", kind, seed=1, numbers=range(6))
    assert result.counts.keys() <= {"refused", outcome} and result.counts[outcome] > 0
    assert result.counts.total() == 6 and len(result.faults) == result.counts[outcome]


def test_the_table_has_sums() -> None:
    result = Result()
    result.counts.update(accepted=1200, refused=3)
    assert table({"a": result, "b": result}).splitlines()[-1] == "| all | 2,406 | 2,400 | 6 | 0 | 0 | 0 | 0 | 0.00 |"
