"""Damaged input for all readers: mutations of small valid files, the same for the same seed.

    .venv/bin/python -m benchmarks.fuzz --inputs 100000        # all readers; a table of outcomes
    .venv/bin/python -m benchmarks.fuzz --kind arpa --first 4711 --inputs 1 --keep DIR

Each kind of file is read in a process of its own, forked before any C library has started threads. A reader may accept
an input or refuse it by a UserError or OSError, which the command line prints without a traceback. Everything else is a
fault: another exception, the end of the process (as in a crash of a C library), more than 10 CPU seconds, or 1 GB of
memory. Faults are printed with the number of their input, which --first takes, and their files are kept with --keep.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import math
import multiprocessing
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import NamedTuple

LIMIT = 10.0  # CPU seconds for one input, and a tenth of its longest duration
MEMORY = 1 << 30  # bytes that reading may add to the process
OUTCOMES = ("accepted", "refused", "exception", "crash", "hang", "memory")
FAULTS = OUTCOMES[2:]

_TOKENS = (
    b"", b"0", b"-1", b"1", b"nan", b"inf", b"-inf", b"1e999", b"1e-400", b"99999999999999999999", b"-0.0", b"0x10",
    b"1_0", b"null", b"true", b"[]", b"{}", b'""', b"\n", b"\r\n", b"\r", b"\t", b" ", b"\0", b"\xff", b"\xc3",
    b"\xef\xbb\xbf",
    b"\xc2\x85", b"\xe2\x80\xa8", b"\xc2\xa0", b"\x1c", b"\xd9\xa3", b"\xf0\x9f\x98\x80", b"\xcc\x88", b"a" * 5000,
    b"[" * 3000, b"../../etc/passwd", b"/dev/zero", b"%s", b"\\", b'"', b"'", b"#", b"|", b"<eps>", b"<s>",
)  # fmt: skip
_FIELD = re.compile(rb'[^\s,:"\[\]{}=]+')


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Args:
        make: writes small valid files into an empty folder.
        read: reads that folder as the program does.
        share: relative number of inputs; slow readers get fewer.
        tokens: pieces that mutations insert, besides general ones.
    """

    make: Callable[[Path], None]
    read: Callable[[Path], object]
    share: float = 1.0
    tokens: tuple[bytes, ...] = ()


@dataclass
class Result:
    """Outcomes of the inputs of one kind.

    Args:
        counts: number of inputs by outcome.
        slowest: CPU seconds of the slowest input.
        faults: input number, outcome and last line of each fault.
    """

    counts: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    faults: list[tuple[int, str, str]] = field(default_factory=list)


class Hang(BaseException):
    """Raised by the alarm; no reader catches it."""


def mutate(content: bytes, draw: random.Random, tokens: Sequence[bytes] = ()) -> bytes:
    """Return content with one to eight random changes."""
    for _ in range(draw.choice((1, 1, 1, 2, 3, 5, 8))):
        content = draw.choice(_MUTATIONS)(content, draw, (*tokens, *_TOKENS))
    return content


def _flip(content: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    if not content:
        return content
    place = draw.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << draw.randrange(8))]) + content[place + 1 :]


def _overwrite(content: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    place, size = draw.randrange(len(content) + 1), draw.choice((1, 2, 4, 8))
    return content[:place] + draw.choice((b"\0", b"\xff", b"\x7f", draw.randbytes(1))) * size + content[place + size :]


def _truncate(content: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _insert(content: bytes, draw: random.Random, tokens: Sequence[bytes]) -> bytes:
    place = draw.randrange(len(content) + 1)
    return content[:place] + draw.choice(tokens) + content[place:]


def _replace_field(content: bytes, draw: random.Random, tokens: Sequence[bytes]) -> bytes:
    """Replace one field between white space or JSON's marks, such as a number."""
    fields = [match.span() for match in _FIELD.finditer(content[:200_000])]
    if not fields:
        return content
    start, end = draw.choice(fields)
    return content[:start] + draw.choice(tokens) + content[end:]


def _move_lines(content: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    """Delete, repeat or swap lines."""
    rows = content.split(b"\n")
    first, second = draw.randrange(len(rows)), draw.randrange(len(rows))
    change = draw.randrange(3)
    if change == 0:
        del rows[first]
    elif change == 1:
        rows.insert(first, rows[second])
    else:
        rows[first], rows[second] = rows[second], rows[first]
    return b"\n".join(rows)


def _repeat(content: bytes, draw: random.Random, _: Sequence[bytes]) -> bytes:
    start = draw.randrange(len(content) + 1)
    piece = content[start : start + draw.choice((1, 7, 64, 1000))]
    return content[:start] + piece * draw.choice((2, 3, 100)) + content[start:]


_MUTATIONS = (_flip, _overwrite, _truncate, _insert, _replace_field, _replace_field, _move_lines, _repeat)


def inputs(name: str, kind: Kind, seed: int, numbers: Sequence[int], folder: Path) -> Iterator[tuple[int, Path]]:
    """Yield (number, folder) of mutated inputs; input n depends on seed, kind and n alone."""
    model = folder / "model"
    model.mkdir()
    kind.make(model)
    files = sorted(path.relative_to(model) for path in model.rglob("*") if path.is_file())
    work = folder / "input"
    shutil.copytree(model, work)
    for number in numbers:
        draw = random.Random(f"{seed} {name} {number}")
        chosen = draw.choice(files)
        content = (model / chosen).read_bytes()
        (work / chosen).write_bytes(mutate(content, draw, kind.tokens))
        yield number, work
        (work / chosen).write_bytes(content)


class Reading(NamedTuple):
    """An input that was read.

    Args:
        number: number of the input.
        outcome: one of `OUTCOMES`; empty: reading it begins.
        seconds: CPU time.
        detail: message of an error.
    """

    number: int
    outcome: str = ""
    seconds: float = 0.0
    detail: str = ""


def read_valid(kind: Kind, folder: Path) -> None:
    """Read the valid files, which must succeed; imports all modules, so that inputs take their own time only."""
    (valid := folder / "valid").mkdir()
    kind.make(valid)
    kind.read(valid)


def read_inputs(name: str, kind: Kind, seed: int, numbers: Sequence[int], folder: Path) -> Iterator[Reading]:
    """Read inputs in this process; yield one `Reading` before and one after each."""
    handler = signal.signal(signal.SIGPROF, _hang)
    for number, work in inputs(name, kind, seed, numbers, folder):
        yield Reading(number)
        before, started = peak_memory(), time.process_time()
        signal.setitimer(signal.ITIMER_PROF, LIMIT)
        outcome, detail = _read(kind, work)
        signal.setitimer(signal.ITIMER_PROF, 0)
        if peak_memory() - before > MEMORY:
            outcome, detail = "memory", f"{(peak_memory() - before) >> 20} MB"
        yield Reading(number, outcome, time.process_time() - started, detail)
    signal.signal(signal.SIGPROF, handler)


def _child(name: str, kind: Kind, seed: int, numbers: Sequence[int], connection: Connection, folder: Path) -> None:
    """Send what `read_inputs` yields."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    faulthandler.disable()  # pytest enables it
    read_valid(kind, folder)
    connection.send("ready")
    _be_quiet()
    _limit_process()
    for reading in read_inputs(name, kind, seed, numbers, folder):
        connection.send(reading)
        if reading.outcome in FAULTS:
            break  # the next input would replace its files
    connection.close()


def _read(kind: Kind, work: Path) -> tuple[str, str]:
    from augmem.errors import UserError

    try:
        kind.read(work)
    except (UserError, OSError) as error:
        return "refused", str(error)
    except Hang:
        return "hang", "".join(traceback.format_exc().splitlines()[-4:])
    except (Exception, SystemExit) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return "exception", f"{type(error).__name__}: {str(error)[:150]!r} in {place.filename}:{place.lineno}"
    return "accepted", ""


def _limit_process() -> None:
    """Write no core files; limit the address space, so that a huge allocation fails."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 4 * (1 << 30),) * 2)


def _hang(number: int, frame: FrameType | None) -> None:
    raise Hang


def peak_memory() -> int:
    """Return the highest resident memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _be_quiet() -> None:
    """Discard the output of readers and of C libraries."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)


def fuzz(name: str, kind: Kind, seed: int, numbers: Sequence[int], keep: Path | None = None) -> Result:
    """Read the inputs of one kind in child processes; a new one continues after a fault.

    Raises:
        RuntimeError: the valid files are not read.
    """
    result, rest = Result(), list(numbers)
    while rest:
        with _temporary_folder() as folder:
            started = _run_child(name, kind, seed, rest, folder, result)
            last = result.faults[-1][0] if result.faults else -1
            if keep and started is not None and last == started:
                shutil.copytree(folder / "input", keep / f"{name}-{started}", dirs_exist_ok=True)
        rest = [] if started is None else rest[rest.index(started) + 1 :]
    return result


def _run_child(name: str, kind: Kind, seed: int, numbers: Sequence[int], folder: Path, result: Result) -> int | None:
    """Read inputs until the first fault; return its number, or None after the last input."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(name, kind, seed, numbers, sender, folder))
    child.start()
    sender.close()
    try:
        return _receive(name, child, receiver, numbers, result)
    finally:
        child.kill()
        child.join()


def _receive(name: str, child: BaseProcess, receiver: Connection, numbers: Sequence[int], result: Result) -> int | None:
    """Add the outcomes that a child sends to the result; see `_run_child`."""
    current, outcome, detail = numbers[0], "", ""
    try:
        receiver.recv()
    except EOFError:
        raise RuntimeError(f"{name}: the valid files are not read") from None
    try:
        while outcome not in FAULTS:
            if not receiver.poll(10 * LIMIT):  # asleep, or a C library that blocks signals
                outcome = "hang"
                break
            current, outcome, seconds, detail = receiver.recv()
            result.slowest = max(result.slowest, seconds)
            if outcome in ("accepted", "refused"):
                result.counts[outcome] += 1
    except EOFError:
        child.join()
        if outcome and current == numbers[-1]:
            return None
        outcome, detail = "crash", f"exit code {child.exitcode}"
    result.counts[outcome] += 1
    result.faults.append((current, outcome, detail))
    return current


def table(results: dict[str, Result]) -> str:
    """Format the outcomes as a Markdown table."""
    head = ("kind", "inputs", *OUTCOMES, "slowest (s)")
    rows = [
        (name, result.counts.total(), *(result.counts[outcome] for outcome in OUTCOMES), f"{result.slowest:.2f}")
        for name, result in results.items()
    ]
    total = sum((result.counts for result in results.values()), Counter())
    slowest = max((result.slowest for result in results.values()), default=0.0)
    rows.append(("all", total.total(), *(total[outcome] for outcome in OUTCOMES), f"{slowest:.2f}"))
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row) + " |" for row in lines
    )


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Yield a folder for this run, which readers use for their temporary files too; it is removed in any case."""
    outer = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="augmem-fuzz-", ignore_cleanup_errors=True) as folder:
        tempfile.tempdir = folder
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = outer


def exit_on_signals() -> None:
    """End as by an exception, which removes temporary folders and child processes, when the process is terminated."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))


def main() -> int:
    """Fuzz all kinds, or one; return 1 after a fault."""
    exit_on_signals()
    import augmem.commands.transcribe  # imported once, before the forks
    import augmem.corpus
    import augmem.recipe
    import augmem.serving.client_messages  # noqa: F401
    from benchmarks.fuzz_readers import KINDS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="number of inputs, of all kinds (%(default)s)")
    parser.add_argument("--kind", choices=KINDS, action="append", help="only this kind; may be repeated")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each kind")
    parser.add_argument("--keep", type=Path, help="folder for the inputs of faults")
    arguments = parser.parse_args()
    kinds = {name: KINDS[name] for name in arguments.kind or KINDS}
    shares = sum(kind.share for kind in kinds.values())
    results: dict[str, Result] = {}
    for name, kind in kinds.items():
        count = math.ceil(arguments.inputs * kind.share / shares)
        numbers = range(arguments.first, arguments.first + count)
        results[name] = fuzz(name, kind, arguments.seed, numbers, arguments.keep)
        for number, outcome, detail in results[name].faults:
            print(f"{name} --first {number}: {outcome} {detail}", flush=True)
        print(
            f"{name}: {dict(results[name].counts)}, slowest {results[name].slowest:.2f} s", file=sys.stderr, flush=True
        )
    print(table(results))
    return int(any(result.faults for result in results.values()))


if __name__ == "__main__":
    raise SystemExit(main())
