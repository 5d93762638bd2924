"""Speed and memory of the encoders, as ratios within one run: `python -m benchmarks.encoder` (a few minutes).

All encoders have one size (`--dim`, `--layers`). Results are medians and quartiles over `--repeats` interleaved
repetitions, so that a change of the machine's speed affects both sides of a ratio. With `--threads 1`, CPU time of the
process is measured instead of wall time. `--config conf/mini_librispeech.yaml` prints a table of all types of encoder
in the size of that recipe instead (a minute).
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from augmem.encoder import ENCODERS, Encoder, EncoderConfig, build_encoder

SHIFT, BINS = 0.01, 80
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")


def main() -> None:
    """Run all measurements and print them."""
    args = options()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    if args.config:
        compare_types(yaml.safe_load(args.config.read_text())["encoder"], args.repeats)
        return
    config = EncoderConfig(dim=args.dim, layers=args.layers, feedforward_dim=4 * args.dim, dropout=0.0)
    print(f"{config}\n{args.threads} thread(s), {args.repeats} repetitions, torch {torch.__version__}\n")
    parallel_against_segmental(config, args.repeats)
    per_computed_frame(config, args.repeats)
    streaming_against_parallel(config, args.repeats)
    cost_along_a_stream(config, args.minutes)
    memory_against_length(config)
    share_of_products(config)


def options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--dim", type=int, default=192)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--config", type=Path, help="recipe with the size of the encoders in a table of all types")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=int, default=60, help="length of the stream in cost_along_a_stream")
    return parser.parse_args()


def compare_types(options: dict[str, Any], repeats: int) -> None:
    """Print parameters, cost and state of all types of encoder, without the options that a type does not have."""
    features, encoders = torch.randn(2, 1000, BINS), {}
    for kind in ENCODERS:
        encoders[kind] = build_encoder(EncoderConfig.from_stored(options | {"type": kind}), BINS, SHIFT)
    steps = interleave([train(encoder, partial(whole, encoder, features)) for encoder in encoders.values()], repeats)
    print(f"{torch.get_num_threads()} thread(s), training step of 2 x 10 s, median of {repeats}; stream of 60 s\n")
    print("| encoder | parameters | training step | streaming | state of a stream | latency |")
    print("|---|---|---|---|---|---|")
    for (kind, encoder), taken in zip(encoders.items(), steps, strict=True):
        size = sum(parameter.numel() for parameter in encoder.parameters())
        latency = encoder.average_latency
        delay = f"{latency:.2f} s" if isfinite(latency) else "whole utterance"
        cost = " | ".join((f"{statistics.median(taken):.2f} s", *stream_cost(encoder)))
        print(f"| {kind} | {size:,} | {cost} | {delay} |", flush=True)


def stream_cost(encoder: Encoder, seconds: int = 60) -> tuple[str, str]:
    """Return the real-time factor of a stream and the KiB of its state at the end; dashes without streaming."""
    try:
        state = encoder.eval().init_state(1)
    except NotImplementedError:
        return "-", "-"
    begin = clock()
    with torch.no_grad():
        for chunk in torch.randn(1, round(seconds / SHIFT), BINS).split(encoder.chunk_frames, 1):
            _, state = encoder.step(chunk, state)
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.tensors())
    return f"{(clock() - begin) / seconds:.4f}", f"{size / 1024:.0f} KiB"


def parallel_against_segmental(config: EncoderConfig, repeats: int) -> None:
    """Compare a training step of the parallel form with a loop over segments: time and gradients."""
    encoder = build_encoder(config, BINS, SHIFT)
    print("training step, segment-by-segment loop / parallel form (batch of 2)")
    for seconds in (10, 20, 35):
        features = torch.randn(2, seconds * 100, BINS)
        forms = [partial(segmental, encoder, features), partial(whole, encoder, features)]
        show(f"  {seconds} s", *interleave([train(encoder, form) for form in forms], repeats))
        gradients = [gradient(encoder, form) for form in forms]
        print(f"       largest difference of a gradient, relative: {relative(*gradients):.1e}")


def per_computed_frame(config: EncoderConfig, repeats: int) -> None:
    """Compare training cost with full context and cached left context, 15 s utterances."""
    features = torch.randn(4, 1500, BINS)
    kinds = {
        "paper": config,
        "full": replace(config, type="full_context"),
        "cached": replace(config, type="emformer"),
        "no_context": replace(config, left_context=0.0, right_context=0.0),
    }
    encoders = {name: build_encoder(kind, BINS, SHIFT) for name, kind in kinds.items()}
    steps = [train(encoder, partial(whole, encoder, features)) for encoder in encoders.values()]
    paper, full, cached, no_context = interleave(steps, repeats)
    segments = -(-375 // encoders["paper"].centre)
    centre = encoders["paper"].centre
    rows = sum(
        min(375, n * centre + centre + encoders["paper"].right) - max(0, n * centre - encoders["paper"].left)
        for n in range(segments)
    )
    print(f"\ntraining step of 15 s utterances; {rows} rows computed for 375 frames ({rows / 375:.2f}x)")
    show("  paper / full context", paper, full)
    show("  paper / full context, per computed frame", [t * 375 / rows for t in paper], full)
    show("  paper / the same without L and R", paper, no_context)
    show("  cached left context (Emformer) / paper", cached, paper)


def streaming_against_parallel(config: EncoderConfig, repeats: int) -> None:
    """Compare streaming at batch 1 with the parallel forward of the same 20 s."""
    encoder = build_encoder(config, BINS, SHIFT).eval()
    features = torch.randn(1, 2000, BINS)
    with torch.no_grad():
        times = interleave([partial(segmental, encoder, features), partial(whole, encoder, features)], 2 * repeats)
        products = interleave([partial(linears, encoder, n) for n in (True, False)], 2 * repeats)
    print("\nforward at batch 1, streaming steps / parallel")
    show("  20 s", *times)
    show("  linear layers only, block by block / all rows at once", *products)


def linears(encoder: Encoder, apart: bool) -> None:
    """Compute the linear layers of 16 full blocks, block by block (`apart`) or all at once."""
    rows = torch.zeros(16 * (encoder.left + encoder.centre + encoder.right), encoder.output_dim)
    maps = [part for layer in encoder.layers for part in layer.modules() if isinstance(part, nn.Linear)]
    for block in rows.chunk(16 if apart else 1):
        for part in maps:
            part(block.new_zeros(block.size(0), part.in_features))


def cost_along_a_stream(config: EncoderConfig, minutes: int) -> None:
    """Measure the real-time factor along a stream with a limited bank."""
    encoder = build_encoder(replace(config, memory_slots=16), BINS, SHIFT).eval()
    state = encoder.init_state(1)
    chunk = torch.randn(1, encoder.chunk_frames, BINS)
    audio = chunk.size(1) * SHIFT
    costs = []
    with torch.no_grad():
        for _ in range(int(minutes * 60 / audio)):
            begin = clock()
            _, state = encoder.step(chunk, state)
            costs.append((clock() - begin) / audio)
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.tensors())
    print("\nstreaming, 16 slots: real-time factor")
    print(f"  state {size / 1024:.0f} KiB throughout")
    for minute in sorted({1, min(10, minutes), minutes}):
        end = int(minute * 60 / audio)
        show(f"  after {minute} min", costs[max(0, end - 40) : end])


def memory_against_length(config: EncoderConfig) -> None:
    """Measure the peak memory of a training step in a process of its own, above that of an idle encoder."""
    print("\npeak memory of a training step, MiB above the start (batch 1)")
    for name, kind in (
        ("paper, 16 slots", replace(config, memory_slots=16)),
        ("the same, layers recomputed", replace(config, memory_slots=16, recompute_layers=True)),
        ("the same, feed-forward in 8 slices", replace(config, memory_slots=16, feedforward_slices=8)),
        ("full context", replace(config, type="full_context")),
    ):
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            peaks = [pool.apply(peak, (kind, seconds)) for seconds in (30, 60, 120, 240)]
        print(f"  {name}: " + ", ".join(f"{s} s {p:.0f}" for s, p in zip((30, 60, 120, 240), peaks, strict=True)))


def share_of_products(config: EncoderConfig) -> None:
    """Measure the shares of matrix products and convolution in a training step."""
    encoder = build_encoder(replace(config, dropout=0.1), BINS, SHIFT)
    features = torch.randn(40, 250, BINS)
    step = train(encoder, lambda: whole(encoder, features))
    step()
    with torch.profiler.profile() as profile:
        step()
    events = profile.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    products = sum(event.self_cpu_time_total for event in events if event.key in PRODUCTS)
    convolution = sum(event.self_cpu_time_total for event in events if "convolution" in event.key)
    print("\n40 utterances of 2.5 s with dropout, share of a training step's time")
    print(f"  matrix products {products / total:.0%}, convolution {convolution / total:.0%}")


def peak(config: EncoderConfig, seconds: int) -> float:
    """Return the MiB by which one training step raises the resident peak; runs in a process of its own."""
    torch.set_num_threads(1)
    encoder = build_encoder(config, BINS, SHIFT)
    features = torch.randn(1, seconds * 100, BINS)
    before = resident_peak()
    train(encoder, lambda: whole(encoder, features))()
    return resident_peak() - before


def resident_peak() -> float:
    """Return the peak resident memory in MiB. The value of getrusage would start from the peak of the parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def whole(encoder: Encoder, features: Tensor) -> Tensor:
    """Encode utterances of equal length by the parallel form."""
    hidden, _ = encoder(features, torch.full((features.size(0),), features.size(1), device=features.device))
    return hidden


def segmental(encoder: Encoder, features: Tensor) -> Tensor:
    """Encode utterances of equal length segment by segment."""
    state, outputs = encoder.init_state(features.size(0)), []
    for chunk in features.split(encoder.chunk_frames, 1):
        hidden, state = encoder.step(chunk, state)
        outputs.append(hidden)
    outputs.append(encoder.step(features[:, :0], state, True)[0])
    return torch.cat(outputs, 1)


def train(encoder: Encoder, form: Callable[[], Tensor]) -> Callable[[], None]:
    """Return a function that runs a forward and backward pass."""

    def step() -> None:
        encoder.zero_grad(set_to_none=True)
        form().square().mean().backward()

    return step


def gradient(encoder: Encoder, form: Callable[[], Tensor]) -> Tensor:
    """Return all gradients of one step in one vector."""
    train(encoder, form)()
    return torch.cat([p.grad.flatten() for p in encoder.parameters() if p.grad is not None])


def relative(a: Tensor, b: Tensor) -> float:
    """Return the largest difference, relative to the largest value."""
    return float((a - b).abs().max() / b.abs().max())


def clock() -> float:
    """Return seconds: CPU time of this process with one thread, else wall time."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def interleave(runs: Sequence[Callable[[], object]], repeats: int) -> list[list[float]]:
    """Return the seconds of each run, interleaved, after one warm-up each."""
    for run in runs:
        run()
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats):
        for run, taken in zip(runs, times, strict=True):
            begin = clock()
            run()
            taken.append(clock() - begin)
    return times


def show(name: str, times: list[float], reference: list[float] | None = None) -> None:
    """Print the median and quartiles of times, or of the ratios of paired times."""
    values = times if reference is None else [a / b for a, b in zip(times, reference, strict=True)]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    text = f"{name}: {middle:.3g} [{low:.3g} to {high:.3g}]"
    if reference is not None:
        text += f"   (medians {statistics.median(times):.3f} s, {statistics.median(reference):.3f} s)"
    print(text, flush=True)


if __name__ == "__main__":
    main()
