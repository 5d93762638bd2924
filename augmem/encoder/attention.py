"""Augmented-memory self-attention (arXiv 2005.08042, section 3): one core, a parallel form and a streaming
form.

For block n of an utterance, with h = LN(x) and the layer's own memory bank m:

    s_n      = mean of h over the centre
    Q        = W_q [h_L, h_C, h_R, s_n]
    K, V     = W_k, W_v [m_1 .. m_{n-1}, h_L, h_C, h_R]
    [Z, o_n] = W_o softmax(Q K^T / sqrt(d)) V
    m_n      = o_n

The parallel form computes all Z at once. Only the summary rows depend on one another, when they see the bank,
so they alone are scanned, one row per segment, all utterances together.

Legend: S blocks, W cells of a block, Q cells of a query block, H heads, d head width, D = H * d, P packed
rows, J memory columns (the newest last), A utterances alive at a segment.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from augmem.encoder.config import EncoderConfig
from augmem.encoder.rows import additive, cell_heads, gather, head_rows
from augmem.encoder.segments import Blocks, Cells, Plan


class BlockIndex(NamedTuple):
    """Index tables of attention inside blocks, built once per call and shared by the layers.

    queries: (S, H, Q) query vectors in a (rows * H, d) view.
    keys_values: (2, S, H, W) key and value vectors in a (P * 2 * H, d) view.
    outputs: (rows, H) where each query row's heads stand in the (S * H * Q, d) result.
    bias: (S, 1, W) 0 for cells that hold a row, -inf for empty ones.
    pooling: (S, 1, Q) weights that average the centre's query rows.
    query_rows: (S, Q) row of the query table in each cell.
    """

    queries: Tensor
    keys_values: Tensor
    outputs: Tensor
    bias: Tensor
    pooling: Tensor
    query_rows: Tensor

    def preceded(self, cells: Cells, heads: int) -> BlockIndex:
        """The same queries, attending first to the rows in `cells`."""
        keys_values = torch.cat([head_rows(cells.rows, heads, 2), self.keys_values], -1)
        bias = torch.cat([additive(cells.filled[:, None], self.bias), self.bias], -1)
        return self._replace(keys_values=keys_values, bias=bias)


def index_blocks(blocks: Blocks, queries: Cells, pooling: Tensor, heads: int, like: Tensor) -> BlockIndex:
    """Tables for blocks whose queries are the rows of `queries`: all rows, or the centre's in the last
    layer."""
    return BlockIndex(
        head_rows(queries.rows, heads, 1)[0],
        head_rows(blocks.all.rows, heads, 2),
        cell_heads(queries.cells, queries.rows.size(1), heads),
        additive(blocks.all.filled[:, None], like),
        pooling.to(like.dtype),
        queries.rows,
    )


class MemoryIndex(NamedTuple):
    """Index tables of the memory bank in the parallel form.

    alive: utterances alive at each segment.
    written: utterances whose slot of each segment is read by somebody.
    slots: (2, S, H, J) key and value vectors in a (slots * 2 * H, d) view.
    bias: (S, 1, J) 0 for columns that hold a slot, -inf for others.
    older_bias: (A, 1, 1, J0) the same for slots handed down, utterances as ranked; no columns if there are none.
    """

    alive: list[int]
    written: list[int]
    slots: Tensor
    bias: Tensor
    older_bias: Tensor


def index_memory(plan: Plan, heads: int, like: Tensor, handed_down: Tensor | None = None) -> MemoryIndex:
    """Tables for the memory of a plan of segments, and of slots handed down to utterances (B, J0), if any."""
    older = torch.zeros_like(plan.order, dtype=torch.bool)[:, None][:, :0] if handed_down is None else handed_down
    return MemoryIndex(
        plan.alive,
        plan.written,
        head_rows(plan.slots, heads, 2),
        additive(plan.seen[:, None], like),
        additive(older[plan.order][:, None, None], like),
    )


class Block(NamedTuple):
    """Projected blocks: queries (S, H, Q, d), keys and values (S, H, W, d), summary queries (S, H, 1, d)."""

    queries: Tensor
    keys: Tensor
    values: Tensor
    summary: Tensor


class AttentionWeights(nn.Module):
    """Softmax over masked scores (..., columns); optionally without the weak weights (arXiv 2005.09137):

        w      = softmax(scores)
        weak   = w < mean(w) - gamma * deviation(w)     over the columns that are there, deviation with n - 1
        result = softmax of the scores that are not weak

    A module of its own so that a forward hook can watch what is attended to.
    """

    def __init__(self, suppression: float | None) -> None:
        super().__init__()
        self.suppression = suppression

    def forward(self, scores: Tensor) -> Tensor:
        weights = scores.softmax(-1)
        if self.suppression is None:
            return weights
        present = scores > float("-inf")
        count = present.sum(-1, keepdim=True).to(weights.dtype)
        mean = 1 / count
        variance = ((weights - mean).square() * present).sum(-1, keepdim=True) / (count - 1).clamp(min=1)
        # A comparison has no gradient: the surviving weights alone carry it.
        weak = weights < mean - self.suppression * variance.sqrt()
        # Where all are equal, rounding may put them all below their mean; the strongest is never weak.
        weak = weak & (weights < weights.amax(-1, keepdim=True))
        return scores.masked_fill(weak, float("-inf")).softmax(-1)


class AugmentedMemoryAttention(nn.Module):
    """Multi-head attention of blocks over [memory | L | C | R] and the writing of memory slots."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        dim = config.dim
        self.heads = config.heads
        self.head_dim = dim // config.heads
        self.scale = 1 / math.sqrt(self.head_dim)
        self.memory_slots = -1 if config.memory_slots is None else config.memory_slots
        self.summary_sees_memory = config.summary_sees_memory
        self.slot_is_mean = config.slot_content == "mean"
        self.squash = config.slot_squash == "tanh"
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.output = nn.Linear(dim, dim)
        self.weights = AttentionWeights(config.weak_attention_suppression)
        self.summary_weights = AttentionWeights(config.weak_attention_suppression)

    def forward(self, queries: Tensor, rows: Tensor, index: BlockIndex, memory: MemoryIndex) -> Tensor:
        """Parallel form: query rows (R, D) attend within their blocks of `rows` (P, D) and to memory: (R,
        D)."""
        return self.hand_on(queries, rows, index, memory, None)[0]

    def hand_on(
        self, queries: Tensor, rows: Tensor, index: BlockIndex, memory: MemoryIndex, older: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """As `forward`, after other utterances.

        Args:
            older: (2, A, H, J0, d) keys and values handed down, utterances as ranked, newest last.

        Returns:
            outputs (R, D), and all slots (slots, 2 * D) as the plan numbers them.
        """
        block = self.project(queries, rows, index)
        if memory.slots.size(-1) == 0:
            return self.attend(block, index, None, index.bias), rows.new_zeros(0, 2 * rows.size(1))
        slots = self._all_slots(block, queries, index, memory, older)
        if older is not None:
            slots = torch.cat([slots, older.permute(1, 3, 0, 2, 4).reshape(-1, slots.size(1))])
        keys_values = gather(slots.view(-1, self.head_dim), memory.slots)
        return self.attend(block, index, keys_values, torch.cat([memory.bias, index.bias], -1)), slots

    def step(
        self, queries: Tensor, rows: Tensor, index: BlockIndex, bank: Tensor, seen: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Streaming form: one block of each of S streams.

        Args:
            bank: (2, S, H, J, d) keys and values of the slots, newest last.
            seen: (S, 1, J) 0 where a column holds a slot, else -inf.

        Returns:
            outputs (R, D) of the query rows, and the new slot's key and value (2, S, H, 1, d).
        """
        block = self.project(queries, rows, index)
        bias = torch.cat([seen, index.bias], -1)
        if self.memory_slots == 0:
            return self.attend(block, index, bank, bias), bank[:, :, :, :0]
        if self.summary_sees_memory and not self.slot_is_mean:
            output, slot = self._attend_with_summary(block, index, bank, bias)
        else:
            output = self.attend(block, index, bank, bias)
            slot = self.slots(block, queries, index)
        return output, self.remember(slot)

    def project(self, queries: Tensor, rows: Tensor, index: BlockIndex) -> Block:
        """Queries, keys and values of packed rows, laid out per block and head."""
        q = gather(self.query(queries).view(-1, self.head_dim), index.queries)
        kv = gather(self.key_value(rows).view(-1, self.head_dim), index.keys_values)
        # W_q is linear: the mean of the centre's queries is the query of the centre's mean.
        keys, values = kv.unbind()  # one gradient for both; that of kv[0] would be padded with zeros, and added
        return Block(q, keys, values, torch.matmul(index.pooling[:, None], q))

    def attend(self, block: Block, index: BlockIndex, bank: Tensor | None, bias: Tensor) -> Tensor:
        """Outputs (R, D) of the packed query rows.

        Args:
            bank: (2, S, H, J, d) keys and values of the memory in front of the block, if there is any.
            bias: (S, 1, J + W).
        """
        z = self._read(block.queries, block, bank, bias)
        heads = gather(z.view(-1, self.head_dim), index.outputs)
        return self.output(heads.flatten(1))

    def _attend_with_summary(
        self, block: Block, index: BlockIndex, bank: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `attend`, and the slots (S, D): a summary query that sees what the others see is one more of them."""
        z = self._read(torch.cat([block.queries, block.summary], 2), block, bank, bias)
        frames, summary = z[:, :, :-1].reshape(-1, self.head_dim), z[:, :, -1].flatten(1)
        heads = gather(frames, index.outputs).flatten(1)
        output, slot = self.output(torch.cat([heads, summary])).split([heads.size(0), summary.size(0)])
        return output, slot.tanh() if self.squash else slot

    def _read(self, queries: Tensor, block: Block, bank: Tensor | None, bias: Tensor) -> Tensor:
        """What queries (S, H, Q, d) read from memory and block: (S, H, Q, d); arguments as in `attend`."""
        keys, values = block.keys, block.values
        if bank is not None:
            old_keys, old_values = bank.unbind()
            keys, values = torch.cat([old_keys, keys], 2), torch.cat([old_values, values], 2)
        return torch.matmul(self.weights(self._scores(queries, keys, bias)), values)

    def remember(self, slot: Tensor) -> Tensor:
        """Keys and values of memory slots (A, D): (2, A, H, 1, d)."""
        kv = self.key_value(slot).view(-1, 2, self.heads, self.head_dim)
        return kv.transpose(0, 1).unsqueeze(3)

    def slots(self, block: Block, queries: Tensor, index: BlockIndex) -> Tensor:
        """Contents (S, D) of the slots of blocks whose summary queries see their own blocks only."""
        if self.slot_is_mean:
            mean = torch.matmul(index.pooling, gather(queries, index.query_rows)).squeeze(1)
            return mean.tanh() if self.squash else mean
        return self._slot(self._scores(block.summary, block.keys, index.bias), block.values)

    def _slot(self, scores: Tensor, values: Tensor) -> Tensor:
        """Contents (A, D) of slots: what summary queries with `scores` (A, H, 1, J) read from `values` (A, H, J, d)."""
        slot = self.output(torch.matmul(self.summary_weights(scores), values).flatten(1))
        return slot.tanh() if self.squash else slot

    def _all_slots(
        self, block: Block, queries: Tensor, index: BlockIndex, memory: MemoryIndex, older: Tensor | None
    ) -> Tensor:
        """Keys and values (slots, 2 * D) of every slot that is read, in the order of the segments."""
        if self.summary_sees_memory and not self.slot_is_mean:
            return self._scan(block, self._scores(block.summary, block.keys, index.bias), memory, older)
        pieces = self.slots(block, queries, index).split(memory.alive)
        written = [piece[:readers] for piece, readers in zip(pieces, memory.written, strict=False)]
        return self.key_value(torch.cat(written))

    def _scan(self, block: Block, scores: Tensor, memory: MemoryIndex, older: Tensor | None) -> Tensor:
        """Write slots segment after segment; arguments and result as in `_all_slots`.

        Args:
            scores: (S, H, 1, W) of the summary queries on their own blocks.
        """
        values = block.values
        if self.summary_weights.suppression is None:
            scores, values = condense(scores, values)
        written: list[Tensor] = []
        # Split at once: the gradient of a slice is as large as the whole.
        pieces = (part.split(memory.alive) for part in (block.summary, scores, values))
        for readers, *piece in zip(memory.written, *pieces, strict=False):
            query, own_scores, own_values = (part[:readers] for part in piece)
            past_scores, past_values = self._past(written, query, memory, older)
            slot = self._slot(torch.cat([past_scores, own_scores], -1), torch.cat([past_values, own_values], 2))
            written.append(self.key_value(slot))
        return torch.cat(written)

    def _past(
        self, written: list[Tensor], query: Tensor, memory: MemoryIndex, older: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Scores (A, H, 1, J) of one segment's summary queries (A, H, 1, d) on the bank, and the bank's values (A, H,
        J, d).

        Args:
            written: for each earlier segment, keys and values (readers, 2 * D) of its slots.
        """
        count = query.size(0)
        bound = max(self.memory_slots, 0)  # zero takes all: [-0:]
        recent = [slot[:count] for slot in written[-bound:]]
        bank = torch.stack(recent, 1) if recent else query.new_empty(count, 0, 2 * self.heads * self.head_dim)
        bank = bank.view(count, -1, 2, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        if older is not None:
            bank = torch.cat([older[:, :count], bank], 3)
        keys, values = bank.unbind()
        scores = torch.matmul(query, keys.transpose(-1, -2)) * self.scale
        if older is not None:
            scores = scores + torch.nn.functional.pad(memory.older_bias[:count], (0, len(recent)))
        return scores[..., -bound:], values[..., -bound:, :]

    def _scores(self, queries: Tensor, keys: Tensor, bias: Tensor) -> Tensor:
        """Scaled, masked scores (S, H, Q, columns) of queries (S, H, Q, d) on keys (S, H, columns, d)."""
        scores = torch.matmul(queries, keys.transpose(-1, -2))
        return torch.add(bias[:, None], scores, alpha=self.scale)


def condense(scores: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """One column for all: a softmax over it and further columns gives what one over all columns and those gives.

    Args:
        scores: (S, H, 1, W).
        values: (S, H, W, d).

    Returns:
        logarithm of the sum of the exponentials (S, H, 1, 1), and the weighted mean of the values (S, H, 1, d).
    """
    return scores.logsumexp(-1, keepdim=True), torch.matmul(scores.softmax(-1), values)
