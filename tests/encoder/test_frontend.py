"""The front end against torch's convolution; its delay against the receptive field found by gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from augmem.encoder import build_encoder
from augmem.encoder.frontend import Frontend
from tests.encoder.small import small_config

SMALL = small_config()


def test_front_end_equals_conv2d_over_the_padded_utterance() -> None:
    torch.manual_seed(0)
    frontend = build_encoder(SMALL, 9, 0.01).double().frontend
    features = torch.randn(1, 23, 9).double()
    x = F.pad(features, (0, 0, 0, 1))[:, None]
    for convolution in frontend.convolutions:
        c = convolution.convolution
        padded = F.pad(x, (1, 1, 3 - c.stride[0], 0))
        x = F.relu(F.conv2d(padded, c.weight, c.bias, c.stride))
    expected = frontend.projection(x[0].permute(1, 2, 0).flatten(1))
    torch.testing.assert_close(frontend(features, torch.tensor([23])), expected)


@pytest.mark.parametrize("subsampling", [2, 3, 4])
def test_delay_is_the_distance_to_the_centre_of_the_receptive_field(subsampling: int) -> None:
    frontend = Frontend(8, (2, 2), subsampling, 4).double()
    for convolution in frontend.convolutions:
        convolution.convolution.weight.data.abs_()  # no ReLU blocks a frame
    features = torch.rand(1, 60, 8, dtype=torch.float64, requires_grad=True)
    frame = 40 // subsampling
    frontend(features, torch.tensor([60]))[frame].sum().backward()
    assert features.grad is not None
    seen = features.grad[0].abs().sum(1).nonzero().squeeze(1)
    own_middle = subsampling * frame + (subsampling - 1) / 2
    assert own_middle - (seen[0] + seen[-1]) / 2 == frontend.delay
