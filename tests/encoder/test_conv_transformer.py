"""Conv-Transformer: what a frame sees, and limits of the look-ahead."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from augmem.encoder import build_encoder
from augmem.encoder.index import spread_blocks
from augmem.encoder.layer import BlockConvolution
from augmem.encoder.segments import consecutive
from augmem.errors import UserError
from tests.encoder.small import FEATURES, SHIFT, random_encoder, small_config


@pytest.mark.parametrize("ahead", [0, 1, 4])
def test_convolutions_look_ahead_as_far_as_stated(ahead: int) -> None:
    """Against torch's convolution of each utterance, padded on both sides; gradients too."""
    torch.manual_seed(0)
    convolution = BlockConvolution(3, 5, ahead).double()
    lengths = [6, 1, 9]
    x = torch.randn(sum(lengths), 3, dtype=torch.float64, requires_grad=True)
    found = convolution(x, *spread_blocks(consecutive(torch.tensor(lengths)), 4))
    wanted = []
    for own in x.split(lengths):
        gated = F.pad(F.glu(convolution.gate(own), -1).t()[None], (4 - ahead, ahead))
        line = F.conv1d(gated, convolution.taps.t()[:, None], convolution.bias, groups=3)[0].t()
        wanted.append(convolution.output(F.silu(line)))
    torch.testing.assert_close(found, torch.cat(wanted), rtol=0, atol=1e-12)
    inputs = (x, *convolution.parameters())
    gradients = (torch.autograd.grad(y.square().sum(), inputs) for y in (found, torch.cat(wanted)))
    for own, other in zip(*gradients, strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-10)


def test_frames_are_emitted_as_soon_as_the_look_ahead_is_there() -> None:
    encoder = build_encoder(small_config("conv_transformer"), FEATURES, SHIFT)  # 40 ms frames, 80 ms of look-ahead
    assert encoder.look_ahead == encoder.average_latency == pytest.approx(0.08)
    state, emitted = encoder.init_state(1), []
    for _ in range(6):
        _, state = encoder.step(torch.zeros(1, 4, FEATURES), state)
        emitted.append(int(state.emitted))
    assert emitted == [0, 0, 1, 1, 1, 1]


def test_attention_sees_no_future_frame() -> None:
    """Without look-ahead of the convolutions, an output depends on its own feature frames and earlier ones alone."""
    encoder = random_encoder(small_config("conv_transformer", right_context=0.0))
    features = torch.randn(1, 80, FEATURES, dtype=torch.float64, requires_grad=True)
    hidden, _ = encoder(features, torch.tensor([80]))
    (gradient,) = torch.autograd.grad(hidden[0, 9].sum(), features)
    assert gradient[0, 39].any() and not gradient[0, 40:].any()


def test_history_is_bounded() -> None:
    """Two layers, each of K - 1 frames in the convolution and L in attention; 5 frames in the front end."""
    encoder = random_encoder(small_config("conv_transformer", right_context=0.0, convolution_kernel=3))
    features = torch.randn(1, 160, FEATURES, dtype=torch.float64, requires_grad=True)
    hidden, _ = encoder(features, torch.tensor([160]))
    (gradient,) = torch.autograd.grad(hidden[0, 39].sum(), features)
    first = int(gradient[0].abs().sum(1).nonzero().min())
    reach = round(2 * encoder.frontend.delay)
    assert first == (39 - 2 * (2 + 3)) * 4 - reach


def test_gradients_are_those_of_finite_differences() -> None:
    encoder = random_encoder(small_config("conv_transformer", layers=1))
    features = torch.randn(1, 30, FEATURES, dtype=torch.float64, requires_grad=True)
    taps = encoder.convolutions[0].convolution.taps  # type: ignore[union-attr, index]
    assert torch.autograd.gradcheck(lambda x, _: encoder(x, torch.tensor([30]))[0], (features, taps), fast_mode=True)


def test_more_look_ahead_than_the_convolutions_reach_is_refused() -> None:
    with pytest.raises(UserError, match=r"encoder\.right_context is 0\.2; it must be at most 0\.16 s, layers x"):
        build_encoder(small_config("conv_transformer", right_context=0.2, convolution_kernel=3), FEATURES, SHIFT)
