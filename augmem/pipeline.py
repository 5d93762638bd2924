"""How a stage runs: once, whole, and not again until something it depends on has changed (law 5 of the design).

A stage is a function that fills an empty folder. `run_stage` gives it a temporary one, renames it when the function
returns, and leaves a `.done` record whose fingerprint covers the stage's configuration and everything it read.
Since the inputs of a stage are named by the fingerprints of the stages before it, a change travels down the chain.
"""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from augmem.files import atomic_path, explain_full_disk, read_json, remove, sha256_json, write_json

logger = logging.getLogger(__name__)

DONE = ".done"
INPUTS = ".inputs.json"


def run_stage(name: str, output: Path, inputs: Mapping[str, Any], action: Callable[[Path], None]) -> None:
    """Fill `output` by `action(empty folder)`, unless it already holds the result of the same inputs.

    Args:
        name: what the log calls the stage.
        output: the folder that will hold all of the stage's results.
        inputs: everything the result depends on, as plain JSON values (see `fingerprint`).
        action: fills the folder it is given; killed or failing, it leaves no trace.
    """
    with only_run_in(output):
        if is_done(output, inputs):
            logger.info("%s: up to date (%s)", name, output)
            return
        started = announce(name, output, inputs)
        with explain_full_disk(output), atomic_path(output) as folder:
            folder.mkdir()
            action(folder)
            write_json(folder / DONE, record(name, inputs, started))
    logger.info("%s: wrote %s in %s", name, output, spoken_time(time.time() - started))


def run_resumable_stage(name: str, output: Path, inputs: Mapping[str, Any], action: Callable[[Path], bool]) -> bool:
    """Like `run_stage`, for an action that keeps its own checkpoints in `output` and goes on from them.

    The action returns whether it is finished; if not, its `.done` record waits for a later run. A folder that was
    begun with other inputs is never continued nor overwritten.

    Raises:
        ValueError: `output` holds the beginnings of another experiment.
    """
    with only_run_in(output):
        if is_done(output, inputs):
            logger.info("%s: up to date (%s)", name, output)
            return True
        refuse_other_inputs(name, output, inputs)
        started = announce(name, output, inputs)
        with explain_full_disk(output):
            output.mkdir(parents=True, exist_ok=True)
            write_json(output / INPUTS, dict(inputs))
            finished = action(output)
            if finished:
                write_json(output / DONE, record(name, inputs, started))
    verdict = "wrote" if finished else "stopped before its end; run again to go on in"
    logger.info("%s: %s %s after %s", name, verdict, output, spoken_time(time.time() - started))
    return finished


def fingerprint(output: Path) -> str:
    """The fingerprint of a finished stage's result, to be named among the inputs of the stages that read it.

    Raises:
        FileNotFoundError: that stage has not run to its end.
    """
    done = output / DONE
    if not done.exists():
        raise FileNotFoundError(
            f"{output} is not complete: run the stage that makes it first (./run.sh --help lists them)"
        )
    return str(read_json(done)["fingerprint"])


def is_done(output: Path, inputs: Mapping[str, Any]) -> bool:
    """Whether `output` is complete and was made from these very inputs."""
    return (output / DONE).exists() and fingerprint(output) == sha256_json(inputs)


def refuse_other_inputs(name: str, output: Path, inputs: Mapping[str, Any]) -> None:
    """A half-trained model must never be continued on other data, another lang or another recipe."""
    begun = output / INPUTS
    if not begun.exists():
        return
    before = read_json(begun)
    changed = sorted(key for key in {*before, *inputs} if sha256_json(before.get(key)) != sha256_json(inputs.get(key)))
    if changed:
        raise ValueError(
            f"{output}: {name} was begun with other inputs ({', '.join(changed)} changed); "
            f"name another experiment with --exp, or move {output} away to start afresh"
        )


def record(name: str, inputs: Mapping[str, Any], started: float) -> dict[str, Any]:
    """What `.done` holds."""
    return {
        "stage": name,
        "fingerprint": sha256_json(inputs),
        "seconds": round(time.time() - started, 1),
        "cpu_seconds": round(sum(os.times()[:4]), 1),  # of this process, which runs nothing else, and its workers
        "finished": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "inputs": dict(inputs),
    }


def announce(name: str, output: Path, inputs: Mapping[str, Any]) -> float:
    """Say what begins, what it reads and writes; return the time."""
    reads = ", ".join(sorted(key for key, value in inputs.items() if not isinstance(value, dict)))
    logger.info("%s: reads %s; writes %s", name, reads or "nothing", output)
    return time.time()


def spoken_time(seconds: float) -> str:
    """9.3 s, or 12 min 5 s."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60)} s"


@contextmanager
def only_run_in(output: Path) -> Iterator[None]:
    """Hold the lock of one output folder, and clear what a killed run has left of it.

    Raises:
        BlockingIOError: another run is at work on the same folder.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with (output.parent / f".{output.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(f"{output}: another run is at work here; wait for it or stop it") from error
        for leftover in output.parent.glob(f".{output.name}.partial-*"):
            remove(leftover)
        yield
