"""How many people one server hears at once: `python -m benchmarks.serving --package DIR --audio FILES...`.

Real clients over loopback speak files in real time, one after another, beginning at different moments. Without
--minutes the number of clients rises until the 95th percentile of the final latency (from the end of audio to the last
words) passes a second; with it, --streams clients speak for so long, and memory is told every minute: a soak.
Further options, such as --max-active, go to the server.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from websockets.exceptions import WebSocketException

from augmem.serving import recognize

PACKET = 0.1  # seconds
LIMIT = 1.0  # seconds


@dataclass
class Tally:
    """What the clients saw: seconds from the end of each file's audio to its last words, words, and faults."""

    latencies: list[float] = field(default_factory=list)
    words: int = 0
    faults: list[str] = field(default_factory=list)


def main() -> None:
    """Start a server, load it, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--audio", type=Path, nargs="+", required=True)
    parser.add_argument("--workers", type=int, default=1, help="decoding processes of one thread (%(default)s)")
    parser.add_argument("--streams", type=int, nargs="+", default=[2, 4, 6, 8, 10, 12, 14, 16])
    parser.add_argument("--seconds", type=float, default=40, help="of each load (%(default)s)")
    parser.add_argument("--minutes", type=float, help="soak that long with the first number of streams")
    args, rest = parser.parse_known_args()  # the rest is for augmem serve
    speech = [read(path) for path in args.audio]
    server = Server(args.package, args.workers, rest)
    print(
        "| minute | streams | files | median s | 95 % s | server CPU, cores | clients CPU, cores | server memory, MiB "
        "| faults |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    try:
        if args.minutes:
            asyncio.run(soak(server, speech, args.streams[0], args.minutes))
            return
        for streams in args.streams:
            if asyncio.run(under_load(server, speech, streams, args.seconds)) > LIMIT:
                return
    finally:
        server.process.terminate()
        server.process.wait()


def read(path: Path) -> tuple[np.ndarray, int]:
    """Samples of one channel, int16, and Hz."""
    samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    return np.ascontiguousarray(samples[:, 0]), rate


async def under_load(server: Server, speech: Sequence[tuple[np.ndarray, int]], streams: int, seconds: float) -> float:
    """One line of the table; the 95th percentile."""
    tally, meter = Tally(), Meter(server)
    await load(server.address, speech, streams, time.monotonic() + seconds, tally)
    return show("", streams, tally, server, meter)


async def soak(server: Server, speech: Sequence[tuple[np.ndarray, int]], streams: int, minutes: float) -> None:
    """A line every minute."""
    tally, began = Tally(), time.monotonic()
    clients = asyncio.create_task(load(server.address, speech, streams, began + 60 * minutes, tally))
    for minute in range(1, round(minutes) + 1):
        meter = Meter(server)
        await asyncio.sleep(max(0.0, began + 60 * minute - time.monotonic()))
        show(str(minute), streams, tally, server, meter)
        tally.latencies.clear()
    await clients
    for fault in dict.fromkeys(tally.faults):
        print(f"fault: {fault}")


async def load(
    address: str, speech: Sequence[tuple[np.ndarray, int]], streams: int, until: float, tally: Tally
) -> None:
    """So many clients at once, until the time is up."""
    await asyncio.gather(*(client(address, speech, until, number, tally) for number in range(streams)))


async def client(address: str, speech: Sequence[tuple[np.ndarray, int]], until: float, seed: int, tally: Tally) -> None:
    """Speaks one file after another, each on a connection of its own."""
    chance = random.Random(seed)
    await asyncio.sleep(chance.uniform(0, 3))
    while time.monotonic() < until:
        samples, rate = chance.choice(speech)
        size = int(PACKET * rate)
        packets = (samples[begin : begin + size] for begin in range(0, len(samples), size))
        began = time.monotonic()
        try:
            async for event in recognize(address, packets, rate, real_time=True):
                tally.words += len(event["words"]) if event["kind"] == "final" else 0
        except (ValueError, OSError, WebSocketException) as fault:
            tally.faults.append(f"{type(fault).__name__}: {fault}")
        else:
            tally.latencies.append(time.monotonic() - began - len(samples) / rate)


def show(minute: str, streams: int, tally: Tally, server: Server, meter: Meter) -> float:
    """Print a line; return the 95th percentile."""
    middle, high = np.percentile(tally.latencies or [np.nan], [50, 95])
    cells = (minute, streams, len(tally.latencies), f"{middle:.2f}", f"{high:.2f}", *meter.cores(),
             f"{server.memory():.0f}", len(tally.faults))  # fmt: skip
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
    return float(high)


class Meter:
    """CPU time from now on: the server's, and the clients', which share the machine with it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.began = self._read()

    def cores(self) -> list[str]:
        """CPU seconds per second since the beginning, of server and clients."""
        seconds, *spent = np.subtract(self._read(), self.began)
        return [f"{used / seconds:.2f}" for used in spent]

    def _read(self) -> tuple[float, float, float]:
        return time.monotonic(), self.server.cpu_seconds(), time.process_time()


class Server:
    """`augmem serve` in processes of its own."""

    def __init__(self, package: Path, workers: int, more: Sequence[str]) -> None:
        options = ["--package", str(package), "--port", "0", "--workers", str(workers), "--max-streams", "1000"]
        command = [sys.executable, "-m", "augmem.cli", "serve", *options, *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.search(r"listening on http://(\S+)", line):
                self.address = f"ws://{found[1]}"
                threading.Thread(target=self.process.stdout.read, daemon=True).start()  # a full pipe would stop it
                return
        raise RuntimeError("the server did not start; see above")

    def pids(self) -> list[int]:
        """The server and its workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def cpu_seconds(self) -> float:
        """CPU time of all its processes."""
        fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split() for pid in self.pids()]
        return sum(int(row[11]) + int(row[12]) for row in fields) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Resident memory of all its processes, MiB."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids())
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
