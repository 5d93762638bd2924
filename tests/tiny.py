"""A lang of two words and its graphs, made by the real stages in a second, for tests that need a whole system."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from augmem.decoding import Scales
from augmem.encoder import EncoderConfig
from augmem.features import FeatureConfig
from augmem.graph import GraphConfig, prepare_graphs
from augmem.lang import Lang, LangConfig, LmConfig, prepare_lang, prepare_language_models
from augmem.model import AcousticModel, ModelDescription
from augmem.streaming import write_package

RATE = 16000
ENCODER = EncoderConfig(
    dim=16, heads=2, feedforward_dim=16, layers=2, frontend_channels=(2, 2), left_context=0.16, centre=0.32,
    right_context=0.08,
)  # fmt: skip
TEXTS = ["ONE TWO", "TWO ONE ONE", "TWO", "ONE"]


def make_lang_and_graphs(root: Path) -> tuple[Path, Path]:
    """The lang folder and the graph folder."""
    (root / "lexicon.txt").write_text("<UNK> SPN\n!SIL SIL\nONE W AH N\nTWO T UW\n")
    prepare_lang(LangConfig(lexicon=str(root / "lexicon.txt"), g2p="none"), TEXTS, root / "lang")
    prepare_language_models(LmConfig(), TEXTS, {"dev": TEXTS}, root / "lang", root / "lm")
    prepare_graphs(GraphConfig(phone_lm_histories=5), root / "lang", root / "lm", TEXTS, root / "graphs")
    return root / "lang", root / "graphs"


def make_package(root: Path) -> Path:
    """A packaged random model, whose output is sharp enough for words to come and go."""
    lang, graphs = make_lang_and_graphs(root)
    units, features = Lang.load(lang), FeatureConfig()
    description = ModelDescription(
        ENCODER, features.num_mel_bins, features.frame_shift, units.num_units, units.content_hash,
        features=asdict(features),
    )  # fmt: skip
    torch.manual_seed(3)
    model = AcousticModel(description)
    model.output.weight.data *= 20
    model.save(root / "model.pt")
    write_package(root / "out", root / "model.pt", lang, graphs / "HLG.pt", Scales(1.0, 0.0), "card", "licence", {})
    return root / "out"


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise at 16 kHz whose loudness changes every now and then."""
    random = np.random.default_rng(seed)
    loudness = np.repeat(random.uniform(0.001, 0.5, int(seconds * 10) + 1), RATE // 10)[: int(seconds * RATE)]
    return (loudness * random.normal(size=len(loudness)).clip(-2, 2) / 2).astype(np.float32)
