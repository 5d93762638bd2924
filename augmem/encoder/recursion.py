"""The recursion of the memory slots of one layer, where summary queries attend to the bank: one autograd function.

All that does not depend on the bank is computed beforehand for all segments: the scores l_n of a summary query on its
own block, condensed to their log-sum-exp, and the attention output b_n over the block. Segment n then does::

    w        = softmax([l_n, q_n K^T / sqrt(d)])     over its block and the slots before it
    z_n      = w [b_n, V]
    k_n, v_n = W_k m_n, W_v m_n                      with m_n = W_o z_n, or its tanh

A column of keys and values thus stands for each block, in front of those of the slots; its key is zero and its score
l_n is part of the mask. The backward pass runs the same steps in reverse; gradients of weights and queries are sums
over segments, one product each.

Letters: B utterances, H heads, A = B * H, d head width, D = H * d, N segments, W columns of a block (1 if condensed),
J older slots, X = N * W + J + N columns: blocks, older slots, slots.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Weigh = Callable[[Tensor], Tensor]


class Slot(NamedTuple):
    """Weights of the maps from an attention output z to a slot m, and from m to its key and value.

    Args:
        output, output_bias: W_o (D, D) and its bias.
        key_value, key_value_bias: W_k and W_v (2 * D, D) and their bias.
        squash: whether m = tanh(W_o z), otherwise m = W_o z.
    """

    output: Tensor
    output_bias: Tensor
    key_value: Tensor
    key_value_bias: Tensor
    squash: bool


def write_slots(
    query: Tensor, scores: Tensor, values: Tensor, older: Tensor, hidden: Tensor, slot: Slot, weigh: Weigh
) -> Tensor:
    """Write the slots of all segments.

    Args:
        query: (B, H, N, d) summary queries, divided by sqrt(d).
        scores: (B, H, N, W) of the summary queries on their own blocks.
        values: (B, H, N, W * d) of the blocks.
        older: (2, B, H, J, d) keys and values of the slots of earlier utterances.
        hidden: (B, N, J + N) additive mask of the slots that a summary query attends to; later slots are hidden anyway.
        slot: weights.
        weigh: softmax over the last dimension, or a function whose gradient is that of a softmax of its results.

    Returns:
        keys and values (2, B, H, J + N, d), older ones first.
    """
    if slot.squash:
        first, second = (slot.output, slot.output_bias), (slot.key_value, slot.key_value_bias)
    else:
        bias = torch.addmv(slot.key_value_bias, slot.key_value, slot.output_bias)
        first, second = (slot.key_value @ slot.output, bias), (None, None)
    return _Recursion.apply(query, scores, values, older, hidden, *first, *second, weigh)


class _Recursion(torch.autograd.Function):
    """See `write_slots`; `first` maps z to m (squashed), or to key and value if there is no `second` map."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        scores: Tensor,
        values: Tensor,
        older: Tensor,
        hidden: Tensor,
        first: Tensor,
        first_bias: Tensor,
        second: Tensor | None,
        second_bias: Tensor | None,
        weigh: Weigh,
    ) -> Tensor:
        B, H, N, d = query.shape
        blocks = N * scores.size(3)
        begin = blocks + older.size(3)
        queries = query.reshape(B * H, N, d)
        mask = _mask(scores, hidden)
        bank = query.new_zeros(2, B, H, begin + N, d)
        bank[1, :, :, :blocks] = values.reshape(B, H, blocks, d)
        bank[:, :, :, blocks:begin] = older
        keys, columns = bank.view(2, B * H, begin + N, d)
        weights, attended, slots = [], [], []
        for n in range(N):
            seen = begin + n
            scored = torch.baddbmm(mask[:, n : n + 1, :seen], queries[:, n : n + 1], keys[:, :seen].transpose(1, 2))
            weights.append(weigh(scored))
            attended.append(torch.bmm(weights[n], columns[:, :seen]).view(B, H * d))
            slot = torch.addmm(first_bias, attended[n], first.t())
            if second is not None and second_bias is not None:
                slots.append(slot.tanh_())
                slot = torch.addmm(second_bias, slot, second.t())
            bank[:, :, :, seen] = slot.view(B, 2, H, d).transpose(0, 1)
        ctx.save_for_backward(query, bank, first, *([] if second is None else [second]), *weights, *attended, *slots)
        ctx.sizes = blocks, begin
        return bank[:, :, :, blocks:].clone()

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (blocks, begin), (query, bank, first, *rest) = ctx.sizes, ctx.saved_tensors
        _, B, H, columns, d = bank.shape
        N = columns - begin
        second = rest.pop(0) if len(rest) % N else None
        weights, attended, slots = rest[:N], rest[N : 2 * N], rest[2 * N :]
        keys, values = bank.view(2, B * H, columns, d)
        queries = query.reshape(B * H, N, d)
        grad = torch.zeros_like(bank)
        grad[:, :, :, blocks:] = gradient
        for_keys, for_values = grad.view(2, B * H, columns, d)
        for_scores = queries.new_zeros(B * H, N, columns)
        of_second, of_first = [], []
        for n in reversed(range(N)):
            seen = begin + n
            g = grad[:, :, :, seen].transpose(0, 1).reshape(B, 2 * H * d)
            if second is not None:
                of_second.append(g)
                g = torch.ops.aten.tanh_backward(g @ second, slots[n])
            of_first.append(g)
            z = (g @ first).view(B * H, 1, d)
            s = torch.ops.aten._softmax_backward_data(
                torch.bmm(z, values[:, :seen].transpose(1, 2)), weights[n], -1, weights[n].dtype
            )
            for_scores[:, n : n + 1, :seen] = s
            for_values[:, :seen].baddbmm_(weights[n].transpose(1, 2), z)
            for_keys[:, blocks:seen].baddbmm_(s[:, :, blocks:].transpose(1, 2), queries[:, n : n + 1])
        own = for_scores[:, :, :blocks].view(B, H, N, N, blocks // N).diagonal(dim1=2, dim2=3).permute(0, 1, 3, 2)
        return (
            torch.bmm(for_scores[:, :, blocks:], keys[:, blocks:]).view(B, H, N, d),
            own,
            grad[1, :, :, :blocks].reshape(B, H, N, -1),
            None,
            None,
            *_of_map(of_first, attended),
            *((None, None) if second is None else _of_map(of_second, slots)),
            None,
        )


def _mask(scores: Tensor, hidden: Tensor) -> Tensor:
    """Return the additive mask (A, N, X): the scores of each segment on its own block, -inf on other blocks."""
    B, H, N, W = scores.shape
    blocks = scores.new_full((B, H, N, N, W), float("-inf"))
    blocks.diagonal(dim1=2, dim2=3).copy_(scores.transpose(2, 3))
    slots = hidden[:, None].expand(B, H, *hidden.shape[1:])
    return torch.cat([blocks.flatten(3), slots], 3).flatten(0, 1)


def _of_map(gradients: list[Tensor], inputs: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the gradients of weight and bias of a linear map, from those of its outputs, last segment first."""
    outer = torch.cat(gradients[::-1])
    return outer.t() @ torch.cat(inputs), outer.sum(0)
