"""Training speed and memory on a GPU: `python -m benchmarks.gpu` (10 minutes on one GPU; needs torch, safetensors).

No k2, no network and no data: features and graphs are random. Prints Markdown tables and writes them as JSON:
correctness against the CPU in float64, times of a step for all encoders, the share of the objective, the largest
kernels, feature frames per second end to end with their share of waiting for data, and peak memory. `--small` checks
the same on a CPU in seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from augmem.encoder import Encoder, EncoderConfig, build_encoder
from augmem.graph import Denominator
from augmem.objective import LatticeFreeMmi
from benchmarks.encoder import segmental, whole
from benchmarks.kernels import BINS, SHIFT, UNITS, denominator, numerators

Report = dict[str, Any]
Form = Callable[[Encoder, Tensor], Tensor]


@dataclass(frozen=True)
class Size:
    """Sizes of a run.

    Args:
        encoder: encoder options as in conf/librispeech_960.yaml, or smaller.
        batches: utterances and seconds of each shape that is measured.
        histories: histories of the denominator.
        repeats: timed steps; the median counts.
        precisions: number formats of the encoder.
    """

    encoder: EncoderConfig
    batches: tuple[tuple[int, int], ...]
    histories: int
    repeats: int
    precisions: tuple[str, ...] = ("float32", "bfloat16")


FULL = Size(
    EncoderConfig(dim=512, heads=8, feedforward_dim=2048, layers=24, frontend_channels=(32, 64)),
    ((40, 15), (17, 35)), 500, 5,
)  # fmt: skip
SMALL = Size(
    EncoderConfig(dim=16, heads=2, feedforward_dim=16, layers=3, frontend_channels=(2, 2)),
    ((2, 3),), 5, 1, ("float32",),
)  # fmt: skip


def main() -> None:
    """Measure everything, print the tables and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="small sizes, for a check without a GPU")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    report = measure(SMALL if args.small else FULL, device)
    print(markdown(report))
    if args.output:
        args.output.write_text(json.dumps(report, indent=2) + "\n")


def measure(size: Size, device: torch.device) -> Report:
    """Run all measurements."""
    torch.manual_seed(0)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    kinds = encoders(size.encoder)
    report: Report = {"device": name, "torch": torch.__version__, "size": asdict(size)}
    report["largest difference to float64"] = {kind: difference(config, device) for kind, config in kinds.items()}
    report["milliseconds per step"] = {
        f"{kind}, {count} x {seconds} s": step_times(config, whole, count, seconds, size, device)
        for count, seconds in size.batches
        for kind, config in kinds.items()
    }
    count, seconds = size.batches[0]
    loop = step_times(size.encoder, segmental, count, seconds, size, device)
    report["milliseconds per step"][f"augmented memory, segment by segment, {count} x {seconds} s"] = loop
    report |= whole_step(size, count, seconds, device)
    return report


def encoders(config: EncoderConfig) -> dict[str, EncoderConfig]:
    """Return the encoders that are compared, all of one size."""
    return {
        "augmented memory": config,
        "summary blind to the bank": replace(config, summary_sees_memory=False),
        "no memory": replace(config, memory_slots=0),
        "Emformer": replace(config, type="emformer"),
        "full context": replace(config, type="full_context"),
        "PRO-SCALE": replace(config, type="pro_scale"),
        "Conv-Transformer": replace(config, type="conv_transformer"),
        "Conformer-Kernel": replace(config, type="conformer_kernel"),
    }


def difference(config: EncoderConfig, device: torch.device) -> dict[str, float]:
    """Return the largest difference of outputs and gradients to the CPU in float64, relative to the largest value.

    Without dropout, on two utterances, with three layers: what is wrong in one layer shows there.
    """
    config = replace(config, dropout=0.0, layers=3)
    exact = build_encoder(config, BINS, SHIFT).double()
    single = build_encoder(config, BINS, SHIFT).to(device)
    single.load_state_dict(exact.state_dict())
    features, lengths = torch.randn(2, 700, BINS), torch.tensor([700, 420])
    found = []
    for encoder, x in ((exact, features.double()), (single, features.to(device))):
        hidden, _ = encoder(x, lengths.to(x.device))
        hidden.square().sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in encoder.parameters() if p.grad is not None])
        found.append((hidden.detach().double().cpu(), gradient.double().cpu()))
    return {
        part: float((b - a).abs().max() / a.abs().max())
        for part, a, b in zip(("outputs", "gradients"), *found, strict=True)
    }


def step_times(
    config: EncoderConfig, form: Form, count: int, seconds: int, size: Size, device: torch.device
) -> dict[str, float]:
    """Return the time of forward and backward pass in each precision, in ms, and the peak memory in MiB.

    Args:
        form: `whole` or `segmental`.
        count, seconds: utterances of a batch, and their length.
    """
    encoder = build_encoder(config, BINS, SHIFT).to(device)
    features = torch.randn(count, round(seconds / SHIFT), BINS, device=device)
    found = {}
    for precision in size.precisions:

        def step(precision: str = precision) -> None:
            encoder.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                hidden = form(encoder, features)
            hidden.float().square().mean().backward()

        found[precision] = milliseconds(step, size.repeats, device)
    return found | {"peak MiB": peak_memory(device)}


def milliseconds(function: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Return the median time of a call after one to warm up; resets the peak memory."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    times = []
    for _ in range(repeats + 1):
        synchronise(device)
        began = time.perf_counter()
        function()
        synchronise(device)
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times[1:])


def synchronise(device: torch.device) -> None:
    """Wait for all kernels."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(device: torch.device) -> float:
    """Return the peak memory of the GPU in MiB since it was reset; 0 on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0


class Model(nn.Module):
    """Encoder and output layer.

    Args:
        config: options of the encoder.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.encoder: Encoder = build_encoder(config, BINS, SHIFT)
        self.output = nn.Linear(config.dim, UNITS)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map features (B, T, F) to log-probabilities (B, T', V) in float32, and lengths."""
        hidden, out = self.encoder(features, lengths)
        return self.output(hidden).float().log_softmax(2), out


def whole_step(size: Size, count: int, seconds: int, device: torch.device) -> Report:
    """Measure training steps with LF-MMI and optimiser, fed from pinned memory, in bfloat16.

    Args:
        count, seconds: utterances of a batch, and their length.
    """
    model, mmi = Model(size.encoder).to(device), LatticeFreeMmi(Denominator(denominator(size.histories)))
    graphs = numerators(max(2, 3 * seconds), count)  # units per second of fluent speech: about ten, in half the frames
    optimiser = torch.optim.AdamW(model.parameters(), 1e-4)
    frames, waited, spent = round(seconds / SHIFT), 0.0, 0.0
    batches = prefetched(count, frames, device)

    def step() -> None:
        nonlocal waited, spent
        began = time.perf_counter()
        features = next(batches)
        waited += time.perf_counter() - began
        lengths = torch.full((count,), frames, device=device)
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16):
            log_probs, out = model(features, lengths)
        synchronise(device)
        began = time.perf_counter()
        loss = mmi.loss(mmi(log_probs, out, graphs))
        synchronise(device)
        spent += time.perf_counter() - began
        (loss / out.sum()).backward()
        optimiser.step()

    taken = milliseconds(step, size.repeats, device)
    total = taken * (size.repeats + 1) / 1000
    return {
        "whole step": {
            "milliseconds": taken,
            "feature frames per second": 1000 * count * frames / taken,
            "share of the objective": spent / total,
            "share of waiting for data": waited / total,
            "peak MiB": peak_memory(device),
        },
        "largest kernels": largest_kernels(step, device),
    }


def prefetched(count: int, frames: int, device: torch.device) -> Iterator[Tensor]:
    """Yield batches (B, T, F); the next one is copied from pinned memory while a step runs."""
    source = [torch.randn(count, frames, BINS) for _ in range(2)]
    if device.type == "cuda":
        source = [batch.pin_memory() for batch in source]
    ready, turn = source[0].to(device, non_blocking=True), 0
    while True:
        turn += 1
        following = source[turn % 2].to(device, non_blocking=True)
        yield ready
        ready = following


def largest_kernels(function: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Return the share of each of the ten largest kernels in the time of all; operations instead on a CPU."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        function()
        synchronise(device)
    times = {event.key: float(self_time(event, device)) for event in profile.key_averages()}
    total = sum(times.values()) or 1.0
    return {name: times[name] / total for name in sorted(times, key=lambda name: -times[name])[:10]}


def self_time(event: Any, device: torch.device) -> float:
    """Return the time of an event itself; the attribute has another name in older releases."""
    if device.type == "cpu":
        return float(event.self_cpu_time_total)
    return float(getattr(event, "self_device_time_total", None) or getattr(event, "self_cuda_time_total", 0.0))


def markdown(report: Report) -> str:
    """Return the report as Markdown tables."""
    lines = [f"{report['device']}, torch {report['torch']}"]
    for title, table in report.items():
        if not isinstance(table, dict) or title == "size":
            continue
        rows = {key: value if isinstance(value, dict) else {"": value} for key, value in table.items()}
        columns = list(next(iter(rows.values())))
        lines += ["", f"| {title} | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
        lines += [f"| {key} | {' | '.join(f'{row[name]:.3g}' for name in columns)} |" for key, row in rows.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
