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

from augmem.encoder.rows import additive, newest

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

        The augmented-memory transformer clears a bank of slots that has seen so many segments. A slot whose summary
        query attended to the bank is made of older slots, and these of still older ones: over many more segments than
        an utterance of the training data has, the norm of the slots can grow without bound. An empty bank is what
        every utterance starts with. Kinds of memory that are stable without resets stay as they are; other encoders
        keep the newest slots.
        """
        return self


class RecurrentState(TensorGroup):
    """Base class of what one segment passes to the next; each segment encoder defines its own."""

    def limit_memory(self: RecurrentT, segments: int) -> RecurrentT:
        """See `StreamState.limit_memory`."""
        return self


MemoryT = TypeVar("MemoryT", bound="Memory")


@dataclass(frozen=True)
class Memory(RecurrentState):
    """Memory of all layers, of a constant size; zeros are an empty memory.

    Args:
        values: (B, layers, ...) content; the shape depends on the kind of memory.
        count: (B,) segments written since the start or the last reset.
    """

    values: Tensor
    count: Tensor

    def mask(self) -> Tensor:
        """Return an additive mask (B, 1, J) of the memory columns; J = 0 if none is ever masked."""
        return self.values.new_zeros(self.batch_size, 1, 0)

    def write(self: MemoryT, written: Tensor, limit: int | None) -> MemoryT:
        """Return the memory after one more segment.

        Args:
            written: (B, layers, ...) what `LayerMemory.step` returned in each layer; here the new memory.
            limit: slots of a memory bank; None for no limit. No effect here.
        """
        return replace(self, values=written, count=self.count + 1)

    def keep(self: MemoryT, columns: int) -> MemoryT:
        """Return the memory with its newest `columns` slots."""
        return self

    def limit_gradient(self: MemoryT, slots: int) -> MemoryT:
        """Return the memory with a gradient through its newest `slots` slots only; of a constant size: all or, with 0,
        none."""
        return self if slots else self.map(Tensor.detach)

    def clear(self: MemoryT, streams: Tensor) -> MemoryT:
        """Return the memory, empty for some `streams` (B,) bool."""
        return self.map(lambda tensor: tensor.masked_fill(streams.view(-1, *[1] * (tensor.dim() - 1)), 0))


@dataclass(frozen=True)
class Bank(Memory):
    """Memory bank of all layers: `values` are the keys and values (B, layers, 2, H, J, d) of slots, newest last, and
    the right-most `count` columns are filled."""

    def held(self) -> Tensor:
        """Return which columns are filled (B, J)."""
        return newest(self.count, self.values.size(4))

    def mask(self) -> Tensor:
        return additive(self.held()[:, None], self.values)

    def write(self, written: Tensor, limit: int | None) -> Bank:
        """Append slots (B, layers, 2, H, 1, d); a bank that holds `limit` slots drops its oldest."""
        if limit == 0:
            return self
        return Bank(torch.cat([self.values, written], 4)[:, :, :, :, -(limit or 0) :], self.count + 1)

    def limit_memory(self, segments: int) -> Bank:
        """Return the bank of one stream, empty if `segments` slots were written since the last reset."""
        count = self.count % segments
        return self._newest(int(count), count)

    def limit_gradient(self, slots: int) -> Bank:
        first = max(0, self.values.size(4) - slots)
        older, newest_slots = self.values[:, :, :, :, :first], self.values[:, :, :, :, first:]
        return replace(self, values=torch.cat([older.detach(), newest_slots], 4) if slots else self.values.detach())

    def keep(self, columns: int) -> Bank:
        return self._newest(columns, self.count.clamp(max=columns))

    def clear(self, streams: Tensor) -> Bank:
        """Also drops columns that no stream fills."""
        cleared = super().clear(streams)
        return cleared.keep(int(cleared.count.max()) if len(streams) else 0)

    def _newest(self, columns: int, count: Tensor) -> Bank:
        width = self.values.size(4)
        return replace(self, values=self.values[:, :, :, :, width - min(columns, width) :], count=count)

    @classmethod
    def _align(cls, groups: Sequence[Bank]) -> Sequence[Bank]:
        width = max(bank.values.size(4) for bank in groups)
        return [replace(bank, values=F.pad(bank.values, (0, 0, width - bank.values.size(4), 0))) for bank in groups]


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
