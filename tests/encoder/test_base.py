"""Interface of all encoders: latency, taps, layer drop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from augmem.encoder import EncoderConfig, build_encoder
from tests.encoder.small import STREAMING, small_config

SMALL = small_config()


def test_latency_is_that_of_the_paper() -> None:
    encoder = build_encoder(EncoderConfig(dim=8, heads=1, layers=1, feedforward_dim=8), 80, 0.01)
    assert encoder.look_ahead == pytest.approx(0.32)
    assert encoder.average_latency == pytest.approx(0.96)
    other = build_encoder(EncoderConfig(dim=8, heads=1, layers=5, feedforward_dim=8, type="time_restricted"), 80, 0.01)
    assert other.average_latency == pytest.approx(0.96)


def test_taps_are_the_outputs_of_the_chosen_layers() -> None:
    torch.manual_seed(0)
    features, lengths = torch.randn(2, 40, 5), torch.tensor([40, 17])
    kinds: tuple[Any, ...] = (*STREAMING, "full_context")
    for kind in kinds:
        encoder = build_encoder(small_config(kind, iterated_loss_layers=(1, 2)), 5, 0.01)
        encoded = encoder.encode(features, lengths)
        assert len(encoded.taps) == 2
        torch.testing.assert_close(encoded.taps[1], encoded.hidden)  # the norms start equal
        assert not torch.allclose(encoded.taps[0], encoded.hidden)


def test_layer_drop_skips_layers_in_training_only() -> None:
    torch.manual_seed(0)
    encoder = build_encoder(replace(SMALL, layer_drop=0.5), 5, 0.01)
    features, lengths = torch.randn(1, 40, 5), torch.tensor([40])
    sums = {round(encoder(features, lengths)[0].abs().sum().item(), 3) for _ in range(40)}
    assert len(sums) == 4  # two layers, each there or not
    encoder.eval()
    assert torch.equal(encoder(features, lengths)[0], encoder(features, lengths)[0])
