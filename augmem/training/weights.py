"""Which weights a run ends with: means over epochs, or a running average over updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from augmem.model import AcousticModel


class RunningAverage:
    """Exponential moving average of a model's weights over its updates (Polyak and Juditsky 1992).

    The first updates forget faster, so that the random initial weights do not linger: update n keeps
    min(decay, n / (n + 9)) of the average.

    Args:
        model: whose weights it follows; it begins with them.
        decay: what an update keeps of the average.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.weights = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def update(self, model: nn.Module) -> None:
        """Take in the weights after an update."""
        self.updates += 1
        keep = min(self.decay, self.updates / (self.updates + 9))
        for name, value in model.state_dict().items():
            self.weights[name].lerp_(value, 1 - keep)

    def state(self) -> dict[str, object]:
        """What `restore` needs."""
        return {"weights": self.weights, "updates": self.updates}

    def restore(self, state: Mapping[str, object]) -> None:
        """The inverse of `state`."""
        weights, self.updates = state["weights"], int(state["updates"])  # type: ignore[call-overload]
        for name, value in weights.items():  # type: ignore[attr-defined]
            self.weights[name].copy_(value)


def best_epochs(dev_losses: Mapping[int, float], count: int) -> list[int]:
    """The `count` epochs with the lowest loss, in order of time; of equals the later."""
    ranked = sorted(dev_losses, key=lambda epoch: (dev_losses[epoch], -epoch))
    return sorted(ranked[:count])


def stalled(dev_losses: Mapping[int, float], patience: int | None) -> bool:
    """Whether the last `patience` epochs have brought nothing better than what was before them."""
    if patience is None or not dev_losses:
        return False
    first_best = min(dev_losses, key=lambda epoch: (dev_losses[epoch], epoch))
    return max(dev_losses) - first_best >= patience


def average_models(paths: Sequence[Path], output: Path) -> None:
    """Write the model whose weights are the mean of the models in `paths`, summed in float64."""
    models = [AcousticModel.load(path) for path in paths]
    states = [model.state_dict() for model in models]
    mean: dict[str, Tensor] = {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(value.dtype)
        for name, value in states[0].items()
    }
    models[-1].load_state_dict(mean)
    models[-1].save(output, averaged=len(paths))
