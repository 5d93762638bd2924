"""Augmented-memory self-attention in a parallel form (training) and a streaming form that share one core.

Source: Wu et al., arXiv 2005.08042, section 3. For segment n with h = LN(x) and the memory bank m of the layer::

    s_n      = mean of h over the centre                    summary query
    Q        = W_q [h_L, h_C, h_R, s_n]
    K, V     = W_k, W_v [m_1 .. m_{n-1}, h_L, h_C, h_R]
    [Z, o_n] = W_o softmax(Q K^T / sqrt(d)) V
    m_n      = o_n                                          memory slot of segment n

The parallel form computes Z of all segments at once. Only the summary queries are recurrent, and only if they attend
to the bank: see `augmem.encoder.recursion`.

Letters: S blocks, P packed block rows, R query rows, W cells of a block, Q query cells of a block, H heads, d head
width, D = H * d, J memory columns of a block (newest last), B utterances by rank, N slots of an utterance, J0 slots of
earlier utterances, C = J0 + N.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from augmem.encoder.config import EncoderConfig
from augmem.encoder.index import LayerIndex
from augmem.encoder.low_rank import make_projection
from augmem.encoder.memory.slot_index import SlotIndex
from augmem.encoder.recursion import Slot, write_slots
from augmem.encoder.rows import gather

_FUSED_ATTENTION: Callable[..., Tensor] | None = getattr(F, "scaled_dot_product_attention", None)


class Projections(NamedTuple):
    """Projected blocks.

    Args:
        queries: (S, H, Q, d).
        keys, values: (S, H, W, d).
        summary: (S, H, 1, d) summary queries.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    summary: Tensor


class AttentionWeights(nn.Module):
    """Softmax over masked scores, with optional weak-attention suppression (arXiv 2005.09137)::

        w      = softmax(scores)
        weak   = w < mean(w) - gamma * std(w)     over unmasked columns, std with n - 1
        result = softmax of the scores that are not weak

    It is a module so that a forward hook can record the weights.

    Args:
        suppression: gamma; None switches suppression off.

    Example:
        >>> AttentionWeights(0.5)(torch.tensor([[2.0, 2.0, -1.0]]))
        tensor([[0.5000, 0.5000, 0.0000]])
    """

    def __init__(self, suppression: float | None) -> None:
        super().__init__()
        self.suppression = suppression

    def forward(self, scores: Tensor) -> Tensor:
        """Return weights of the shape of `scores` (..., columns)."""
        weights = scores.softmax(-1)
        if self.suppression is None:
            return weights
        present = scores > float("-inf")
        count = present.sum(-1, keepdim=True).to(weights.dtype)
        mean = 1 / count
        variance = ((weights - mean).square() * present).sum(-1, keepdim=True) / (count - 1).clamp(min=1)
        # A comparison has no gradient: gradients flow through the remaining weights.
        weak = weights < mean - self.suppression * variance.sqrt()
        # Rounding can put equal weights below their mean; the largest weight is never weak.
        weak = weak & (weights < weights.amax(-1, keepdim=True))
        return scores.masked_fill(weak, float("-inf")).softmax(-1)


class AugmentedMemoryAttention(nn.Module):
    """Multi-head attention of blocks over [memory | L | C | R] that writes a memory slot per block.

    Args:
        config: sizes and memory options.
        rank: rank of the key and value projections; None: full.
    """

    def __init__(self, config: EncoderConfig, rank: int | None = None) -> None:
        super().__init__()
        dim = config.dim
        self.heads = config.heads
        self.head_dim = dim // config.heads
        self.scale = 1 / math.sqrt(self.head_dim)
        self.has_memory = config.memory_slots != 0
        self.bank_size = config.memory_slots or 0  # 0 selects all columns: [-0:]
        self.slot_is_mean = config.slot_content == "mean"
        self.is_recurrent = self.has_memory and config.summary_sees_memory and not self.slot_is_mean
        self.squash = config.slot_squash == "tanh"
        self.query = nn.Linear(dim, dim)
        self.key_value = make_projection(dim, rank)
        self.output = nn.Linear(dim, dim)
        self.weights = AttentionWeights(config.weak_attention_suppression)
        self.summary_weights = AttentionWeights(config.weak_attention_suppression)

    def forward(
        self, queries: Tensor, rows: Tensor, index: LayerIndex, bank: SlotIndex | None, older: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Compute the parallel form.

        Args:
            queries: (R, D) query rows.
            rows: (P, D) block rows.
            bank: tables of the memory bank; None without memory.
            older: (2, B, H, J0, d) keys and values of slots of earlier utterances by rank, newest last; None without
                memory.

        Returns:
            outputs (R, D), and keys and values of all slots (2, B, H, C, d), older ones first.
        """
        block = self.project(queries, rows, index)
        if bank is None or older is None:
            return self.attend(block, index, None, index.bias), older
        if self.is_recurrent:
            slots = self._scan(block, index, bank, older)
        else:
            slots = torch.cat([older, self._independent_slots(block, queries, index, bank)], 3)
        read = gather(slots.to(block.keys.dtype).view(-1, self.head_dim), bank.slots, bank.slots_readers)
        return self.attend(block, index, read, bank.bias), slots

    def step(
        self, queries: Tensor, rows: Tensor, index: LayerIndex, bank: Tensor, seen: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute the streaming form: one block of each of S streams.

        Args:
            queries: (R, D) query rows.
            rows: (P, D) block rows.
            bank: (2, S, H, J, d) keys and values of memory slots, newest last.
            seen: (S, 1, J) additive mask of the bank.

        Returns:
            outputs (R, D), and the new slot's key and value (2, S, H, 1, d).
        """
        block = self.project(queries, rows, index)
        bias = torch.cat([seen, index.bias], -1)
        if not self.has_memory:
            return self.attend(block, index, bank, bias), bank[:, :, :, :0]
        if self.is_recurrent:
            output, slot = self._attend_with_summary(block, index, bank, bias)
        else:
            output = self.attend(block, index, bank, bias)
            slot = self.slots(block, queries, index)
        return output, self.slot_key_value(slot)

    def project(self, queries: Tensor, rows: Tensor, index: LayerIndex) -> Projections:
        """Project packed rows and lay them out by block and head."""
        q = gather(self.query(queries).view(-1, self.head_dim), index.queries, index.query_readers)
        kv = gather(self.key_value(rows).view(-1, self.head_dim), index.keys_values, index.key_value_readers)
        keys, values = kv.unbind()  # one gradient for both; indexing would pad each with zeros and add them
        # W_q is linear: the mean of the centre's queries equals the query of the centre's mean.
        return Projections(q, keys, values, torch.matmul(index.pooling[:, None], q))

    def attend(self, block: Projections, index: LayerIndex, bank: Tensor | None, bias: Tensor) -> Tensor:
        """Compute the outputs (R, D) of the query rows.

        Args:
            bank: (2, S, H, J, d) keys and values in front of those of the block; None for none.
            bias: (S, 1, J + W) additive mask.
        """
        z = self._attend(block.queries, block, bank, bias)
        heads = gather(z.view(-1, self.head_dim), index.outputs, index.output_readers)
        return self.output(heads.flatten(1))

    def slots(self, block: Projections, queries: Tensor, index: LayerIndex) -> Tensor:
        """Compute the slots (S, D) of blocks whose summary queries do not attend to the bank."""
        if self.slot_is_mean:
            mean = torch.matmul(index.pooling, gather(queries, index.query_cells)).squeeze(1)
            return mean.tanh() if self.squash else mean
        return self._slot(self._scores(block.summary, block.keys, index.bias), block.values)

    def slot_key_value(self, slot: Tensor) -> Tensor:
        """Project memory slots (A, D) to keys and values (2, A, H, 1, d)."""
        kv = self.key_value(slot).view(-1, 2, self.heads, self.head_dim)
        return kv.transpose(0, 1).unsqueeze(3)

    def _attend_with_summary(
        self, block: Projections, index: LayerIndex, bank: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run `attend`, and return the slots (S, D) too: the summary query is one more query under the same mask."""
        z = self._attend(torch.cat([block.queries, block.summary], 2), block, bank, bias)
        frames, summary = z[:, :, :-1].reshape(-1, self.head_dim), z[:, :, -1].flatten(1)
        heads = gather(frames, index.outputs).flatten(1)
        output, slot = self.output(torch.cat([heads, summary])).split([heads.size(0), summary.size(0)])
        return output, slot.tanh() if self.squash else slot

    def _attend(self, queries: Tensor, block: Projections, bank: Tensor | None, bias: Tensor) -> Tensor:
        """Return softmax(queries keys^T) values (S, H, Q, d) over bank and block; arguments as in `attend`."""
        keys, values = block.keys, block.values
        if bank is not None:
            bank_keys, bank_values = bank.unbind()
            keys, values = torch.cat([bank_keys, keys], 2), torch.cat([bank_values, values], 2)
        # Training only: exported models keep the operations that all runtimes have.
        if _FUSED_ATTENTION and self.weights.suppression is None and torch.is_grad_enabled():
            return _FUSED_ATTENTION(queries, keys, values, attn_mask=bias[:, None])
        return torch.matmul(self.weights(self._scores(queries, keys, bias)), values)

    def _scores(self, queries: Tensor, keys: Tensor, bias: Tensor) -> Tensor:
        """Return scaled, masked scores (S, H, Q, columns) of queries (S, H, Q, d) and keys (S, H, columns, d)."""
        scores = torch.matmul(queries, keys.transpose(-1, -2))
        return torch.add(bias[:, None], scores, alpha=self.scale)

    def _slot(self, scores: Tensor, values: Tensor) -> Tensor:
        """Compute slots (A, D) from scores (A, H, 1, J) of summary queries and values (A, H, J, d)."""
        slot = self.output(torch.matmul(self.summary_weights(scores), values).flatten(1))
        return slot.tanh() if self.squash else slot

    def _independent_slots(self, block: Projections, queries: Tensor, index: LayerIndex, bank: SlotIndex) -> Tensor:
        """Compute keys and values (2, B, H, N, d) of slots that do not depend on earlier ones."""
        written = self.slots(block, queries, index)[bank.writers]
        kv = self.key_value(written).view(*bank.writers.shape, 2, self.heads, self.head_dim)
        return kv.permute(2, 0, 3, 1, 4)

    def _scan(self, block: Projections, index: LayerIndex, bank: SlotIndex, older: Tensor) -> Tensor:
        """Write slots segment by segment: keys and values (2, B, H, C, d), older ones first.

        In the precision of the weights: under autocast, the scores of blocks as a whole would be too coarse.
        """
        scores, values = self._scores(block.summary, block.keys, index.bias), block.values
        if self.summary_weights.suppression is None:
            scores, values = condense(scores, values)
        slot = Slot(self.output.weight, self.output.bias, self.key_value.weight, self.key_value.bias, self.squash)
        blocks = scores.size(0) * self.heads
        parts = [part.reshape(blocks, -1).to(older.dtype) for part in (block.summary, scores, values)]
        written = gather(torch.cat(parts, 1), bank.summaries, bank.summaries_readers)
        query, scores, values = written.split([part.size(1) for part in parts], 3)
        with torch.autocast(older.device.type, enabled=False):
            return write_slots(query, self.scale, scores, values, older, bank.hidden, slot, self.summary_weights)


def condense(scores: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Reduce columns to one that has the same effect in a softmax with further columns.

    Args:
        scores: (S, H, 1, W); the first column is not masked.
        values: (S, H, W, d).

    Returns:
        log-sum-exp of the scores (S, H, 1, 1), and the weighted mean of the values (S, H, 1, d).
    """
    return _Condense.apply(scores, values)


class _Condense(torch.autograd.Function):
    """See `condense`."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        log_weights = scores.log_softmax(-1)
        total = scores[..., :1] - log_weights[..., :1]
        weights = log_weights.exp_()
        ctx.save_for_backward(weights, values)
        return total, torch.matmul(weights, values)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, for_total: Tensor, for_mean: Tensor) -> tuple[Tensor, Tensor]:
        weights, values = ctx.saved_tensors
        slopes = torch.matmul(for_mean, values.transpose(2, 3))
        for_scores = torch.ops.aten._softmax_backward_data(slopes, weights, -1, weights.dtype)
        return for_scores.addcmul_(weights, for_total), torch.matmul(weights.transpose(2, 3), for_mean)
