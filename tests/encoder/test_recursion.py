"""The recursion of memory slots against plain torch, and its gradients against finite differences."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from augmem.encoder.attention import AttentionWeights
from augmem.encoder.recursion import Slot, condense, write_slots

B, H, N, W, d = 2, 2, 3, 2, 2
D = H * d


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


def arguments(older: int, limit: int | None) -> list[Tensor]:
    """Queries, scores, values, older slots and mask of two utterances; the second lacks its oldest slot."""
    torch.manual_seed(older)
    end = torch.arange(N)[:, None] + older
    column = torch.arange(older + N)
    seen = (column < end) & (column >= end - (older + N if limit is None else limit))
    seen = torch.stack([seen, seen & (column > 0) if older else seen])
    hidden = torch.zeros(B, N, older + N, dtype=torch.float64).masked_fill(~seen, -torch.inf)
    own = [random(B, H, N, d), random(B, H, N, W), random(B, H, N, W * d)]
    return [
        *own,
        random(2, B, H, older, d).detach(),
        hidden,
        *(random(*shape) for shape in ((D, D), (D,), (2 * D, D), (2 * D,))),
    ]


def reference(squash: bool, weigh: AttentionWeights, *tensors: Tensor) -> Tensor:
    """Attend to [block, slots], map the result to a slot, append its key and value: segment by segment."""
    query, scores, values, bank, hidden, *maps = tensors
    older = bank.size(3)
    for n in range(N):
        keys, slots = bank
        past = 0.5 * torch.einsum("bhd,bhjd->bhj", query[:, :, n], keys) + hidden[:, n, None, : older + n]
        w = weigh(torch.cat([scores[:, :, n], past], -1))
        columns = torch.cat([values[:, :, n].unflatten(-1, (W, d)), slots], 2)
        m = nn.functional.linear(torch.einsum("bhj,bhjd->bhd", w, columns).flatten(1), maps[0], maps[1])
        kv = nn.functional.linear(m.tanh() if squash else m, maps[2], maps[3])
        bank = torch.cat([bank, kv.view(B, 2, H, 1, d).transpose(0, 1)], 3)
    return bank


def ours(squash: bool, weigh: AttentionWeights, *tensors: Tensor) -> Tensor:
    query, scores, values, older, hidden, *maps = tensors
    return write_slots(query, 0.5, scores, values, older, hidden, Slot(*maps, squash), weigh)


@pytest.mark.parametrize("suppression", [None, 0.5])
@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize(("older", "limit"), [(0, None), (2, None), (2, 1)])
def test_slots_follow_the_equations(older: int, limit: int | None, squash: bool, suppression: float | None) -> None:
    weigh = AttentionWeights(suppression)
    inputs = arguments(older, limit)
    torch.testing.assert_close(ours(squash, weigh, *inputs), reference(squash, weigh, *inputs), rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(partial(ours, squash, weigh), inputs, fast_mode=True)


def test_a_condensed_block_has_the_effect_of_its_columns() -> None:
    torch.manual_seed(0)
    scores, values, further = (
        torch.randn(*shape, dtype=torch.float64) for shape in ((2, 3, 1, 4), (2, 3, 4, 5), (2, 3, 1, 1))
    )
    scores[1, :, :, 2:] = -torch.inf
    total, mean = condense(scores, values)
    alone = torch.cat([scores, further], -1).softmax(-1)[..., :-1] @ values
    torch.testing.assert_close(torch.cat([total, further], -1).softmax(-1)[..., :1] * mean, alone)
    assert torch.autograd.gradcheck(condense, (scores.requires_grad_(), values.requires_grad_()), fast_mode=True)
