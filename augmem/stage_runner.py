"""Run a stage atomically, and only if its inputs have changed.

A stage is a function that fills an empty folder. `run_stage` passes it a temporary folder, renames the folder when
the function returns, and writes a `.done` record. The record's fingerprint covers the configuration of the stage and
everything it read. The inputs of a stage include the fingerprints of earlier stages, so a change reruns all stages
that depend on it.
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

from augmem.errors import UserError
from augmem.files import atomic_path, explain_full_disk, read_json, remove, sha256_json, write_json
from augmem.progress import format_duration

logger = logging.getLogger(__name__)

DONE = ".done"
INPUTS = ".inputs.json"


def run_stage(name: str, output: Path, inputs: Mapping[str, Any], action: Callable[[Path], None]) -> None:
    """Fill `output` by calling `action(empty folder)`, unless it already holds the result of the same inputs.

    Args:
        name: name of the stage in the log.
        output: folder for all results of the stage.
        inputs: everything the result depends on, as JSON values (see `fingerprint`).
        action: fills the folder it is given; nothing remains if it is killed or raises.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "greeting"
        >>> run_stage("greet", folder, {"name": "Ann"}, lambda out: (out / "text").write_text("Hello Ann"))
        >>> (folder / "text").read_text()
        'Hello Ann'
        >>> is_done(folder, {"name": "Ann"}), is_done(folder, {"name": "Bob"})
        (True, False)
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
    logger.info("%s: wrote %s in %s", name, output, format_duration(time.time() - started))


def run_resumable_stage(
    name: str,
    output: Path,
    inputs: Mapping[str, Any],
    action: Callable[[Path], bool],
    resume_inputs: Mapping[str, Any] | None = None,
) -> bool:
    """Run a stage that keeps its own checkpoints in `output` and resumes from them.

    The `.done` record is written once the action returns True. A folder started with other inputs is neither resumed
    nor overwritten.

    Args:
        action: returns whether the stage is complete.
        resume_inputs: further inputs that must not change before the stage is complete; afterwards they may.

    Returns:
        Whether the stage is complete.

    Raises:
        UserError: `output` was started with other inputs.
    """
    with only_run_in(output):
        if is_done(output, inputs):
            logger.info("%s: up to date (%s)", name, output)
            return True
        started_with = {**inputs, **(resume_inputs or {})}
        refuse_other_inputs(name, output, started_with)
        started = announce(name, output, inputs)
        with explain_full_disk(output):
            output.mkdir(parents=True, exist_ok=True)
            write_json(output / INPUTS, started_with)
            finished = action(output)
            if finished:
                write_json(output / DONE, record(name, inputs, started))
    state = "wrote" if finished else "stopped early; run again to resume in"
    logger.info("%s: %s %s after %s", name, state, output, format_duration(time.time() - started))
    return finished


def fingerprint(output: Path) -> str:
    """Return the fingerprint of a complete stage, an input of the stages that read its results.

    Raises:
        FileNotFoundError: the stage is not complete.
    """
    done = output / DONE
    if not done.exists():
        raise FileNotFoundError(
            f"{output} is not complete: run the stage that writes it first (./run.sh --help lists the stages)"
        )
    return str(read_json(done)["fingerprint"])


def is_done(output: Path, inputs: Mapping[str, Any]) -> bool:
    """Return whether `output` is complete and was made from these inputs."""
    return (output / DONE).exists() and fingerprint(output) == sha256_json(inputs)


def refuse_other_inputs(name: str, output: Path, inputs: Mapping[str, Any]) -> None:
    """Refuse to resume with other data, another lang folder or another recipe.

    Raises:
        UserError: an input has changed since the stage was started.
    """
    started = output / INPUTS
    if not started.exists():
        return
    before = read_json(started)
    changed = sorted(key for key in {*before, *inputs} if sha256_json(before.get(key)) != sha256_json(inputs.get(key)))
    if changed:
        later = "run the later stages alone to use its result as it is, " if (output / DONE).exists() else ""
        raise UserError(
            f"{output}: {name} was started with other inputs (changed: {', '.join(changed)}); {later}"
            f"choose another experiment folder with --exp, or move {output} away to start again"
        )


def record(name: str, inputs: Mapping[str, Any], started: float) -> dict[str, Any]:
    """Return the content of `.done`."""
    return {
        "stage": name,
        "fingerprint": sha256_json(inputs),
        "seconds": round(time.time() - started, 1),
        "cpu_seconds": round(sum(os.times()[:4]), 1),  # of this process and its workers
        "finished": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "inputs": dict(inputs),
    }


def announce(name: str, output: Path, inputs: Mapping[str, Any]) -> float:
    """Log what the stage reads and writes; return the time."""
    reads = ", ".join(sorted(key for key, value in inputs.items() if not isinstance(value, dict)))
    logger.info("%s: reads %s; writes %s", name, reads or "nothing", output)
    return time.time()


@contextmanager
def only_run_in(output: Path) -> Iterator[None]:
    """Lock an output folder and remove temporary folders of killed runs.

    Raises:
        BlockingIOError: another process holds the lock.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with (output.parent / f".{output.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(f"{output}: another process is writing here; wait for it or stop it") from error
        for leftover in output.parent.glob(f".{output.name}.partial-*"):
            remove(leftover)
        yield
