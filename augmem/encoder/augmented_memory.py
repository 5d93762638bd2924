"""The paper's encoder: all segments of a layer at once in training, segment after segment in a stream.

Source: Wu, Wang, Shi, Yeh, Zhang, "Streaming Transformer-based Acoustic Models Using Self-attention with
Augmented Memory", Interspeech 2020, arXiv 2005.08042. How the first and the last segment are cut: see
`segments`.

Legend: S blocks, T frames, P packed block rows, K centre rows, D model width, H heads, d head width, J memory
columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from augmem.encoder.attention import index_memory
from augmem.encoder.base import Encoded, initialise, unpack
from augmem.encoder.config import EncoderConfig
from augmem.encoder.layer import AugmentedMemoryLayer, LayerIndex, index_layers, recomputed
from augmem.encoder.rows import additive, gather, head_rows
from augmem.encoder.segments import Blocks, Plan, plan_segments
from augmem.encoder.streaming import Cut, Recurrent, SegmentEncoder


class Memory(NamedTuple):
    """What B utterances hand on to those that follow them.

    slots: (B, layers, 2, H, J, d) keys and values of each layer's slots, newest last.
    filled: (B, J) which of them hold something.
    """

    slots: Tensor
    filled: Tensor


class AugmentedMemoryEncoder(SegmentEncoder):
    """Augmented-memory transformer over [L|C|R] segments.

    Beside what `SegmentEncoder` keeps, a stream's state holds `memory` (B, layers, 2, H, J, d): keys and
    values of the memory slots, newest last. With `memory_slots` set its size never changes; else it grows by
    one column per segment.
    """

    def __init__(self, config: EncoderConfig, feature_dim: int, frame_shift: float) -> None:
        super().__init__(config, feature_dim, frame_shift)
        self.layers = nn.ModuleList([AugmentedMemoryLayer(config) for _ in range(config.layers)])
        initialise(self, config.layers)

    def _plan(self, lengths: Tensor, handed_down: Tensor | None = None) -> Plan:
        slots = self.config.memory_slots
        return plan_segments(lengths, self.left, self.centre, self.right, slots, handed_down)

    def no_memory(self, batch: int) -> Memory:
        """What is handed down to the first of `batch` successions of utterances."""
        like = self.norm.weight
        filled = torch.zeros(batch, 0, dtype=torch.bool, device=like.device)
        return Memory(like.new_zeros(batch, *memory_shape(self.config, 0)), filled)

    def encode_after(self, features: Tensor, lengths: Tensor, memory: Memory) -> tuple[Encoded, Memory]:
        """As `encode`, with the memory of what each utterance follows: consecutive utterances of a recording.

        Gradients end where memory was handed down, so that training looks back on any length at the cost of one
        utterance: back-propagation truncated at utterances (the idea of UIO-LLMs, arXiv 2406.18173, for banks of
        attended memory).

        Raises:
            ValueError: the configuration drops layers, which would leave holes in the memory.
        """
        if self.config.layer_drop:
            raise ValueError("encoder.layer_drop must be 0 where memory is handed from utterance to utterance")
        frames, out_lengths = self._frames(features, lengths)
        hidden, taps, memory = self._encode_after(frames, out_lengths, memory)
        return Encoded(hidden, out_lengths, taps), memory

    def _encode(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self._encode_after(frames, lengths, None)[:2]

    def _encode_after(
        self, frames: Tensor, lengths: Tensor, memory: Memory | None
    ) -> tuple[Tensor, list[Tensor], Memory]:
        plan = self._plan(lengths, memory.filled if memory else None)
        lower, last = index_layers(plan.blocks, self.config, frames)
        bank = index_memory(plan, self.config.heads, frames, memory.filled if memory else None)
        x = gather(frames, plan.blocks.source)
        recompute = self.config.recompute_layers and torch.is_grad_enabled()
        taps: list[Tensor] = []
        slots: list[Tensor] = []
        for number, layer in enumerate(self.layers, 1):
            top = number == len(self.layers)
            if not self._dropped():
                older = memory.slots[plan.order, number - 1].transpose(0, 1) if memory else None
                inputs = (x, last if top else lower, bank, older)
                x, written = recomputed(layer.hand_on, *inputs) if recompute else layer.hand_on(*inputs)
                slots.append(written)
            elif top:
                x = gather(x, last.query_rows)
            if str(number) in self.tap_norms:
                centre = x if top else gather(x, plan.blocks.centre_rows)
                taps.append(unpack(self.tap_norms[str(number)](centre), plan.frame_of_output))
        return unpack(self.norm(x), plan.frame_of_output), taps, self._left_over(plan, slots)

    def _left_over(self, plan: Plan, slots: Sequence[Tensor]) -> Memory:
        """The newest slots of each layer, without their history of gradients; nothing if nothing is handed on."""
        if plan.left_over is None:
            return self.no_memory(0)
        place, filled = plan.left_over
        width = self.config.dim // self.config.heads
        rows = head_rows(place, self.config.heads, 2)
        kept = torch.stack([gather(written.detach().view(-1, width), rows) for written in slots])
        back = torch.argsort(plan.order)
        return Memory(kept.permute(2, 0, 1, 3, 4, 5)[back], filled[back])

    def _init_recurrent(self, batch: int) -> Recurrent:
        config = self.config
        slots = config.memory_slots or 0
        memory = self.norm.weight.new_zeros(batch, *memory_shape(config, slots))
        return {"memory": memory, "remembered": torch.zeros(batch, dtype=torch.int64, device=memory.device)}

    def _tables(self, blocks: Blocks, like: Tensor) -> tuple[LayerIndex, LayerIndex]:
        return index_layers(blocks, self.config, like)

    def _run_segment(self, x: Tensor, cut: Cut, segments: Tensor, state: Recurrent) -> tuple[Tensor, Recurrent]:
        lower, last = cut.tables
        memory, remembered = state["memory"], state["remembered"]
        seen = newest(remembered, memory.size(4), memory)
        slots: list[Tensor] = []
        for number, layer in enumerate(self.layers, 1):
            x, slot = layer.step(
                x, last if number == len(self.layers) else lower, memory[:, number - 1].transpose(0, 1), seen
            )
            slots.append(slot.transpose(0, 1))
        memory = append_slot(memory, torch.stack(slots, 1), self.config.memory_slots)
        return self.norm(x), {"memory": memory, "remembered": remembered + 1}


def forget_if_full(state: dict[str, Tensor], limit: int) -> dict[str, Tensor]:
    """The state of one stream, its memory empty if it holds `limit` slots; other encoders' newest slots are kept.

    A slot whose summary query has seen the bank is made of older slots, these of still older ones: what training on
    utterances of seconds leaves untried may grow without end. In a model trained on lines of 2.5 s slots grew tenfold
    in half an hour, and to infinity in the next ten minutes. An empty memory is what every utterance begins with.
    """
    if "memory" not in state:
        return state
    memory = state["memory"]
    if "remembered" not in state:
        return state | {"memory": memory[:, :, :, :, -limit:]}
    remembered = state["remembered"] % limit
    kept = min(int(remembered), memory.size(4))
    return state | {"memory": memory[:, :, :, :, memory.size(4) - kept :], "remembered": remembered}


def memory_shape(config: EncoderConfig, slots: int) -> tuple[int, ...]:
    """Shape of one stream's keys and values of `slots` slots in every layer: (layers, 2, H, slots, d)."""
    return (config.layers, 2, config.heads, slots, config.dim // config.heads)


def newest(count: Tensor, columns: int, like: Tensor) -> Tensor:
    """Additive mask (S, 1, columns) of which only the right-most `count` (S,) columns are filled."""
    from_right = torch.arange(columns, 0, -1, device=count.device)
    return additive((from_right <= count[:, None])[:, None], like)


def append_slot(memory: Tensor, slot: Tensor, bound: int | None) -> Tensor:
    """Put a slot at the right end of banks (S, layers, 2, H, J, d); a full one drops its oldest."""
    if bound == 0:
        return memory
    return torch.cat([memory, slot], 4)[:, :, :, :, -(bound or 0) :]
