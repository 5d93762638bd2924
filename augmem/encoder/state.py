"""States of streams: typed groups of tensors that can be joined, split and mapped without knowledge of the encoder.

Letters: B streams, S selected streams, H heads, d head width, J memory columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from augmem.encoder.rows import newest

Group = TypeVar("Group", bound="TensorGroup")
RecurrentT = TypeVar("RecurrentT", bound="RecurrentState")
StateT = TypeVar("StateT", bound="StreamState")


@dataclass(frozen=True)
class TensorGroup:
    """Base class of groups of tensors of B streams.

    Each field is a tensor whose first dimension is the stream, a tuple of fields, or another group. All operations
    return a new group.
    """

    @property
    def batch_size(self) -> int:
        """Number of streams B."""
        return next(self.tensors()).size(0)

    def tensors(self) -> Iterator[Tensor]:
        """Yield all tensors, in the order of the fields."""
        for field in fields(self):
            yield from _tensors(getattr(self, field.name))

    def map(self: Group, function: Callable[[Tensor], Tensor]) -> Group:
        """Apply `function` to each tensor, for example `lambda tensor: tensor.to(device)`."""
        return self.combine([self], lambda parts: function(parts[0]))

    def select(self: Group, streams: Tensor) -> Group:
        """Return the streams numbered `streams` (S,) int64, in this order."""
        return self.map(lambda tensor: tensor[streams])

    def split(self: Group) -> list[Group]:
        """Return one group per stream."""
        return [self.map(lambda tensor, n=n: tensor[n : n + 1]) for n in range(self.batch_size)]  # type: ignore[misc]

    def put(self: Group, streams: Tensor, new: Group) -> Group:
        """Replace the streams numbered `streams` (S,), ascending, by those of `new`."""
        if streams.numel() == self.batch_size:
            return new
        return self.combine([self, new], lambda parts: parts[0].index_copy(0, streams, parts[1]))

    @staticmethod
    def join(groups: Sequence[Group]) -> Group:
        """Concatenate the streams of several groups of one type.

        Raises:
            ValueError: no groups.
        """
        if not groups:
            raise ValueError("join: needs at least one group")
        return groups[0].combine(groups, torch.cat)

    @classmethod
    def combine(cls: type[Group], groups: Sequence[Group], function: Callable[[list[Tensor]], Tensor]) -> Group:
        """Apply `function` to the corresponding tensors of several groups."""
        aligned = cls._align(groups)
        return cls(**{f.name: _combine([getattr(g, f.name) for g in aligned], function) for f in fields(cls)})

    @classmethod
    def _align(cls: type[Group], groups: Sequence[Group]) -> Sequence[Group]:
        """Give corresponding tensors the same shape except for the number of streams."""
        return groups


@dataclass(frozen=True)
class StreamState(TensorGroup):
    """Base class of the states that `Encoder.init_state` and `Encoder.step` return.

    Args:
        emitted: (B,) outputs of each stream in the last step.

    Example:
        >>> from augmem.encoder import EncoderConfig, build_encoder
        >>> encoder = build_encoder(EncoderConfig(dim=8, heads=2, layers=1, feedforward_dim=8), 80, 0.01)
        >>> state = StreamState.join([encoder.init_state(1), encoder.init_state(2)])
        >>> hidden, state = encoder.step(torch.zeros(3, 160, 80), state)
        >>> state.emitted.tolist(), len(state.split())
        ([32, 32, 32], 3)
    """

    emitted: Tensor

    def limit_memory(self: StateT, segments: int) -> StateT:
        """Return the state of one stream with its memory limited to `segments` segments, where it is not limited yet.

        The augmented-memory transformer clears a bank that has seen so many segments. A slot whose summary query
        attended to the bank is made of older slots, and these of still older ones: over many more segments than an
        utterance of the training data has, the norm of the slots can grow without bound. An empty bank is what every
        utterance starts with. Other encoders keep the newest slots.
        """
        return self


class RecurrentState(TensorGroup):
    """Base class of what one segment passes to the next; each segment encoder defines its own."""

    def limit_memory(self: RecurrentT, segments: int) -> RecurrentT:
        """See `StreamState.limit_memory`."""
        return self


@dataclass(frozen=True)
class Bank(RecurrentState):
    """Memory bank of all layers.

    Args:
        slots: (B, layers, 2, H, J, d) keys and values of the memory slots, newest last.
        count: (B,) slots written since the start or the last reset; the right-most `count` columns are filled.
    """

    slots: Tensor
    count: Tensor

    def mask(self) -> Tensor:
        """Return an additive mask (B, 1, J) of the filled columns."""
        return newest(self.count, self.slots.size(4), self.slots)

    def append(self, slot: Tensor, limit: int | None) -> Bank:
        """Append slots (B, layers, 2, H, 1, d); a bank that holds `limit` slots drops its oldest."""
        if limit == 0:
            return self
        return Bank(torch.cat([self.slots, slot], 4)[:, :, :, :, -(limit or 0) :], self.count + 1)

    def limit_memory(self, segments: int) -> Bank:
        """Return the bank of one stream, empty if `segments` slots were written since the last reset."""
        count = self.count % segments
        return self._newest(int(count), count)

    def keep(self, columns: int) -> Bank:
        """Return the bank with its newest `columns` columns."""
        return self._newest(columns, self.count.clamp(max=columns))

    def _newest(self, columns: int, count: Tensor) -> Bank:
        width = self.slots.size(4)
        return replace(self, slots=self.slots[:, :, :, :, width - min(columns, width) :], count=count)

    @classmethod
    def _align(cls, groups: Sequence[Bank]) -> Sequence[Bank]:
        width = max(bank.slots.size(4) for bank in groups)
        return [replace(bank, slots=F.pad(bank.slots, (0, 0, width - bank.slots.size(4), 0))) for bank in groups]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, TensorGroup):
        yield from value.tensors()
    elif isinstance(value, tuple):
        for part in value:
            yield from _tensors(part)
    else:
        yield value


def _combine(values: Sequence[Any], function: Callable[[list[Tensor]], Tensor]) -> Any:
    first = values[0]
    if isinstance(first, TensorGroup):
        return first.combine(values, function)
    if isinstance(first, tuple):
        return tuple(_combine(parts, function) for parts in zip(*values, strict=True))
    return function(list(values))
