"""Every encoder of the registry can be built; baselines have the size of the transformer of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from augmem.encoder import ENCODERS, EncoderConfig, build_encoder
from tests.encoder.small import RIVALS, small_config


@pytest.mark.parametrize("kind", ENCODERS)
def test_every_encoder_of_the_registry_can_be_built(kind: Any) -> None:
    hidden, lengths = build_encoder(small_config(kind), 5, 0.01)(torch.randn(2, 40, 5), torch.tensor([40, 17]))
    assert hidden.shape == (2, 10, 8) and lengths.tolist() == [10, 5]


@pytest.mark.parametrize("recipe", sorted(Path("conf").glob("*.yaml")), ids=lambda path: path.stem)
def test_baselines_have_the_same_size(recipe: Path) -> None:
    """Without convolutions, which two baselines do not have, all types agree within 1 %."""
    small = {"convolution_kernel": 0, "layers": 1, "iterated_loss_layers": ()}
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


@pytest.mark.parametrize("kind", RIVALS)
def test_rivals_have_the_size_of_the_transformer_with_convolutions(kind: Any) -> None:
    """In the recipe of mini LibriSpeech, with another type alone: to within 1 %."""
    chosen = yaml.safe_load(Path("conf/mini_librispeech.yaml").read_text())["encoder"]

    def size(**options: Any) -> int:
        return sum(p.numel() for p in build_encoder(EncoderConfig(**chosen | options), 80, 0.01).parameters())

    assert size(type=kind) == pytest.approx(size(), rel=0.01)
