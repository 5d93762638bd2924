"""The delay of the front end, against the receptive field found by gradients."""

from __future__ import annotations

import pytest
import torch

from augmem.encoder.frontend import Frontend


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
