"""Data-parallel training: rank, world size and the collective operations of one process.

Processes are started by torchrun. All ranks must call the collective operations in the same order.
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

from augmem.devices import find_device
from augmem.encoder import Memory
from augmem.errors import UserError
from augmem.model import AcousticModel
from augmem.training.config import TrainingConfig


@dataclass(frozen=True)
class DistributedContext:
    """Rank, world size and device of this process. The default is a single process on the CPU.

    Args:
        rank: index of this process. Rank 0 validates, logs and saves.
        world_size: number of processes.
        device: where this process computes.

    Example:
        >>> DistributedContext().all_gather("value")
        ['value']
    """

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=partial(torch.device, "cpu"))

    @classmethod
    def from_environment(cls, device: str) -> DistributedContext:
        """Read torchrun's environment variables and initialise the process group (NCCL on GPUs, gloo on CPUs).

        Args:
            device: "auto" selects a GPU if there is one; with several processes, the one of the local rank.

        Raises:
            UserError: a GPU is demanded that this machine lacks.
        """
        rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        name = str(find_device(device, "training.device"))
        if world_size > 1 and name == "cuda":
            name = f"cuda:{os.environ['LOCAL_RANK']}"
            torch.cuda.set_device(name)
        if world_size > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if name.startswith("cuda") else "gloo")
        return cls(rank, world_size, torch.device(name))

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process validates, logs and saves."""
        return self.rank == 0

    def is_assigned(self, batch: int) -> bool:
        """Return whether this process computes batch number `batch` of an epoch."""
        return batch % self.world_size == self.rank

    def all_reduce(self, values: Tensor) -> Tensor:
        """Return the elementwise sum of a CPU tensor over all ranks, on the CPU."""
        if self.world_size == 1:
            return values
        values = values.to(self.device)
        distributed.all_reduce(values)
        return values.cpu()

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set on any rank."""
        return bool(self.all_reduce(torch.tensor([float(flag)])) > 0)

    def all_gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in order of rank."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        distributed.all_gather_object(values, value)
        return values

    def broadcast(self, value: Any) -> Any:
        """Return the value of rank 0."""
        return self.all_gather(value)[0]

    def wrap(self, model: AcousticModel, scores: bool = True) -> nn.Module:
        """Return the module to train; with several ranks DistributedDataParallel averages its gradients.

        Args:
            model: the model.
            scores: whether the module returns log-probabilities or the hidden vectors that they are computed from.
        """
        network = TrainingForward(model, scores)
        if self.world_size == 1:
            return network
        drops_layers = model.encoder.config.layer_drop > 0
        return DistributedDataParallel(network, broadcast_buffers=False, find_unused_parameters=drops_layers)


class TrainingForward(nn.Module):
    """Expose `AcousticModel.forward_levels` as `forward`, the method that DistributedDataParallel wraps.

    Args:
        model: the model.
        scores: whether to return log-probabilities, or the hidden vectors of `AcousticModel.encode_levels`.
    """

    def __init__(self, model: AcousticModel, scores: bool = True) -> None:
        super().__init__()
        self.model, self.scores = model, scores

    def forward(
        self, features: Tensor, lengths: Tensor, memory: Memory | None = None
    ) -> tuple[list[Tensor], Tensor, Memory | None]:
        run = self.model.forward_levels if self.scores else self.model.encode_levels
        return run(features, lengths, memory)


def gradient_sync(network: nn.Module, last: bool) -> AbstractContextManager[None]:
    """Return a context for a forward and backward pass: gradients are reduced only in the last one of a step.

    Args:
        network: result of `DistributedContext.wrap`.
        last: whether this is the last pass of the step.
    """
    if last or not isinstance(network, DistributedDataParallel):
        return nullcontext()
    return network.no_sync()


def check_distributed(config: TrainingConfig, context: DistributedContext) -> None:
    """Check that the settings fit the device and the number of processes.

    Raises:
        UserError: `training.accumulate` is not a multiple of the world size, or float16 is requested on a CPU.
    """
    if config.precision == "float16" and context.device.type != "cuda":
        raise UserError("training.precision is float16, which needs a GPU; use bfloat16 on CPUs")
    config.check_processes(context.world_size)
