"""Run a stage atomically, and only if its inputs have changed.

A stage is a function that fills an empty folder. `run_stage` passes it a temporary folder, renames the folder when
the function returns, and writes a `.done` record. The record's fingerprint covers the configuration of the stage and
everything it read. The inputs of a stage include the fingerprints of earlier stages, so a change reruns all stages
that depend on it. The record also has the sha256 of each output: a stage whose outputs are missing or changed is run
again, and a stage that reads them checks them once, in its first process.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from augmem.errors import UserError
from augmem.files import (
    atomic_path,
    explain_full_disk,
    find_change,
    read_json,
    remove,
    sha256_files,
    sha256_json,
    write_json,
)
from augmem.installation import pipeline
from augmem.progress import format_duration

logger = logging.getLogger(__name__)

DONE = ".done"
INPUTS = ".inputs.json"


class Options(dict[str, Any]):
    """A section of the recipe among the inputs of a stage.

    Args:
        values: the options of the section, nested as in the recipe.
        defaults: default values of the same options, for records made before an option existed.
    """

    def __init__(self, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.defaults = defaults


def run_stage(
    name: str,
    output: Path,
    inputs: Mapping[str, Any],
    action: Callable[[Path], None],
    reads: Iterable[Path] = (),
) -> None:
    """Fill `output` by calling `action(empty folder)`, unless it already holds the result of the same inputs.

    Args:
        name: name of the stage in the log.
        output: folder for all results of the stage.
        inputs: everything the result depends on, as JSON values (see `fingerprint`).
        action: fills the folder it is given; nothing remains if it is killed or raises.
        reads: files and folders of earlier stages that `action` reads; see `check_outputs`.

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
        check_outputs(*reads)
        started = announce(name, output, inputs)
        with explain_full_disk(output), atomic_path(output) as folder:
            folder.mkdir()
            action(folder)
            write_json(folder / DONE, record(name, inputs, started, folder, list_files(folder)))
    logger.info("%s: wrote %s in %s", name, output, format_duration(time.time() - started))


def run_resumable_stage(
    name: str,
    output: Path,
    inputs: Mapping[str, Any],
    action: Callable[[Path], bool],
    results: Iterable[str],
    resume_inputs: Mapping[str, Any] | None = None,
    reads: Iterable[Path] = (),
) -> bool:
    """Run a stage that keeps its own checkpoints in `output` and resumes from them.

    The `.done` record is written once the action returns True. A folder started with other inputs is neither resumed
    nor overwritten.

    Args:
        action: returns whether the stage is complete.
        results: names of the files in `output` that later stages read; the others may be removed.
        resume_inputs: further inputs that must not change before the stage is complete; afterwards they may.
        reads: folders that the stage reads, as in `run_stage`.

    Returns:
        whether the stage is complete.

    Raises:
        UserError: `output` was started with other inputs.
    """
    with only_run_in(output):
        if is_done(output, inputs):
            logger.info("%s: up to date (%s)", name, output)
            return True
        started_with = {**inputs, **(resume_inputs or {})}
        refuse_other_inputs(name, output, started_with)
        check_outputs(*reads)
        started = announce(name, output, inputs)
        with explain_full_disk(output):
            output.mkdir(parents=True, exist_ok=True)
            write_json(output / INPUTS, started_with)
            finished = action(output)
            if finished:
                write_json(output / DONE, record(name, inputs, started, output, results))
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
            f"{output} is not complete: run the stage that writes it first ({pipeline()} --help lists the stages)"
        )
    return str(read_json(done)["fingerprint"])


def is_done(output: Path, inputs: Mapping[str, Any]) -> bool:
    """Return whether `output` was made from these inputs and all its files are as they were written."""
    if not (output / DONE).exists():
        return False
    done = read_json(output / DONE)
    if differing_inputs(done.get("inputs", {}), inputs):
        return False
    if change := find_change(output, done.get("outputs", {})):
        logger.warning("%s; %s is made again", change, output)
        return False
    return True


def check_outputs(*paths: Path) -> None:
    """Check that results of earlier stages are as they were written.

    Files of an earlier release, which recorded no digests, are not checked.

    Args:
        paths: output folders of stages, or files and folders in them.

    Raises:
        UserError: a file is missing or its content has changed.
    """
    for path in paths:
        output = next((folder for folder in (path, *path.parents) if (folder / DONE).exists()), None)
        if output is None:
            continue
        done = read_json(output / DONE)
        hashes = {name: digest for name, digest in done.get("outputs", {}).items() if is_under(output / name, path)}
        if change := find_change(output, hashes):
            raise UserError(f"{change}; run stage {stage_of_run(done['stage'])} again, which restores it")


def is_under(file: Path, path: Path) -> bool:
    """Return whether a file is `path` or in the folder `path`."""
    return file == path or path in file.parents


def stage_of_run(name: str) -> str:
    """Return the name of the stage of run.sh, of which `name` may be a step.

    Example:
        >>> [stage_of_run(name) for name in ("lang", "features of dev", "neural lm", "training graphs")]
        ['lang', 'features', 'lm', 'graphs']
    """
    return {"training graphs": "graphs", "neural lm": "lm"}.get(name, name.split()[0])


def differing_inputs(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the inputs that have changed since a stage ran; of options the names with both values.

    Options that did not exist then count as their defaults; options that do not exist any more are ignored.

    Example:
        >>> section = {"training": Options({"epochs": 3, "boost": 0.0}, {"epochs": 20, "boost": 0.0})}
        >>> differing_inputs({"training": {"epochs": 4, "removed": 1}}, section)
        ['training.epochs: 4 before, 3 now']
    """
    changed = []
    for name in sorted({*before, *now}):
        value = now.get(name)
        if isinstance(value, Options):
            changed += differing_options(name, before.get(name) or {}, value, value.defaults)
        elif sha256_json(before.get(name)) != sha256_json(value):
            changed.append(name)
    return changed


def differing_options(
    name: str, before: Mapping[str, Any], now: Mapping[str, Any], defaults: Mapping[str, Any]
) -> list[str]:
    """Return the options of a section that have changed, with both values.

    Args:
        name: name of the section.
        before: its options when the stage was run.
        now: its options now.
        defaults: values of options that were added later.
    """
    changed = []
    for key, value in now.items():
        old, default = before.get(key, defaults[key]), defaults[key]
        if isinstance(value, dict):
            nested = default if isinstance(default, dict) else value
            changed += differing_options(f"{name}.{key}", old if isinstance(old, dict) else {}, value, nested)
        elif sha256_json(old) != sha256_json(value):
            changed.append(f"{name}.{key}: {json.dumps(old)} before, {json.dumps(value)} now")
    return changed


def refuse_other_inputs(name: str, output: Path, inputs: Mapping[str, Any]) -> None:
    """Refuse to resume with other data, another lang folder or another recipe.

    Args:
        name: name of the stage.
        output: its folder.
        inputs: its inputs now.

    Raises:
        UserError: an input has changed since the stage was started.
    """
    started = output / INPUTS
    if not started.exists():
        return
    if changed := differing_inputs(read_json(started), inputs):
        later = "run the later stages alone to use its result as it is, " if (output / DONE).exists() else ""
        raise UserError(
            f"{output}: {name} was started with other inputs (changed: {'; '.join(changed)}); {later}"
            f"choose another experiment folder with --exp, or move {output} away to start again"
        )


def record(
    name: str, inputs: Mapping[str, Any], started: float, folder: Path, results: Iterable[str]
) -> dict[str, Any]:
    """Return the content of `.done`.

    Args:
        name: name of the stage.
        inputs: its inputs.
        started: time of its start.
        folder: its results.
        results: names of the files to record.
    """
    return {
        "stage": name,
        "fingerprint": sha256_json(inputs),
        "seconds": round(time.time() - started, 1),
        "cpu_seconds": round(sum(os.times()[:4]), 1),  # of this process and its workers
        "finished": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "inputs": dict(inputs),
        "outputs": sha256_files(folder, results),
    }


def list_files(folder: Path) -> list[str]:
    """List all files below a folder, relative to it."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def announce(name: str, output: Path, inputs: Mapping[str, Any]) -> float:
    """Log what the stage reads and writes; return the time.

    Args:
        name: name of the stage.
        output: its folder.
        inputs: its inputs.
    """
    settings = (dict, int)  # sections of the recipe, switches, versions of file formats
    reads = ", ".join(sorted(key for key, value in inputs.items() if not isinstance(value, settings)))
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
