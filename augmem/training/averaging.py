"""Weight averaging: the mean over epochs, or an exponential moving average over steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from augmem.model import AcousticModel


class RunningAverage:
    """Exponential moving average of a model's weights (Polyak and Juditsky 1992).

    Update n keeps min(decay, n / (n + 9)) of the average, so that the random initial weights lose their share quickly.

    Args:
        model: provides the initial weights.
        decay: share of the average that an update keeps.

    Example:
        >>> average = RunningAverage(nn.Linear(2, 2), decay=0.999)
        >>> average.update(nn.Linear(2, 2))
        >>> average.updates
        1
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def update(self, model: nn.Module) -> None:
        """Add the weights of a step to the average."""
        self.updates += 1
        keep = min(self.decay, self.updates / (self.updates + 9))
        for name, value in model.state_dict().items():
            self.weights[name].lerp_(value, 1 - keep)

    def state_dict(self) -> dict[str, Any]:
        """Return the state to store in a checkpoint."""
        return {"weights": self.weights, "updates": self.updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of a checkpoint."""
        self.updates = state["updates"]
        for name, value in state["weights"].items():
            self.weights[name].copy_(value)


def select_best_epochs(dev_losses: Mapping[int, float], count: int) -> list[int]:
    """Return the `count` epochs with the lowest dev loss, in ascending order; of equal losses, the later epoch.

    Args:
        dev_losses: dev loss of each epoch.
        count: number of epochs to select.
    """
    ranked = sorted(dev_losses, key=lambda epoch: (dev_losses[epoch], -epoch))
    return sorted(ranked[:count])


def has_stalled(dev_losses: Mapping[int, float], patience: int | None) -> bool:
    """Return whether the dev loss has not improved for `patience` epochs (early stopping).

    Args:
        dev_losses: dev loss of each epoch.
        patience: number of epochs; None: never.
    """
    if patience is None or not dev_losses:
        return False
    first_best = min(dev_losses, key=lambda epoch: (dev_losses[epoch], epoch))
    return max(dev_losses) - first_best >= patience


def average_models(paths: Sequence[Path], output: Path) -> None:
    """Write a model whose weights are the mean over several model files, computed in float64.

    Args:
        paths: model files, at least one; all must have the same description.
        output: model file to write.
    """
    models = [AcousticModel.load(path) for path in paths]
    states = [model.state_dict() for model in models]
    mean: dict[str, Tensor] = {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(value.dtype)
        for name, value in states[0].items()
    }
    models[-1].load_state_dict(mean)
    models[-1].save(output, averaged=len(paths))
