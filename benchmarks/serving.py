"""Number of streams that one server carries: `python -m benchmarks.serving --package DIR --audio FILES...`.

Clients on loopback send files in real time, one after another, starting at different moments. Without --minutes the
number of clients rises until the 95th percentile of the final latency (from the end of the audio to the last result)
exceeds one second. With --minutes the first number of --streams runs for so long, and a line is printed every minute.
Other options, such as --max-active, are passed to `augmem serve`.
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

from augmem.errors import UserError
from augmem.serving import recognize

PACKET = 0.1  # seconds
LIMIT = 1.0  # seconds


@dataclass
class Measurements:
    """Measurements of all clients.

    Attributes:
        latencies: seconds from the end of each file's audio to its last result.
        words: number of recognised words.
        errors: messages of failed connections.
    """

    latencies: list[float] = field(default_factory=list)
    words: int = 0
    errors: list[str] = field(default_factory=list)


def main() -> None:
    """Start a server, put it under load and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--audio", type=Path, nargs="+", required=True)
    parser.add_argument("--workers", type=int, default=1, help="decoding processes (%(default)s)")
    parser.add_argument(
        "--streams", type=int, nargs="+", default=[2, 4, 6, 8, 10, 12, 14, 16], help="numbers of clients"
    )
    parser.add_argument("--seconds", type=float, default=40, help="duration of each load (%(default)s)")
    parser.add_argument("--minutes", type=float, help="duration of one load with the first number of streams")
    args, rest = parser.parse_known_args()  # the rest goes to augmem serve
    speech = [read(path) for path in args.audio]
    server = Server(args.package, args.workers, rest)
    print(
        "| minute | streams | files | median s | 95 % s | server CPU, cores | clients CPU, cores | server memory, MiB "
        "| errors |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    try:
        if args.minutes:
            asyncio.run(run_long(server, speech, args.streams[0], args.minutes))
            return
        for streams in args.streams:
            if asyncio.run(run_load(server, speech, streams, args.seconds)) > LIMIT:
                return
    finally:
        server.process.terminate()
        server.process.wait()


def read(path: Path) -> tuple[np.ndarray, int]:
    """Read the first channel of a file: int16 samples (n,) and sample rate in Hz."""
    samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    return np.ascontiguousarray(samples[:, 0]), rate


async def run_load(server: Server, speech: Sequence[tuple[np.ndarray, int]], streams: int, seconds: float) -> float:
    """Print one line of the table; return the 95th percentile of the latency."""
    measurements, meter = Measurements(), Meter(server)
    await load(server.address, speech, streams, time.monotonic() + seconds, measurements)
    return show("", streams, measurements, server, meter)


async def run_long(server: Server, speech: Sequence[tuple[np.ndarray, int]], streams: int, minutes: float) -> None:
    """Print a line every minute."""
    measurements, began = Measurements(), time.monotonic()
    clients = asyncio.create_task(load(server.address, speech, streams, began + 60 * minutes, measurements))
    for minute in range(1, round(minutes) + 1):
        meter = Meter(server)
        await asyncio.sleep(max(0.0, began + 60 * minute - time.monotonic()))
        show(str(minute), streams, measurements, server, meter)
        measurements.latencies.clear()
    await clients
    for error in dict.fromkeys(measurements.errors):
        print(f"error: {error}")


async def load(
    address: str, speech: Sequence[tuple[np.ndarray, int]], streams: int, until: float, measurements: Measurements
) -> None:
    """Run a number of clients until a time."""
    await asyncio.gather(*(client(address, speech, until, number, measurements) for number in range(streams)))


async def client(
    address: str, speech: Sequence[tuple[np.ndarray, int]], until: float, seed: int, measurements: Measurements
) -> None:
    """Send one file after another, each on its own connection."""
    chance = random.Random(seed)
    await asyncio.sleep(chance.uniform(0, 3))
    while time.monotonic() < until:
        samples, rate = chance.choice(speech)
        size = int(PACKET * rate)
        packets = (samples[begin : begin + size] for begin in range(0, len(samples), size))
        began = time.monotonic()
        try:
            async for event in recognize(address, packets, rate, real_time=True):
                measurements.words += len(event["words"]) if event["kind"] == "final" else 0
        except (UserError, OSError, WebSocketException) as error:
            measurements.errors.append(f"{type(error).__name__}: {error}")
        else:
            measurements.latencies.append(time.monotonic() - began - len(samples) / rate)


def show(minute: str, streams: int, measurements: Measurements, server: Server, meter: Meter) -> float:
    """Print a line; return the 95th percentile of the latency."""
    middle, high = np.percentile(measurements.latencies or [np.nan], [50, 95])
    cells = (minute, streams, len(measurements.latencies), f"{middle:.2f}", f"{high:.2f}", *meter.cores(),
             f"{server.memory():.0f}", len(measurements.errors))  # fmt: skip
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
    return float(high)


class Meter:
    """Measure CPU time from its creation on: of the server, and of the clients on the same machine."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.began = self._read()

    def cores(self) -> list[str]:
        """Return CPU seconds per second of the server and of the clients."""
        seconds, *spent = np.subtract(self._read(), self.began)
        return [f"{used / seconds:.2f}" for used in spent]

    def _read(self) -> tuple[float, float, float]:
        return time.monotonic(), self.server.cpu_seconds(), time.process_time()


class Server:
    """`augmem serve` as a subprocess."""

    def __init__(self, package: Path, workers: int, more: Sequence[str]) -> None:
        options = ["--package", str(package), "--port", "0", "--workers", str(workers), "--max-streams", "1000"]
        command = [sys.executable, "-m", "augmem.cli", "serve", *options, *more]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.search(r"listening on http://(\S+)", line):
                self.address = f"ws://{found[1]}"
                threading.Thread(target=self.process.stdout.read, daemon=True).start()  # a full pipe would block it
                return
        raise RuntimeError("the server did not start; see above")

    def pids(self) -> list[int]:
        """Return the process ids of the server and its workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def cpu_seconds(self) -> float:
        """Return the CPU time of all processes."""
        fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split() for pid in self.pids()]
        return sum(int(row[11]) + int(row[12]) for row in fields) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """Return the resident memory of all processes in MiB."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids())
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
