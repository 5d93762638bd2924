"""Output layer and objective in slices of the utterances of a batch (compare Mini-Sequence, arXiv 2407.15892).

The gradient of a slice is computed together with its value, and only its derivatives with respect to the hidden vectors
and the weights of the output layers are kept. So log-probabilities, their gradients and the recursions over the graphs
exist for one slice at a time, and nothing is computed twice. Each slice is cropped to its longest utterance.

Letters: B utterances, T frames, D model width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from augmem.errors import UserError
from augmem.model import AcousticModel
from augmem.training.config import TrainingConfig
from augmem.training.objective import BatchLoss, Objective
from augmem.training.optimiser import autocast


class SlicedObjective:
    """An objective that also computes the output layers, with the arguments of `Objective` but hidden vectors.

    Args:
        objective: objective of log-probabilities.
        model: has the output layers.
        slices: number of slices.
        precision: `training.precision`.
    """

    def __init__(self, objective: Objective, model: AcousticModel, slices: int, precision: str) -> None:
        self.objective, self.model, self.slices, self.precision = objective, model, slices, precision

    def __call__(
        self, levels: Sequence[Tensor], lengths: Tensor, texts: list[str], ctc_weight: float, ids: Sequence[str]
    ) -> BatchLoss:
        """Compute the loss of a batch.

        Args:
            levels: hidden vectors (B, T, D) of the output layer, then of the iterated-loss layers.
            lengths, texts, ctc_weight, ids: as for `Objective`.
        """

        def compute(rows: slice, levels: Sequence[Tensor]) -> BatchLoss:
            with autocast(levels[0].device, self.precision):
                scores = self.model.score_levels(levels)
            return self.objective(scores, lengths[rows], texts[rows], ctc_weight, ids[rows])

        results: list[BatchLoss] = []
        weights = [*self.model.output.parameters(), *self.model.auxiliary.parameters()]
        pieces = list(_cut(lengths, self.slices))
        loss = _LossWithGradient.apply(compute, pieces, results, len(levels), *levels, *weights)
        sums = {name: torch.stack([result.sums[name] for result in results]).sum(0) for name in results[0].sums}
        return BatchLoss(loss, torch.cat([result.on_device for result in results]), lengths.cpu(), sums)


def _cut(lengths: Tensor, slices: int) -> Iterator[tuple[slice, int]]:
    """Yield the rows of each slice and the number of frames of its longest utterance."""
    first = 0
    for part in lengths.tensor_split(min(slices, len(lengths))):
        yield slice(first, first + len(part)), int(part.max())
        first += len(part)


class _LossWithGradient(torch.autograd.Function):
    """Total loss of the slices, with its gradient.

    Called with a function that computes the loss of a slice, the slices, a list that receives their results, the number
    of levels, the levels, and the weights that the function uses.
    """

    @staticmethod
    def forward(
        ctx: Any, compute: Callable[[slice, list[Tensor]], BatchLoss], pieces: Sequence[tuple[slice, int]],
        results: list[BatchLoss], levels: int, *inputs: Tensor,
    ) -> Tensor:  # fmt: skip
        hidden, weights = inputs[:levels], inputs[levels:]
        gradients = [torch.zeros_like(tensor) for tensor in inputs]
        for rows, frames in pieces:
            with torch.enable_grad():
                leaves = [level[rows, :frames].detach().requires_grad_() for level in hidden]
                result = compute(rows, leaves)
                found = torch.autograd.grad(result.loss, [*leaves, *weights], allow_unused=True)
            places = [*(gradient[rows, :frames] for gradient in gradients[:levels]), *gradients[levels:]]
            for place, part in zip(places, found, strict=True):
                if part is not None:
                    place += part
            result.loss = result.loss.detach()
            results.append(result)
        ctx.save_for_backward(*gradients)
        return torch.stack([result.loss for result in results]).sum()

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None, None, *(part * gradient.to(part.dtype) for part in ctx.saved_tensors)


def make_batch_objective(
    model: AcousticModel, objective: Objective, config: TrainingConfig, processes: int
) -> Objective | SlicedObjective:
    """Return the objective, or one in slices if `objective_slices` is more than 1.

    Raises:
        UserError: several processes drop layers.
    """
    if config.objective_slices == 1:
        return objective
    if processes > 1 and model.encoder.config.layer_drop:
        raise UserError(
            f"training.objective_slices is {config.objective_slices}: it must be 1 where several processes train with "
            "encoder.layer_drop, or encoder.layer_drop must be 0"
        )
    return SlicedObjective(objective, model, config.objective_slices, config.precision)
