"""Peak memory and time of a training step on ten minutes of speech: `python -m benchmarks.long_recording`.

The ten minutes are one recording, or 50 utterances of 12 s. The model has the default sizes and a bank of 16 slots;
LF-MMI has a dense denominator of 400 states, and one unit for 0.16 s. Each step runs in a process of its own, with one
thread and random features; the memory is that above the start.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from augmem.encoder import EncoderConfig
from augmem.graph import Denominator
from augmem.model import AcousticModel, ModelDescription
from augmem.objective import LatticeFreeMmi
from augmem.training.objective import BatchLoss
from augmem.training.sliced import SlicedObjective
from benchmarks.encoder import resident_peak
from benchmarks.kernels import denominator, numerators

CONFIG = EncoderConfig(memory_slots=16)
ENCODERS = {
    "as it is": CONFIG,
    "layers recomputed, feed-forward in 8 slices": replace(CONFIG, recompute_layers=True, feedforward_slices=8),
}
SHAPES = {"one recording": (1, 60000), "50 utterances": (50, 1200)}
CASES = (
    ("one recording", "as it is", 1, 42),
    ("one recording", "layers recomputed, feed-forward in 8 slices", 1, 42),
    ("50 utterances", "layers recomputed, feed-forward in 8 slices", 1, 42),
    ("50 utterances", "layers recomputed, feed-forward in 8 slices", 10, 42),
    ("50 utterances", "layers recomputed, feed-forward in 8 slices", 1, 2000),
    ("50 utterances", "layers recomputed, feed-forward in 8 slices", 10, 2000),
)


class Objective:
    """LF-MMI with the interface of `augmem.training.objective.Objective`; the words of a text are its units."""

    def __init__(self) -> None:
        self.mmi = LatticeFreeMmi(Denominator(denominator(200)))

    def __call__(
        self, levels: Sequence[Tensor], lengths: Tensor, texts: list[str], ctc_weight: float, ids: Sequence[str]
    ) -> BatchLoss:
        scores = self.mmi(levels[0], lengths, numerators(len(texts[0].split()), len(texts)))
        return BatchLoss(self.mmi.loss(scores), scores.valid, lengths, scores.sums())


def measure(config: EncoderConfig, shape: tuple[int, int], outputs: int, slices: int) -> tuple[float, float]:
    """Return the MiB and the seconds of a training step; runs in a process of its own."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = AcousticModel(ModelDescription(config, 80, 0.01, outputs, ""))
    features, lengths = torch.randn(*shape, 80), torch.full(shape[:1], shape[1])
    texts, ids = ["unit " * (shape[1] // 16)] * shape[0], [""] * shape[0]
    objective, begin, before = Objective(), time.process_time(), resident_peak()
    if slices > 1:
        levels, frames, _ = model.encode_levels(features, lengths)
        result = SlicedObjective(objective, model, slices, "float32")(levels, frames, texts, 0.0, ids)  # type: ignore[arg-type]
    else:
        levels, frames, _ = model.forward_levels(features, lengths)
        result = objective(levels, frames, texts, 0.0, ids)
    result.loss.backward()
    return resident_peak() - before, time.process_time() - begin


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print("| ten minutes | encoder | slices of the objective | outputs | peak memory, MiB | processor time, s |")
    print("|---|---|---|---|---|---|")
    for shape, encoder, slices, outputs in CASES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            memory, seconds = pool.apply(measure, (ENCODERS[encoder], SHAPES[shape], outputs, slices))
        row = (shape, encoder, str(slices), str(outputs), f"{memory:.0f}", f"{seconds:.1f}")
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
