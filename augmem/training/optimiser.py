"""Optimiser and the numerics of a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from augmem.training.config import TrainingConfig


def make_optimiser(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Create AdamW (arXiv 1711.05101) with weight decay on matrices only; fused where torch can do that."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.dim() > 1]
    others = [parameter for parameter in trained if parameter.dim() <= 1]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    options: dict[str, Any] = {"betas": config.adam_betas, "weight_decay": config.weight_decay}
    try:
        return torch.optim.AdamW(groups, config.learning_rate, **options, fused=True)
    except (TypeError, RuntimeError):  # older releases do not have it, or not for this device
        return torch.optim.AdamW(groups, config.learning_rate, **options)


def set_learning_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of all parameter groups."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate


def seed_batch(seed: int, epoch: int, number: int) -> None:
    """Seed torch's random numbers for batch `number` of an epoch."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch, number]).generate_state(1)[0]))


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the autocast context of `training.precision`; disabled for float32."""
    mixed = precision != "float32"
    return torch.autocast(device.type, getattr(torch, precision) if mixed else None, enabled=mixed)


def scale_and_clip(model: nn.Module, factor: float, limit: float) -> float:
    """Multiply all gradients by a factor, and again where that leaves a norm above the limit; return the norm.

    Parameters without a gradient (of dropped layers) get zeros.
    """
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm = factor * float(torch.stack(torch._foreach_norm(gradients)).norm())
    torch._foreach_mul_(gradients, factor * min(1.0, limit / (norm + 1e-6)))
    return norm
