"""Conformer-Kernel: attention against a direct computation, a constant state, long streams."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from augmem.encoder import build_encoder
from augmem.encoder.conformer_kernel import ConformerKernelEncoder, SeparableAttention
from augmem.encoder.index import index_layers
from augmem.encoder.rows import additive
from augmem.encoder.segments import plan_segments
from tests.encoder.small import FEATURES, SHIFT, random_encoder, small_config


def expected(attention: SeparableAttention, rows: list[torch.Tensor], centres: list[slice]) -> list[torch.Tensor]:
    """Return the outputs of each block from its rows (W, D): softmax over all frames that it sees, head by head."""
    heads, width = attention.heads, attention.head_dim
    rates, outputs = F.softplus(attention.rate), []
    for n, own in enumerate(rows):
        seen = [(rows[j][centres[j]], n - j) for j in range(n)] + [(own, 0)]
        z = []
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            keys = [attention.key_value(x)[:, part] - age * rates[head] for x, age in seen]
            values = [attention.key_value(x)[:, heads * width :][:, part] for x, _ in seen]
            queries = attention.query(own)[:, part].softmax(1)
            z.append(queries @ torch.cat(keys).softmax(0).t() @ torch.cat(values))
        outputs.append(attention.output(torch.cat(z, 1)))
    return outputs


def test_attention_is_a_softmax_over_time_and_one_over_features() -> None:
    torch.manual_seed(0)
    config = small_config("conformer_kernel")
    attention = SeparableAttention(config).double()
    plan = plan_segments(torch.tensor([10]), 2, 4, 1)  # segments of frames 0-4, 2-8 and 6-9
    frames = torch.randn(10, 8).double()
    index, _ = index_layers(plan.blocks, config, frames)
    start = ConformerKernelEncoder(config, FEATURES, SHIFT).double()._init_recurrent(1).map(lambda part: part[:, 0])
    rows = frames[plan.blocks.source]
    centre = additive(plan.blocks.pooling > 0, frames)
    found, _ = attention.attend_past(rows, rows, index, centre, plan.alive, start)
    blocks = [frames[0:5], frames[2:9], frames[6:10]]
    wanted = expected(attention, blocks, [slice(0, 4), slice(2, 6), slice(2, 4)])
    torch.testing.assert_close(found, torch.cat(wanted), rtol=0, atol=1e-12)


def test_gradients_are_those_of_finite_differences() -> None:
    encoder = random_encoder(small_config("conformer_kernel", layers=1, left_context=0.04))
    features = torch.randn(1, 36, FEATURES, dtype=torch.float64, requires_grad=True)
    parameters = [encoder.layers[0].attention.rate, encoder.layers[0].attention.key_value.bias]
    assert torch.autograd.gradcheck(
        lambda x, *_: encoder(x, torch.tensor([36]))[0], (features, *parameters), fast_mode=True
    )


def test_keys_of_any_size_do_not_overflow() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(small_config("conformer_kernel"), FEATURES, SHIFT)
    for layer in encoder.layers:
        layer.attention.key_value.weight.data[:8] *= 1e4
    hidden, _ = encoder(torch.randn(1, 200, FEATURES), torch.tensor([200]))
    hidden.sum().backward()
    assert hidden.isfinite().all()
    assert all(p.grad.isfinite().all() for p in encoder.parameters() if p.grad is not None)


def test_long_streams_forget_and_need_no_reset() -> None:
    """If weights halve from segment to segment, the past counts at most as many frames as one segment has."""
    torch.manual_seed(0)
    encoder = build_encoder(small_config("conformer_kernel", layers=1), FEATURES, SHIFT).eval()
    encoder.layers[0].attention.rate.data.zero_()  # type: ignore[union-attr, index]
    state = encoder.init_state(1)
    with torch.no_grad():
        _, state = encoder.step(torch.randn(1, 40 * encoder.chunk_frames, FEATURES), state)
    frames = state.recurrent.total[..., -1]  # type: ignore[attr-defined]
    assert frames.min() > 0 and frames.max() <= 2 * encoder.centre
    assert all(map(torch.equal, state.tensors(), state.limit_memory(3).tensors()))
