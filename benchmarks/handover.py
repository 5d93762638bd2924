"""Stability of training in the hand-over from CTC to LF-MMI: `python -m benchmarks.handover EXP ... --output FILE.png`

Plots loss, gradient norm and CTC weight by step, one line per experiment (seeds of one recipe), and prints the rise of
the gradient norm: the largest running median from the first step of the hand-over on, divided by the lowest before.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augmem.files import atomic_path
from augmem.training import read_log

WIDTH = 9  # log lines per running median


def main() -> None:
    """Print a line per experiment and plot all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exp", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    logs = {exp.name: steps(exp) for exp in args.exp}
    print("| experiment | hand-over, steps | gradient norm: rise | LF-MMI loss per frame after it, at the end |")
    print("|---|---|---|---|")
    for name, log in logs.items():
        print(row(name, log))
    with atomic_path(args.output) as temporary:
        temporary.write_bytes(plot(logs))


def steps(exp: Path) -> list[dict[str, Any]]:
    """Return the training lines of a log."""
    return [line for line in read_log(exp / "train" / "log.jsonl") if line["kind"] == "step"]


def row(name: str, log: Sequence[dict[str, Any]]) -> str:
    """Format the line of one experiment."""
    mixed = [line["step"] for line in log if 0 < line["ctc_weight"] < 1]
    if not mixed or not log[0]["step"] < mixed[0] or not mixed[-1] < log[-1]["step"]:
        raise SystemExit(f"{name}: the log must begin before the hand-over and end after it; train further")
    norms = running_median([line["grad_norm"] for line in log])
    before = min(norm for norm, line in zip(norms, log, strict=True) if line["step"] < mixed[0])
    after = max(norm for norm, line in zip(norms, log, strict=True) if line["step"] >= mixed[0])
    mmi = [line["denominator"] - line["numerator"] for line in log if line["step"] > mixed[-1]]
    begin, end = np.mean(mmi[:WIDTH]), np.mean(mmi[-WIDTH:])
    return f"| {name} | {mixed[0]} to {mixed[-1]} | {after / before:.2f} | {begin:.3f}, {end:.3f} |"


def running_median(values: Sequence[float]) -> list[float]:
    """Return medians of `WIDTH` values, fewer at the ends."""
    half = WIDTH // 2
    return [float(np.median(values[max(0, i - half) : i + half + 1])) for i in range(len(values))]


def plot(logs: dict[str, list[dict[str, Any]]]) -> bytes:
    """Plot loss, gradient norm and CTC weight as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    panels = figure.subplots(3, sharex=True, height_ratios=(3, 2, 1))
    for name, log in logs.items():
        steps_of_log = [line["step"] for line in log]
        panels[0].plot(steps_of_log, running_median([line["loss"] for line in log]), label=name)
        panels[1].plot(steps_of_log, running_median([line["grad_norm"] for line in log]))
        panels[2].plot(steps_of_log, [line["ctc_weight"] for line in log])
    for panel, title in zip(panels, ("loss, nats per frame", "gradient norm", "CTC weight"), strict=True):
        panel.set_ylabel(title)
        panel.grid(alpha=0.3)
    panels[0].legend()
    panels[2].set_xlabel("step")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return stream.getvalue()


if __name__ == "__main__":
    main()
