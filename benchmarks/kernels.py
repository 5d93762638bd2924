"""Kernel launches of a training step: `python -m benchmarks.kernels` (a minute on one core; torch alone, no k2).

A GPU waits for launches where a step consists of many small operations. Their number does not depend on the device, so
it is counted on the CPU: every operation below autograd that does more than allocate or return a view is at least one
kernel on a GPU. Custom autograd functions are opened, in the backward pass too. What differs on a GPU is counted as it
is there: dropout is torch's, and of the tables that the CPU builds only the copies count. Widths do not matter, so the
encoder has the depth of conf/librispeech_960.yaml and narrow layers.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from augmem.encoder import ENCODERS, Encoder, EncoderConfig, build_encoder
from augmem.graph import Denominator, FrameGraph, FrameGraphs, scaled, stack_graphs
from augmem.objective import LatticeFreeMmi, ctc_scores

SHIFT, BINS, UNITS = 0.01, 80, 42
SEGMENTS = (12, 28)

# Return new memory without a kernel.
FREE = {
    "empty",
    "empty_like",
    "empty_strided",
    "new_empty",
    "new_empty_strided",
    "_unsafe_view",
    "_reshape_alias",
    "resize_",
}
# Call others, which a dispatch mode does not see.
COMPOSED = {
    "logsumexp": 5, "embedding_dense_backward": 4, "sort": 2, "argsort": 2, "nonzero": 2, "slice_backward": 2,
    "select_backward": 2, "constant_pad_nd": 2,
}  # fmt: skip


def main() -> None:
    """Print the counts as a Markdown table, and the most frequent operations on request."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=24, help="layers of the encoder (%(default)s)")
    parser.add_argument("--type", default="augmented_memory", choices=ENCODERS, help="encoder (%(default)s)")
    parser.add_argument("--top", type=int, default=0, help="also list so many of the most frequent operations")
    args = parser.parse_args()
    torch.set_num_threads(1)
    scaled._arcs = on_cpu(scaled._arcs)
    counts = [count_parts(args.layers, segments, args.type) for segments in SEGMENTS]
    print(f"torch {torch.__version__}, {args.type}, {args.layers} layers\n")
    print(f"| launches | {' | '.join(f'{n} segments' for n in SEGMENTS)} | growth |")
    print("|---|---|---|---|")
    for part in counts[0]:
        few, many = (found[part].total() for found in counts)
        print(f"| {part} | {few:,} | {many:,} | {100 * (many / few - 1):+.0f} % |")
    for part in counts[0]:
        for segments, found in zip(SEGMENTS, counts, strict=True):
            for name, number in found[part].most_common(args.top):
                print(f"{part}, {segments} segments: {name} {number:,}")


def count_parts(layers: int, segments: int, kind: Any = "augmented_memory") -> dict[str, Counter[str]]:
    """Count the operations of each part of a training step, by name.

    Args:
        layers: layers of the encoder.
        segments: segments of the longest utterance.
        kind: type of the encoder.
    """
    torch.manual_seed(0)
    config = EncoderConfig(kind, dim=32, heads=4, feedforward_dim=64, layers=layers, frontend_channels=(2, 4))
    encoder = as_on_gpu(build_encoder(config, BINS, SHIFT))
    frames = segments * encoder.chunk_frames
    lengths = torch.tensor([frames, frames - 50, frames * 3 // 4, frames // 2])
    features = torch.randn(4, frames, BINS)
    encoded: list[Tensor] = []

    def forward() -> None:
        encoded[:] = encoder(features, lengths)

    counts = {
        "encoder, forward": count_launches(forward),
        "encoder, backward": count_launches(lambda: encoded[0].sum().backward()),
    }
    counts["encoder"] = counts["encoder, forward"] + counts["encoder, backward"]
    log_probs, graphs = torch.randn(4, frames // 4, UNITS).log_softmax(2).requires_grad_(), numerators(frames // 16, 4)
    mmi, lengths = LatticeFreeMmi(Denominator(denominator(50))), encoder.frontend.output_lengths(lengths)
    counts["LF-MMI"] = count_launches(lambda: mmi.loss(mmi(log_probs, lengths, graphs)).backward())
    counts["CTC"] = count_launches(lambda: ctc_scores(log_probs, lengths, graphs).loss().backward())
    return counts


def numerators(units: int, count: int) -> FrameGraphs:
    """Return CTC graphs of `count` transcripts of different lengths of up to `units` units; some states have more arcs
    than others."""
    return stack_graphs([chain(max(1, units - units * row // (2 * count))) for row in range(count)])


def chain(units: int) -> FrameGraph:
    """Return the CTC graph of one transcript: blanks between units; every 4th unit may be left out."""
    states = 2 * units + 1
    labels = torch.zeros(states, dtype=torch.int64)
    labels[1::2] = torch.arange(units) % (UNITS - 1) + 1
    steps = [(back, torch.arange(back, states)) for back in (0, 1)]
    steps += [(2, torch.arange(3, states, 2)), (3, torch.arange(4, states, 8)), (4, torch.arange(5, states, 8))]
    targets = torch.cat([places for _, places in steps])
    sources = torch.cat([places - back for back, places in steps])
    ends = torch.full((2, states), -torch.inf)
    ends[0, :2] = ends[1, -2:] = 0.0
    return FrameGraph(labels, ends[0], ends[1], sources, targets, torch.zeros(len(targets)))


def denominator(histories: int) -> FrameGraph:
    """Return a graph in which every state is reached from every other."""
    states = histories * 2
    sources, targets = torch.arange(states).repeat_interleave(states), torch.arange(states).repeat(states)
    even = torch.full((states,), -float(torch.tensor(states).log()))
    return FrameGraph(torch.arange(states) % UNITS, even, even, sources, targets, even.repeat(states))


def as_on_gpu(encoder: Encoder) -> Encoder:
    """Make an encoder on the CPU do what it does on a GPU, as far as launches differ."""
    for module in list(encoder.modules()):
        for name, part in module.named_children():
            if hasattr(part, "threshold"):  # Dropout that is fast on CPUs
                setattr(module, name, OneKernel())
        if hasattr(module, "build_tables"):
            module.build_tables = on_cpu(module.build_tables)
    return encoder


class OneKernel(nn.Module):
    """Stands for torch's dropout on a GPU: one kernel forward, one backward."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 1.0


def on_cpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose operations are not counted, as the CPU executes them; only copies of its results are."""

    def counted(*args: Any, **options: Any) -> Any:
        LaunchCounter.active = False
        try:
            tables = function(*args, **options)
        finally:
            LaunchCounter.active = True
        LaunchCounter.copies += len({id(tensor) for tensor in tensors_of(tables)})
        return tables

    return counted


def tensors_of(tree: Any) -> list[Tensor]:
    """Return all tensors of nested tuples."""
    if isinstance(tree, tuple):
        return [tensor for part in tree for tensor in tensors_of(part)]
    return [tree] if isinstance(tree, Tensor) else []


class LaunchCounter(TorchDispatchMode):
    """Count the operations that launch a kernel, by name, while the context is active."""

    active = True
    copies = 0

    def __init__(self) -> None:
        super().__init__()
        self.launches: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if self.active and name not in FREE and not returns_view(func):
            self.launches[name] += COMPOSED.get(name, 1)
        return func(*args, **(kwargs or {}))


def returns_view(operation: Any) -> bool:
    """Return whether an operation returns a view of its input; one that writes to its input does not."""
    aliases = [value.alias_info for value in operation._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)


def count_launches(function: Callable[[], object]) -> Counter[str]:
    """Run a function and count, by name, its operations that launch a kernel."""
    LaunchCounter.copies = 0
    with LaunchCounter() as counter:
        function()
    counter.launches["copy of a table"] += LaunchCounter.copies
    return counter.launches


if __name__ == "__main__":
    main()
