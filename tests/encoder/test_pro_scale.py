"""PRO-SCALE: frame lengths of each stage, means and what they remove, schedules that do not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from augmem.encoder import Encoder, build_encoder
from augmem.errors import UserError
from tests.encoder.small import FEATURES, SHIFT, random_encoder, small_config
from tests.encoder.test_streaming import stream


def test_layers_have_frames_of_the_schedule() -> None:
    """10, 20, 40 and 80 ms: 64 feature frames are as many rows in the first layer and an eighth in the last."""
    encoder = build_encoder(
        small_config("pro_scale", layers=4, frame_schedule=(0.01, 0.02, 0.04, 0.08), right_context=0.0), FEATURES, SHIFT
    )
    rows: list[int] = []
    for layer in encoder.layers:  # type: ignore[union-attr]
        layer.feedforward.register_forward_hook(lambda module, args, output: rows.append(output.size(0)))
    hidden, lengths = encoder(torch.randn(1, 64, FEATURES), torch.tensor([64]))
    assert rows == [64, 32, 16, 8]
    assert hidden.shape == (1, 16, 8) and lengths.tolist() == [16]


def without_branches(encoder: Encoder) -> Encoder:
    """Let the layers return their inputs."""
    for layer in encoder.layers:  # type: ignore[union-attr]
        for part in (layer.attention.output, layer.feedforward.output):
            part.weight.data.zero_()
            part.bias.data.zero_()
    return encoder


@pytest.mark.parametrize("schedule", [(0.01, 0.02, 0.04), (0.01, 0.08), (0.04, 0.08, 0.24)])
def test_only_what_layers_add_has_longer_frames(schedule: tuple[float, ...]) -> None:
    """Layers that add nothing leave the mean of the front end's vectors in each encoder frame, and no longer mean."""
    config = small_config(
        "pro_scale", layers=3, frame_schedule=schedule, left_context=0.0, centre=0.48, right_context=0.0
    )
    encoder = without_branches(random_encoder(config))
    features, lengths = torch.randn(2, 150, FEATURES, dtype=torch.float64), torch.tensor([150, 33])
    frames, _ = encoder._frames(features, lengths)
    wanted = encoder.norm(frames.unflatten(1, (-1, 8)).mean(1))
    hidden, lengths = encoder(features, lengths)
    found = torch.cat([row[:length] for row, length in zip(hidden, lengths.tolist(), strict=True)])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("schedule", [(0.02, 0.08), (0.01, 0.12)])
def test_any_end_of_a_stream_equals_that_of_the_utterance(schedule: tuple[float, ...]) -> None:
    """The last frames of each length may be incomplete, each in its own way, in the centre and in the right context."""
    contexts = dict.fromkeys(("left_context", "centre", "right_context"), 0.24)
    encoder = random_encoder(small_config("pro_scale", frame_schedule=schedule, **contexts))
    features = torch.randn(1, 100, FEATURES, dtype=torch.float64)
    with torch.no_grad():
        for time in range(2, 100, 4):
            parallel, _ = encoder(features[:, :time], torch.tensor([time]))
            streamed = stream(encoder, features[:, :time], [24])
            torch.testing.assert_close(streamed, parallel, rtol=0, atol=1e-10)


def test_gradients_are_those_of_finite_differences() -> None:
    encoder = random_encoder(small_config("pro_scale"))
    features = torch.randn(1, 44, FEATURES, dtype=torch.float64, requires_grad=True)
    weight = encoder.layers[1].attention.key_value.weight  # type: ignore[union-attr, index]
    assert torch.autograd.gradcheck(lambda x, _: encoder(x, torch.tensor([44]))[0], (features, weight), fast_mode=True)


@pytest.mark.parametrize(
    "schedule", [(), (0.08, 0.04), (0.04, 0.04), (0.03, 0.06), (0.01, 0.03), (0.08,), (0.015, 0.03), (0.04, 0.06)]
)
def test_schedules_that_do_not_fit_the_encoder_frame_are_refused(schedule: tuple[float, ...]) -> None:
    with pytest.raises(UserError, match=r"encoder\.frame_schedule is .* divisor of the encoder frame of 0\.04 s"):
        build_encoder(small_config("pro_scale", frame_schedule=schedule), FEATURES, SHIFT)


def test_schedules_that_do_not_fit_layers_or_contexts_are_refused() -> None:
    config = small_config("pro_scale")
    with pytest.raises(UserError, match=r"encoder\.frame_schedule is .* at most one value per layer"):
        build_encoder(replace(config, layers=1), FEATURES, SHIFT)
    with pytest.raises(UserError, match=r"encoder\.left_context is 0\.12; it must be a multiple of the longest frame"):
        build_encoder(replace(config, left_context=0.12), FEATURES, SHIFT)
