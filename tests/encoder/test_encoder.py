"""Configs, sizes, latency, dropout, taps, attention maps, and the equations of the paper for one layer."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from torch import Tensor

from augmem.encoder import ENCODERS, EncoderConfig, attention_maps, build_encoder
from augmem.encoder.attention import AttentionWeights
from augmem.encoder.augmented_memory import AugmentedMemoryEncoder
from augmem.encoder.dropout import Dropout
from augmem.errors import UserError
from tests.encoder.small import small_config

SMALL = small_config()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("type", "other"), ("dim", 9), ("dim", 0), ("heads", 0), ("heads", -1), ("feedforward_dim", 0),
        ("layers", 0), ("dropout", 1.0), ("dropout", -0.1), ("layer_drop", 1.0), ("activation", "tanh"),
        ("subsampling", 5), ("frontend_channels", (8,)), ("frontend_channels", (8, 0)), ("left_context",
        -0.04), ("centre", 0.0), ("right_context", -1.0), ("memory_slots", -1), ("slot_content", "max"),
        ("slot_squash", "relu"), ("weak_attention_suppression", -0.5), ("convolution_kernel", 4),
        ("convolution_kernel", -1), ("iterated_loss_layers", (3,)), ("iterated_loss_layers", (1, 1)),
        ("lstm_dim", 0), ("dropout", math.nan), ("left_context", math.inf), ("centre", math.inf), ("centre", math.nan),
        ("right_context", math.inf), ("weak_attention_suppression", math.nan),
        ("weak_attention_suppression", math.inf), ("subsampling", 1), ("feedforward_slices", 0),
    ],
)  # fmt: skip
def test_errors_name_option_and_value(field: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"encoder\.{field}: ") as error:
        changed: dict[str, Any] = {field: value}
        replace(small_config("lc_blstm") if field == "lstm_dim" else SMALL, **changed)
    assert "must be" in str(error.value)
    assert repr(value) in str(error.value)


def test_every_option_has_help_text() -> None:
    """One docstring line that cannot be parsed leaves all options without help."""
    parser = ArgumentParser()
    parser.add_class_arguments(EncoderConfig, "encoder")
    assert [action.dest for action in parser._actions if not action.help] == []


@pytest.mark.parametrize("field", ["left_context", "centre", "right_context"])
def test_contexts_must_be_whole_encoder_frames(field: str) -> None:
    with pytest.raises(UserError, match=rf"encoder\.{field}: 0\.15 must be a multiple .* try 0\.12 or 0\.16"):
        changed: dict[str, Any] = {field: 0.15}
        build_encoder(replace(SMALL, **changed), 5, 0.01)


def test_latency_is_that_of_the_paper() -> None:
    encoder = build_encoder(EncoderConfig(dim=8, heads=1, layers=1, feedforward_dim=8), 80, 0.01)
    assert encoder.look_ahead == pytest.approx(0.32)
    assert encoder.average_latency == pytest.approx(0.96)
    other = build_encoder(EncoderConfig(dim=8, heads=1, layers=5, feedforward_dim=8, type="time_restricted"), 80, 0.01)
    assert other.average_latency == pytest.approx(0.96)


@pytest.mark.parametrize("recipe", sorted(Path("conf").glob("*.yaml")), ids=lambda path: path.stem)
def test_baselines_have_the_same_size(recipe: Path) -> None:
    """Without convolutions, which two baselines do not have, all types agree within 1 %."""
    small = {"convolution_kernel": 0, "layers": 2, "iterated_loss_layers": ()}
    chosen = yaml.safe_load(recipe.read_text()).get("encoder", {}) | small
    chosen = {name: tuple(value) if isinstance(value, list) else value for name, value in chosen.items()}

    def size(kind: Any) -> int:
        options = {
            name: value for name, value in chosen.items() if name not in ENCODERS[kind].excluded | {"type": None}
        }
        return sum(p.numel() for p in build_encoder(EncoderConfig(kind, **options), 80, 0.01).parameters())

    paper = size("augmented_memory")
    for kind in ("emformer", "transformer_xl", "time_restricted", "full_context"):
        assert size(kind) == paper
    assert size("lc_blstm") == pytest.approx(paper, rel=0.01)


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        ("augmented_memory", "lstm_dim", 8), ("emformer", "recompute_layers", True),
        ("transformer_xl", "memory_slots", 3), ("time_restricted", "convolution_kernel", 3),
        ("full_context", "centre", 0.64), ("full_context", "slot_squash", "tanh"), ("lc_blstm", "left_context", 0.32),
        ("lc_blstm", "activation", "relu"), ("lc_blstm", "feedforward_slices", 2),
    ],
)  # fmt: skip
def test_options_of_other_encoders_are_refused(kind: Any, option: str, value: Any) -> None:
    chosen: dict[str, Any] = {option: value}
    with pytest.raises(UserError, match=rf"encoder\.{option}: .* is not an option of encoder\.type {kind}: remove it"):
        EncoderConfig(type=kind, **chosen)


def test_stored_configs_of_earlier_releases_load() -> None:
    """They contain all options, also those that the encoder does not have."""
    stored = asdict(SMALL) | {"type": "full_context", "frontend_channels": [2, 2], "memory_slots": 4}
    config = EncoderConfig.from_stored(stored)
    assert config.type == "full_context" and config.frontend_channels == (2, 2) and config.memory_slots is None


@pytest.mark.parametrize("kind", ENCODERS)
def test_every_encoder_of_the_registry_can_be_built(kind: Any) -> None:
    hidden, lengths = build_encoder(small_config(kind), 5, 0.01)(torch.randn(2, 40, 5), torch.tensor([40, 17]))
    assert hidden.shape == (2, 10, 8) and lengths.tolist() == [10, 5]


def heads_of(x: Tensor, heads: int) -> Tensor:
    return x.view(x.size(0), heads, -1).transpose(0, 1)


def test_one_layer_follows_the_equations() -> None:
    """The equations of the paper, segment by segment, in plain torch."""
    torch.manual_seed(0)
    encoder = build_encoder(replace(SMALL, layers=1), 5, 0.01).double()
    assert isinstance(encoder, AugmentedMemoryEncoder)
    features = torch.randn(1, 50, 5).double()
    frames = encoder.frontend(features, torch.tensor([50]))
    layer = encoder.layers[0]
    attention, total = layer.attention, frames.size(0)
    bank: list[Tensor] = []
    outputs: list[Tensor] = []
    for start in range(0, total, 4):
        left, end = max(0, start - 3), min(start + 4, total)
        block = frames[left : min(end + 2, total)]
        h = layer.attention_norm(block)
        centre = slice(start - left, end - left)
        queries = attention.query(torch.cat([h, h[centre].mean(0, keepdim=True)]))
        keys, values = attention.key_value(torch.cat([*bank, h])).chunk(2, 1)
        q, k, v = (heads_of(x, 2) for x in (queries, keys, values))
        z = F.softmax(q @ k.transpose(1, 2) / 2.0, -1) @ v  # head width 4
        z = attention.output(z.transpose(0, 1).flatten(1))
        bank.append(z[-1:])
        x = block + z[:-1]
        outputs.append(encoder.norm(x + layer.feedforward(layer.feedforward_norm(x)))[centre])
    hidden, _ = encoder(features, torch.tensor([50]))
    torch.testing.assert_close(hidden[0], torch.cat(outputs), rtol=0, atol=1e-12)


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


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.999])
def test_dropout_has_its_rate_and_keeps_the_mean(rate: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(1003, 301)
    y = Dropout(rate)(x)
    assert (y == 0).double().mean().item() == pytest.approx(rate, abs=0.005)
    assert y.mean().item() == pytest.approx(1, abs=0.1 if rate == 0.999 else 0.01)
    assert torch.equal(Dropout(rate).eval()(x), x)


def test_taps_are_the_outputs_of_the_chosen_layers() -> None:
    torch.manual_seed(0)
    features, lengths = torch.randn(2, 40, 5), torch.tensor([40, 17])
    kinds: tuple[Any, ...] = ("augmented_memory", "emformer", "time_restricted", "lc_blstm", "full_context")
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


@pytest.mark.parametrize("kind", ["augmented_memory", "full_context"])
def test_recomputed_layers_give_the_same_gradients(kind: Any) -> None:
    """With dropout and layer drop: both computations must use the same masks."""
    config = small_config(kind, dropout=0.3, layer_drop=0.3)
    features, lengths = torch.randn(2, 150, 5).double(), torch.tensor([150, 61])
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(1)
        encoder = build_encoder(replace(config, recompute_layers=recompute), 5, 0.01).double()
        encoder(features, lengths)[0].square().sum().backward()
        gradients.append([torch.zeros_like(p) if p.grad is None else p.grad for p in encoder.parameters()])
    assert any(gradient.any() for gradient in gradients[0])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_sliced_feed_forward_blocks_give_the_same_gradients() -> None:
    torch.manual_seed(1)
    config = replace(SMALL, dropout=0.0)
    features, lengths = torch.randn(2, 150, 5).double(), torch.tensor([150, 61])
    gradients = []
    for slices in (1, 4):
        encoder = build_encoder(replace(config, feedforward_slices=slices), 5, 0.01).double()
        for number, parameter in enumerate(encoder.parameters()):
            torch.manual_seed(number)
            parameter.data.copy_(0.3 * torch.randn_like(parameter))
        encoder(features, lengths)[0].square().sum().backward()
        gradients.append([torch.zeros_like(p) if p.grad is None else p.grad for p in encoder.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_maps_cover_every_block() -> None:
    encoder = build_encoder(SMALL, 5, 0.01)
    maps = attention_maps(encoder, torch.randn(50, 5))
    assert [(m.layer, m.segment) for m in maps] == [(layer, n) for layer in (1, 2) for n in range(4)]
    sizes = [(m.memory, m.left, m.centre, m.right) for m in maps[:4]]
    assert sizes == [(0, 0, 4, 2), (1, 3, 4, 2), (2, 3, 4, 1), (3, 3, 1, 0)]
    for m in maps:
        assert m.weights.shape[-1] == m.memory + m.left + m.centre + m.right
        torch.testing.assert_close(m.weights.sum(-1), torch.ones(m.weights.shape[:-1]))


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12), st.integers(0, 3), st.floats(0, 2))
def test_suppression_follows_the_paper(row: list[float], masked: int, gamma: float) -> None:
    """Against the statistics module; masked columns have no effect."""
    scores = torch.tensor([*row, *[float("-inf")] * masked], dtype=torch.float64)
    weights = scores[: len(row)].softmax(0).tolist()
    deviation = statistics.stdev(weights) if len(row) > 1 else 0.0
    threshold = statistics.mean(weights) - gamma * deviation
    if any(abs(weight - threshold) < 1e-9 for weight in weights):
        return  # rounding decides
    kept = [math.exp(score) if weight >= threshold else 0.0 for score, weight in zip(row, weights, strict=True)]
    expected = torch.tensor([*(value / sum(kept) for value in kept), *[0.0] * masked], dtype=torch.float64)
    torch.testing.assert_close(AttentionWeights(gamma)(scores), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_equal_weights_are_never_all_weak(dtype: torch.dtype, gamma: float) -> None:
    for columns in range(1, 200):
        weights = AttentionWeights(gamma)(torch.zeros(columns, dtype=dtype))
        torch.testing.assert_close(weights, torch.full_like(weights, 1 / columns))
