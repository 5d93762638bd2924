"""Small encoder configs for tests."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st

from augmem.encoder import ENCODERS, MEMORIES, Encoder, EncoderConfig, build_encoder

FEATURES, SHIFT = 7, 0.01
BASELINES = ("emformer", "transformer_xl", "time_restricted", "lc_blstm")
RIVALS = ("conformer_kernel", "conv_transformer", "pro_scale")
STREAMING = ("augmented_memory", *BASELINES, *RIVALS)
SMALL: dict[str, Any] = {
    "dim": 8, "heads": 2, "feedforward_dim": 12, "layers": 2, "dropout": 0.0, "frontend_channels": (2, 2),
    "left_context": 0.12, "centre": 0.16, "right_context": 0.08,
}  # fmt: skip
OWN: dict[str, dict[str, Any]] = {"pro_scale": {"left_context": 0.16, "frame_schedule": (0.02, 0.08)}}
SCHEDULES = {2: [(1,), (1, 2, 4), (2, 6)], 3: [(3,), (1, 3), (1, 6)], 4: [(4, 8), (1, 2), (2, 8), (1, 4, 12)]}


def small_config(kind: Any = "augmented_memory", **options: Any) -> EncoderConfig:
    """A small config of an encoder, without the options that the encoder or its kind of memory does not have."""
    chosen = SMALL | OWN.get(kind, {}) | options
    chosen = {name: value for name, value in chosen.items() if name not in ENCODERS[kind].excluded}
    memory = MEMORIES[chosen.get("memory", "slots")]
    chosen = {name: value for name, value in chosen.items() if name not in memory.excluded}
    if chosen.get("memory_slots") == 0:
        chosen["memory_slots"] = memory.least_slots
    return EncoderConfig(type=kind, **chosen)


@st.composite
def configs(draw: st.DrawFn, types: tuple[str, ...] = ("augmented_memory",)) -> EncoderConfig:
    """Small encoders with all options of the model, zero contexts included."""
    kind = draw(st.sampled_from(types))
    subsampling = draw(st.sampled_from([2, 3, 4]))
    schedule = draw(st.sampled_from(SCHEDULES[subsampling])) if kind == "pro_scale" else (1,)
    frame = SHIFT * max(subsampling, schedule[-1])
    heads = draw(st.sampled_from([1, 2]))
    layers = draw(st.integers(2 if kind == "conv_transformer" else len(schedule), 3))
    return small_config(
        kind,
        dim=8 * heads, heads=heads, layers=layers, subsampling=subsampling, frontend_channels=(2, 3),
        left_context=draw(st.integers(0, 5)) * frame,
        centre=draw(st.integers(1, 4)) * frame,
        right_context=draw(st.integers(0, 3)) * frame,
        frame_schedule=tuple(SHIFT * length for length in schedule),
        memory=draw(st.sampled_from(list(MEMORIES))),
        memory_slots=draw(st.sampled_from([None, 0, 1, 2])),
        summary_sees_memory=draw(st.booleans()),
        slot_content=draw(st.sampled_from(["attention", "mean"])),
        slot_squash=draw(st.sampled_from(["none", "tanh"])),
        weak_attention_suppression=draw(st.sampled_from([None, 0.5])),
        convolution_kernel=draw(st.sampled_from([0, 3, 5])),
        third_layer_norm=draw(st.booleans()),
        key_value_ranks=draw(st.sampled_from([(), (5, 2, 3)[:layers]])),
        activation=draw(st.sampled_from(["gelu", "relu", "silu"])),
    )  # fmt: skip


def random_encoder(config: EncoderConfig, dtype: torch.dtype = torch.float64) -> Encoder:
    """An encoder for evaluation, whose biases and norms are random too: with zeros and ones some errors would have no
    effect."""
    torch.manual_seed(1)
    encoder = build_encoder(config, FEATURES, SHIFT).to(dtype)
    for parameter in encoder.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return encoder.eval()
