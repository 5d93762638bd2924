"""The processes that train one model together: torchrun starts them, gloo or NCCL adds up what they found.

Every process must make the same calls in the same order.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from augmem.encoder import Memory
from augmem.model import AcousticModel
from augmem.training.config import TrainingConfig


@dataclass(frozen=True)
class Team:
    """This process among its fellows; by default it is alone.

    Args:
        rank: its number; 0 leads: it validates, logs and saves.
        size: how many there are.
        device: where it computes.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=partial(torch.device, "cpu"))

    @classmethod
    def join(cls, device: str) -> Team:
        """Take the place torchrun gave this process, or be alone.

        Args:
            device: "auto" is a GPU if there is one, each process on its machine its own.
        """
        rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        if size > 1 and name == "cuda":
            name = f"cuda:{os.environ['LOCAL_RANK']}"
            torch.cuda.set_device(name)
        if size > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if name.startswith("cuda") else "gloo")
        return cls(rank, size, torch.device(name))

    @property
    def leads(self) -> bool:
        """Whether this process does what only one may do."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """Element by element, the sum over all processes."""
        if self.size == 1:
            return values
        values = values.to(self.device)
        distributed.all_reduce(values)
        return values.cpu()

    def any(self, fact: bool) -> bool:
        """Whether it holds for any of the processes."""
        return bool(self.total(torch.tensor([float(fact)])) > 0)

    def gather(self, value: Any) -> list[Any]:
        """Everybody's value, in the order of ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def leaders(self, value: Any) -> Any:
        """What the leader has in the place of `value`."""
        return self.gather(value)[0]

    def replicate(self, model: AcousticModel) -> nn.Module:
        """The model's training form, whose gradients are means over all processes after each `exchanging` pass."""
        network = TrainingForm(model)
        if self.size == 1:
            return network
        leaves_out = model.encoder.config.layer_drop > 0
        return DistributedDataParallel(network, broadcast_buffers=False, find_unused_parameters=leaves_out)


class TrainingForm(nn.Module):
    """`AcousticModel.forward_levels` as a module's forward, which is what DistributedDataParallel watches over."""

    def __init__(self, model: AcousticModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, features: Tensor, lengths: Tensor, memory: Memory | None = None
    ) -> tuple[list[Tensor], Tensor, Memory | None]:
        return self.model.forward_levels(features, lengths, memory)


def exchanging(network: nn.Module, last: bool) -> AbstractContextManager[None]:
    """For a forward and backward pass: gradients are exchanged in the `last` one of an update, along the way."""
    if last or not isinstance(network, DistributedDataParallel):
        return nullcontext()
    return network.no_sync()


def check_team(config: TrainingConfig, team: Team) -> None:
    """Every process must have its share of an update, and a device that can do what is asked of it.

    Raises:
        ValueError: the batches of an update cannot be shared out evenly, or float16 is wanted of a CPU.
    """
    if config.precision == "float16" and team.device.type != "cuda":
        raise ValueError("training.precision is float16, which needs a GPU; bfloat16 works on CPUs too")
    config.check_processes(team.size)
