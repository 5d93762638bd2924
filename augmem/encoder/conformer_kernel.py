"""Conformer-Kernel: a convolution and separable attention of linear memory in each layer, segment by segment.

Source: Mitra, Hofstätter, Zamani, Craswell, "Conformer-Kernel with Query Term Independence for Document Retrieval",
arXiv 2007.10434. Its conformer layer has a grouped convolution before the attention, and two softmax functions in place
of one, so that the product of keys and values comes first and no matrix of frames by frames exists::

    A = softmax(K over time)^T V        (d, d) for each head
    Z = softmax(Q over features) A

Streams cannot normalise over a whole document. Here segment n attends to its block [L|C|R] and to the centres of all
earlier segments; e_j, the age of a centre in segments, lowers its keys by a learned rate for each head and feature::

    A_n = softmax over time of [K_j - rate e_j for centres j < n, K_n of the block]^T [V_j, V_n]

The past is a numerator (d, d), a denominator (d) and the largest key (d) of each head, whatever its length::

    peak_n, total_n = merge((peak_(n-1) - rate, total_(n-1)), centre n),  total = sum of exp(K - peak)^T [V, 1]

Each A is a weighted mean of values, so that outputs stay bounded in streams of any length, without a memory reset.

Letters: S blocks, P packed block rows, R query rows, W cells of a block, H heads, d head width, B streams.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from augmem.devices import to_device
from augmem.encoder.attention import AugmentedMemoryAttention
from augmem.encoder.base import initialise
from augmem.encoder.config import DEFAULT_KERNEL, EncoderConfig
from augmem.encoder.index import LayerIndex, index_layers
from augmem.encoder.layer import AugmentedMemoryLayer
from augmem.encoder.rows import additive, gather, unpack
from augmem.encoder.segments import Blocks, Plan, plan_segments
from augmem.encoder.state import RecurrentState
from augmem.encoder.streaming import SegmentEncoder

Tables = tuple[LayerIndex, LayerIndex, Tensor]  # of the lower layers, of the last, additive mask (S, 1, W) of centres


@dataclass(frozen=True)
class Sums(RecurrentState):
    """Weighted sums of values over frames, of S blocks or B streams.

    Args:
        peak: (S, H, d, 1) largest key of each feature; -inf without frames. As a state: (B, layers, H, d, 1).
        total: (S, H, d, d + 1) sums of exp(key - peak) * [value, 1]. As a state: (B, layers, H, d, d + 1).
    """

    peak: Tensor
    total: Tensor

    def merge(self, other: Sums) -> Sums:
        """Return the sums over the frames of both."""
        peak = torch.maximum(self.peak, other.peak).detach()  # cancels in `mean`: no gradient
        return Sums(peak, self.total * (self.peak - peak).exp() + other.total * (other.peak - peak).exp())

    def mean(self) -> Tensor:
        """Return the weighted means of the values (S, H, d, d)."""
        return self.total[..., :-1] / self.total[..., -1:]


def weigh(keys: Tensor, values: Tensor, bias: Tensor) -> Sums:
    """Return the sums over the cells of keys and values (S, H, W, d) that the additive mask `bias` (S, 1, W) shows."""
    scores = keys + bias[..., None]
    peak = scores.amax(2, keepdim=True).detach()
    weights = (scores - peak).exp().transpose(2, 3)
    return Sums(peak.transpose(2, 3), torch.matmul(weights, F.pad(values, (0, 1), value=1.0)))


class SeparableAttention(AugmentedMemoryAttention):
    """Attention of blocks over their rows and over sums of the past.

    Args:
        config: sizes.
        rank: rank of the key and value projections; None: full.
    """

    def __init__(self, config: EncoderConfig, rank: int | None = None) -> None:
        super().__init__(config, rank)
        # The weight of a centre falls to 1/e in 55 to 1.4 segments.
        self.rate = nn.Parameter(torch.linspace(-4.0, 0.0, self.head_dim).repeat(self.heads, 1))

    def attend_past(
        self, queries: Tensor, rows: Tensor, index: LayerIndex, centre: Tensor, alive: list[int], past: Sums
    ) -> tuple[Tensor, Sums]:
        """Compute outputs (R, D) of query rows (R, D), and the sums after the last round of blocks.

        Args:
            rows: (P, D) block rows.
            centre: (S, 1, W) additive mask of the centres.
            alive: number of blocks in each round; a round continues from the first sums of the round before.
            past: sums before the blocks of the first round.
        """
        block = self.project(queries, rows, index)
        keys, values = block.keys.to(self.rate.dtype), block.values.to(self.rate.dtype)
        older, past = self._pasts(weigh(keys, values, centre), alive, past)
        means = older.merge(weigh(keys, values, index.bias)).mean()
        z = torch.matmul(block.queries.softmax(-1), means.to(block.queries.dtype))
        return self.merge_heads(z, index), past

    def _pasts(self, centres: Sums, alive: list[int], past: Sums) -> tuple[Sums, Sums]:
        """Return the sums before each block, and those after the last round."""
        ageing = F.softplus(self.rate)[..., None]
        older = []
        for count, *own in zip(alive, *(part.split(alive) for part in centres.tensors()), strict=True):
            older.append(Sums(past.peak[:count] - ageing, past.total[:count]))
            past = older[-1].merge(Sums(*own))
        return Sums.join(older), past


class ConformerLayer(AugmentedMemoryLayer):
    """Convolution, separable attention and feed-forward block, each with pre-norm and residual."""

    attention: SeparableAttention

    def __init__(self, config: EncoderConfig, rank: int | None = None) -> None:
        super().__init__(config, rank)
        self.attention = SeparableAttention(config, rank)

    def forward_past(
        self, x: Tensor, index: LayerIndex, centre: Tensor, alive: list[int], past: Sums
    ) -> tuple[Tensor, Sums]:
        """Process block rows `x` (P, D); see `SeparableAttention.attend_past`."""
        x = self._convolve(x, index)
        h = self.attention_norm(x)
        x, q = self._queries(x, h, index)
        z, past = self.attention.attend_past(q, h, index, centre, alive, past)
        return self._finish(x, z), past


class ConformerKernelEncoder(SegmentEncoder):
    """Stack of conformer layers over [L|C|R] segments; the state of a stream has a constant size.

    Args:
        config: sizes and options.
        feature_dim: feature bins F.
        frame_shift: seconds between feature frames.
    """

    def __init__(self, config: EncoderConfig, feature_dim: int, frame_shift: float) -> None:
        kernel = config.convolution_kernel or DEFAULT_KERNEL
        super().__init__(replace(config, memory_slots=0, convolution_kernel=kernel), feature_dim, frame_shift)
        self.layers = nn.ModuleList([ConformerLayer(self.config, rank) for rank in config.ranks])
        initialise(self, config.layers)

    def build_tables(self, lengths: Tensor, dtype: torch.dtype) -> tuple[Plan, Tables]:
        """Build the index tables of a batch, on the CPU."""
        plan = plan_segments(lengths, self.left, self.centre, self.right)
        return plan, self._tables(plan.blocks, torch.empty(0, dtype=dtype))

    def _encode(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, list[Tensor]]:
        plan, tables = to_device(self.build_tables(lengths, frames.dtype), frames.device)
        start = self._init_recurrent(plan.alive[0])
        outputs, _ = self._run_layers(gather(frames, plan.blocks.source), tables, plan.alive, start, drop=True)
        taps = []
        for number in sorted(self.config.iterated_loss_layers):
            rows = outputs[number - 1]
            centre = rows if number == len(outputs) else gather(rows, plan.blocks.centre_rows)
            taps.append(unpack(self.tap_norms[str(number)](centre), plan.frame_of_output))
        return unpack(self.norm(outputs[-1]), plan.frame_of_output), taps

    def _run_layers(
        self, x: Tensor, tables: Tables, alive: list[int], start: Sums, drop: bool = False
    ) -> tuple[list[Tensor], list[Sums]]:
        """Return the outputs of each layer, block rows but in the last layer, and its sums after the last round."""
        lower, last, centre = tables
        outputs, ends = [], []
        for n, layer in enumerate(self.layers):
            index = last if n == len(self.layers) - 1 else lower
            past = start.map(lambda part, n=n: part[:, n])  # type: ignore[misc]
            if not (drop and self._draw_layer_drop()):
                x, past = layer.forward_past(x, index, centre, alive, past)
            elif index.query_rows is not None:
                x = gather(x, index.query_rows)
            outputs.append(x)
            ends.append(past)
        return outputs, ends

    def _init_recurrent(self, batch: int) -> Sums:
        width = self.config.dim // self.config.heads
        total = self.norm.weight.new_zeros(batch, self.config.layers, self.config.heads, width, width + 1)
        return Sums(torch.full_like(total[..., :1], float("-inf")), total)

    def _tables(self, blocks: Blocks, like: Tensor) -> Tables:
        return *index_layers(blocks, self.config, like), additive(blocks.pooling > 0, like)

    def _run_segment(self, x: Tensor, blocks: Blocks, tables: Tables, state: Sums) -> tuple[Tensor, Sums]:
        outputs, ends = self._run_layers(x, tables, [state.batch_size], state)
        return self.norm(outputs[-1]), Sums.combine(ends, lambda parts: torch.stack(parts, 1))
