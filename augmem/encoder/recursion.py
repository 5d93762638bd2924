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
    query: Tensor, scale: float, scores: Tensor, values: Tensor, older: Tensor, hidden: Tensor, slot: Slot, weigh: Weigh
) -> Tensor:
    """Write the slots of all segments.

    Args:
        query: (B, H, N, d) summary queries.
        scale: factor of their scores on slots, 1 / sqrt(d).
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
    return _Recursion.apply(query, scale, scores, values, older, hidden, *first, *second, weigh)


class _Recursion(torch.autograd.Function):
    """See `write_slots`; `first` maps z to m (squashed), or to key and value if there is no `second` map.

    Tensors have the segment, or the column, as their first dimension, so that each step writes in place what the next
    ones read: four launches forward, three backward. In the bank, the key and the value of a head are adjacent.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        scale: float,
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
        A, blocks = B * H, N * scores.size(3)
        begin = blocks + older.size(3)
        last, bias = (first, first_bias) if second is None or second_bias is None else (second, second_bias)
        bank = query.new_zeros(begin + N, B, H, 2, d)
        bank[:blocks, :, :, 1] = values.reshape(B, H, blocks, d).permute(2, 0, 1, 3)
        if begin > blocks:
            bank[blocks:begin] = older.permute(3, 1, 2, 0, 4)
        bank[begin:] = bias.view(2, H, d).transpose(0, 1)
        to_bank = _order_by_head(last, H).t()
        columns = bank.view(-1, A, 2, d)
        keys, seen = columns[:, :, 0].permute(1, 2, 0), columns[:, :, 1].transpose(0, 1)
        scored, queries = _mask(scores, hidden), query.reshape(A, N, d)
        attended, weights, slots = query.new_empty(N, A, 1, d), [], []
        for n in range(N):
            weights.append(weigh(scored[n].baddbmm_(queries[:, n : n + 1], keys, alpha=scale)))
            slot = torch.bmm(weights[n], seen, out=attended[n]).view(B, H * d)
            if second is not None:
                slot = torch.addmm(first_bias, slot, first.t()).tanh_()
                slots.append(slot)
            bank[begin + n].view(B, 2 * H * d).addmm_(slot, to_bank)
        ctx.save_for_backward(query, bank, torch.stack(weights), attended, first, second, *slots)
        ctx.blocks, ctx.scale = blocks, scale
        return bank[blocks:].permute(3, 1, 2, 0, 4).contiguous()

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, bank, weights, attended, first, second, *slots = ctx.saved_tensors
        B, H, N, d = query.shape
        A, blocks, columns = B * H, ctx.blocks, gradient.size(3)
        keys, values = bank.view(-1, A, 2, d)[blocks:].transpose(0, 1).unbind(2)
        grad = gradient[:, :, :, -N:].permute(3, 1, 2, 0, 4).clone(memory_format=torch.contiguous_format)
        # What pulls gradients into slot j: [s_n q_n | 0] into its key and [0 | w_n g_n] into its value, for all n > j.
        factors = query.new_empty(N, 2, A, columns)
        factors[:, 1] = weights[:, :, 0, blocks:]
        vectors = query.new_zeros(N, 2, A, 2 * d)
        torch.mul(query.permute(2, 0, 1, 3), ctx.scale, out=vectors.view(N, 2, B, H, 2 * d)[:, 0, :, :, :d])
        # The softmax of scores s with results w and output z = w V has the gradient w (V - z) g.
        slopes = (values - attended).mul_(weights[:, :, 0, blocks:, None])
        back = _pad_heads(_order_by_head(first, H) if second is None else first, H)
        to_slot = None if second is None else _order_by_head(second, H)
        grad_first = []
        for n in reversed(range(N)):
            if n < N - 1:
                pulled = factors[n + 1 :, :, :, n - N :][..., :1].flatten(0, 1).permute(1, 2, 0)
                grad[n].view(A, 1, 2 * d).baddbmm_(pulled, vectors[n + 1 :].flatten(0, 1).transpose(0, 1))
            g = grad[n].view(B, 2 * H * d)
            if to_slot is not None:
                g = torch.ops.aten.tanh_backward(g @ to_slot, slots[n])
                grad_first.append(g)
            torch.mm(g, back, out=vectors[n, 1].view(B, 2 * H * d))
            torch.bmm(slopes[n], vectors[n, 1, :, d:, None], out=factors[n, 0, :, :, None])
        outputs = vectors[:, 1, :, d:]
        inputs = attended.view(N * B, -1)
        own_weights, own_values = weights[:, :, 0, :blocks], bank[:blocks, :, :, 1]
        grad_scores, grad_values = _block_gradients(outputs, own_weights, own_values, attended)
        grad_last = _linear_gradients(grad.view(N * B, -1), inputs if second is None else torch.cat(slots))
        grad_bank = tuple(x.unflatten(0, (H, 2, d)).transpose(0, 1).reshape(x.shape) for x in grad_last)
        grad_maps = (
            (*grad_bank, None, None)
            if second is None
            else (*_linear_gradients(torch.cat(grad_first[::-1]), inputs), *grad_bank)
        )
        return (
            torch.bmm(factors[:, 0].transpose(0, 1), keys).mul_(ctx.scale).view_as(query),
            None,
            grad_scores.view(B, H, N, -1),
            grad_values.view(B, H, N, -1),
            _older_gradient(gradient, factors, vectors) if ctx.needs_input_grad[4] else None,
            None,
            *grad_maps,
            None,
        )


def _mask(scores: Tensor, hidden: Tensor) -> Tensor:
    """Return the additive mask (N, A, 1, X): the scores of each segment on its own block, -inf on other blocks."""
    B, H, N, W = scores.shape
    mask = scores.new_full((N, B, H, N * W + hidden.size(2)), float("-inf"))
    mask[..., : N * W].unflatten(3, (N, W)).diagonal(dim1=0, dim2=3).copy_(scores.transpose(2, 3))
    mask[..., N * W :] = hidden.transpose(0, 1)[:, :, None]
    return mask.view(N, B * H, 1, -1)


def _order_by_head(weight: Tensor, heads: int) -> Tensor:
    """Order the rows of a map to keys, then values (2 * D, D) as in the bank: by head, then key and value."""
    return weight.view(2, heads, -1, weight.size(1)).transpose(0, 1).reshape(weight.shape)


def _pad_heads(weight: Tensor, heads: int) -> Tensor:
    """Return a map of gradients (rows, D) with d zeros in front of those of each head: (rows, 2 * D)."""
    rows, width = weight.size(0), weight.size(1) // heads
    padded = weight.new_zeros(rows, heads, 2, width)
    padded[:, :, 1] = weight.view(rows, heads, width)
    return padded.view(rows, -1)


def _block_gradients(outputs: Tensor, weights: Tensor, values: Tensor, attended: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients (A, N, W) of the scores of blocks and those (A, N, W, d) of their values.

    Args:
        outputs: (N, A, d) gradients of the attention outputs.
        weights: (N, A, N * W) of all blocks; those of other blocks are zero.
        values: (N * W, B, H, d) of the blocks.
        attended: (N, A, 1, d) attention outputs.
    """
    N, A, d = outputs.shape
    own = weights.unflatten(2, (N, -1)).diagonal(dim1=0, dim2=2).transpose(1, 2)
    values = values.reshape(N, -1, A, d).permute(2, 0, 1, 3)
    outputs, attended = outputs.transpose(0, 1)[:, :, None], attended.transpose(0, 1)
    return (outputs * (values - attended)).sum(3) * own, own[..., None] * outputs


def _older_gradient(gradient: Tensor, factors: Tensor, vectors: Tensor) -> Tensor:
    """Return the gradients (2, B, H, J, d) of the slots of earlier utterances.

    Args:
        gradient: (2, B, H, J + N, d) of the bank.
        factors: (N, 2, A, J + N) and
        vectors: (N, 2, A, 2 * d), whose products the summary queries add.
    """
    passed = gradient[:, :, :, : gradient.size(3) - len(factors)]
    _, B, H, J, d = passed.shape
    pulled = torch.bmm(factors[..., :J].flatten(0, 1).permute(1, 2, 0), vectors.flatten(0, 1).transpose(0, 1))
    return passed + pulled.view(B, H, J, 2, d).permute(3, 0, 1, 2, 4)


def _linear_gradients(outer: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of weight and bias of a linear map, from those of its outputs."""
    return outer.t() @ inputs, outer.sum(0)


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
