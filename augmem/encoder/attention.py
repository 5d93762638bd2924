"""Multi-head self-attention of blocks: the part that a parallel form (training) and a streaming form share.

Source: Wu et al., arXiv 2005.08042, section 3. For segment n with h = LN(x) and K_m, V_m of the memory of the layer::

    s_n  = mean of h over the centre                    summary query
    Q    = W_q [h_L, h_C, h_R, s_n]
    K, V = [K_m, W_k h], [V_m, W_v h]
    Z    = W_o softmax(Q K^T / sqrt(d)) V

What a segment contributes to the memory, and what its queries read from it, is defined by a kind of memory: see
`augmem.encoder.memory`.

Letters: S blocks, P packed block rows, R query rows, W cells of a block, Q query cells of a block, H heads, d head
width, D = H * d, J memory columns of a block (newest last), B utterances by rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from augmem.encoder.config import EncoderConfig
from augmem.encoder.index import LayerIndex
from augmem.encoder.low_rank import make_projection
from augmem.encoder.registry import find_memory
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
    """Multi-head attention of blocks over [memory | L | C | R].

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
        self.slot_is_mean = config.slot_content == "mean"
        self.squash = config.slot_squash == "tanh"
        self.query = nn.Linear(dim, dim)
        self.key_value = make_projection(dim, rank)
        self.output = nn.Linear(dim, dim)
        self.weights = AttentionWeights(config.weak_attention_suppression)
        self.summary_weights = AttentionWeights(config.weak_attention_suppression)
        self.memory = find_memory(config)(config)

    def forward(
        self, queries: Tensor, rows: Tensor, index: LayerIndex, tables: Any, older: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Compute the parallel form.

        Args:
            queries: (R, D) query rows.
            rows: (P, D) block rows.
            tables: tables of the memory, see `LayerMemory.index`; None without memory.
            older: (B, ...) memory of earlier utterances by rank; None without memory.

        Returns:
            outputs (R, D), and the memory that the segments have written.
        """
        block = self.project(queries, rows, index)
        if tables is None or older is None:
            return self.attend(block, index, None, index.bias), older
        return self.memory(self, block, queries, index, tables, older)

    def step(
        self, queries: Tensor, rows: Tensor, index: LayerIndex, memory: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute the streaming form: one block of each of S streams.

        Args:
            queries: (R, D) query rows.
            rows: (P, D) block rows.
            memory: (S, ...) memory of the layer.
            mask: (S, 1, J) additive mask of its columns.

        Returns:
            outputs (R, D), and what the blocks write to the memory (S, ...).
        """
        return self.memory.step(self, self.project(queries, rows, index), queries, index, memory, mask)

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
        return self.merge_heads(self.attend_heads(block.queries, block, bank, bias), index)

    def merge_heads(self, z: Tensor, index: LayerIndex) -> Tensor:
        """Map head vectors (S, H, Q, d) to the outputs (R, D) of the query rows."""
        heads = gather(z.view(-1, self.head_dim), index.outputs, index.output_readers)
        return self.output(heads.flatten(1))

    def attend_heads(self, queries: Tensor, block: Projections, bank: Tensor | None, bias: Tensor) -> Tensor:
        """Return softmax(queries keys^T) values (S, H, Q, d) over bank and block; arguments as in `attend`."""
        keys, values = block.keys, block.values
        if bank is not None:
            bank_keys, bank_values = bank.unbind()
            keys, values = torch.cat([bank_keys, keys], 2), torch.cat([bank_values, values], 2)
        # Training only: exported models keep the operations that all runtimes have.
        if _FUSED_ATTENTION and self.weights.suppression is None and torch.is_grad_enabled():
            return _FUSED_ATTENTION(queries, keys, values, attn_mask=bias[:, None])
        return torch.matmul(self.weights(self.scores(queries, keys, bias)), values)

    def scores(self, queries: Tensor, keys: Tensor, bias: Tensor) -> Tensor:
        """Return scaled, masked scores (S, H, Q, columns) of queries (S, H, Q, d) and keys (S, H, columns, d)."""
        scores = torch.matmul(queries, keys.transpose(-1, -2))
        return torch.add(bias[:, None], scores, alpha=self.scale)

    def slots(self, block: Projections, queries: Tensor, index: LayerIndex) -> Tensor:
        """Summarise each block without its memory: the mean of the centre's queries, or the attention output of the
        summary query (S, D)."""
        if self.slot_is_mean:
            slot = torch.matmul(index.pooling, gather(queries, index.query_cells)).squeeze(1)
        else:
            weights = self.summary_weights(self.scores(block.summary, block.keys, index.bias))
            slot = self.output(torch.matmul(weights, block.values).flatten(1))
        return slot.tanh() if self.squash else slot

    def slot_key_value(self, slot: Tensor) -> Tensor:
        """Project memory slots (A, D) to keys and values (2, A, H, 1, d)."""
        kv = self.key_value(slot).view(-1, 2, self.heads, self.head_dim)
        return kv.transpose(0, 1).unsqueeze(3)
