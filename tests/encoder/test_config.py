"""Encoder configs: ranges, options of other encoders, contexts, stored configs, help texts."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

import pytest
from jsonargparse import ArgumentParser

from augmem.encoder import EncoderConfig, build_encoder
from augmem.errors import UserError
from tests.encoder.small import small_config

SMALL = small_config()
OWNERS = {"lstm_dim": "lc_blstm", "frame_schedule": "pro_scale"}


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
        ("weak_attention_suppression", math.inf), ("subsampling", 1), ("feedforward_slices", 0), ("memory", "other"),
        ("frame_schedule", (0.0, 0.04)), ("frame_schedule", (0.04, math.inf)),
    ],
)  # fmt: skip
def test_errors_name_option_and_value(field: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"encoder\.{field} is ") as error:
        changed: dict[str, Any] = {field: value}
        replace(small_config(OWNERS.get(field, "augmented_memory")), **changed)
    assert "must be" in str(error.value)
    assert repr(value) in str(error.value)


def test_every_option_has_help_text() -> None:
    """One docstring line that cannot be parsed leaves all options without help."""
    parser = ArgumentParser()
    parser.add_class_arguments(EncoderConfig, "encoder")
    assert [action.dest for action in parser._actions if not action.help] == []


@pytest.mark.parametrize("field", ["left_context", "centre", "right_context"])
def test_contexts_must_be_whole_encoder_frames(field: str) -> None:
    with pytest.raises(UserError, match=rf"encoder\.{field} is 0\.15; it must be a multiple .* try 0\.12 or 0\.16"):
        changed: dict[str, Any] = {field: 0.15}
        build_encoder(replace(SMALL, **changed), 5, 0.01)


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        ("augmented_memory", "lstm_dim", 8), ("emformer", "recompute_layers", True),
        ("transformer_xl", "memory_slots", 3), ("time_restricted", "convolution_kernel", 3),
        ("full_context", "centre", 0.64), ("full_context", "slot_squash", "tanh"), ("lc_blstm", "left_context", 0.32),
        ("lc_blstm", "activation", "relu"), ("lc_blstm", "feedforward_slices", 2),
        ("conformer_kernel", "memory_slots", 3), ("conformer_kernel", "weak_attention_suppression", 0.5),
        ("conv_transformer", "slot_squash", "tanh"), ("conv_transformer", "recompute_layers", True),
        ("pro_scale", "memory_slots", 3), ("pro_scale", "lstm_dim", 8),
        ("augmented_memory", "frame_schedule", (0.04,)), ("lc_blstm", "frame_schedule", (0.04,)),
    ],
)  # fmt: skip
def test_options_of_other_encoders_are_refused(kind: Any, option: str, value: Any) -> None:
    chosen: dict[str, Any] = {option: value}
    with pytest.raises(
        UserError, match=rf"encoder\.{option} is .*; it must be omitted: encoder\.type {kind} has no such option"
    ):
        EncoderConfig(type=kind, **chosen)


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [
        ("gated", "slot_squash", "tanh"), ("recurrent_sum", "memory_slots", 4),
        ("recurrent_sum", "slot_content", "mean"), ("selected", "summary_sees_memory", 3),
    ],
)  # fmt: skip
def test_options_of_other_kinds_of_memory_are_refused(kind: Any, option: str, value: Any) -> None:
    chosen: dict[str, Any] = {option: value}
    rule = rf"be omitted: encoder\.memory {kind} has no such option"
    with pytest.raises(UserError, match=rf"encoder\.{option} is .*; it must {rule}"):
        EncoderConfig(memory=kind, **chosen)


@pytest.mark.parametrize("kind", ["gated", "selected"])
def test_memory_of_a_constant_size_needs_slots(kind: Any) -> None:
    with pytest.raises(UserError, match=r"encoder\.memory_slots is 0; it must be null or a whole number of at least 1"):
        EncoderConfig(memory=kind, memory_slots=0)


def test_baselines_have_the_memory_of_the_paper_only() -> None:
    with pytest.raises(UserError, match=r"encoder\.memory is 'gated'; it must be omitted: encoder\.type emformer"):
        EncoderConfig(type="emformer", memory="gated")


def test_stored_configs_of_earlier_releases_load() -> None:
    """They contain all options, also those that the encoder does not have."""
    stored = asdict(SMALL) | {"type": "full_context", "frontend_channels": [2, 2], "memory_slots": 4}
    config = EncoderConfig.from_stored(stored)
    assert config.type == "full_context" and config.frontend_channels == (2, 2) and config.memory_slots is None
