"""A lang folder with two words, its graphs and a random model, for tests that need a whole system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from augmem.automata import prepare_decoding_graph, prepare_training_graphs
from augmem.decoding import Scales
from augmem.encoder import EncoderConfig
from augmem.features import FeatureConfig
from augmem.graph import HLG_FILE, GraphConfig
from augmem.lang import Lang, LangConfig, LmConfig, prepare_lang, prepare_language_models
from augmem.model import AcousticModel, ModelDescription
from augmem.streaming import PackageInfo, write_package

RATE = 16000
ENCODER = EncoderConfig(
    dim=16, heads=2, feedforward_dim=16, layers=2, frontend_channels=(2, 2), left_context=0.16, centre=0.32,
    right_context=0.08,
)  # fmt: skip
TEXTS = ["ONE TWO", "TWO ONE ONE", "TWO", "ONE"]
DEV_TEXTS = ["ONE TWO ONE TWO ONE"]


def make_lang_and_graphs(root: Path) -> tuple[Path, Path]:
    """Run the lang, lm and graphs stages; return the lang folder and the graph folder."""
    (root / "lexicon.txt").write_text("<UNK> SPN\n!SIL SIL\nONE W AH N\nTWO T UW\n")
    prepare_lang(LangConfig(lexicon=str(root / "lexicon.txt"), g2p="none"), TEXTS, root / "lang")
    prepare_language_models(LmConfig(), TEXTS, {"dev": TEXTS}, root / "lang", root / "lm")
    (root / "graphs").mkdir()
    prepare_training_graphs(
        GraphConfig(phone_lm_histories=5), root / "lang", TEXTS, root / "graphs", dev_texts=DEV_TEXTS
    )
    prepare_decoding_graph("ctc", (), root / "lang", root / "lm" / "first_pass.fst.txt", root / "graphs")
    return root / "lang", root / "graphs"


def make_package(root: Path) -> Path:
    """Package a random model; its output weights are multiplied by 20, so that it recognises words."""
    lang, graphs = make_lang_and_graphs(root)
    units, features = Lang.load(lang), FeatureConfig()
    description = ModelDescription(
        ENCODER, features.num_mel_bins, features.frame_shift, units.num_units, units.units_hash,
        features=asdict(features),
    )  # fmt: skip
    torch.manual_seed(3)
    model = AcousticModel(description)
    model.output.weight.data *= 20
    model.save(root / "model.safetensors")
    write_package(root / "out", root / "model.safetensors", lang, graphs / HLG_FILE, PackageInfo(Scales(1.0, 0.0)))
    return root / "out"


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise at 16 kHz whose loudness changes every 0.1 s."""
    random = np.random.default_rng(seed)
    loudness = np.repeat(random.uniform(0.001, 0.5, int(seconds * 10) + 1), RATE // 10)[: int(seconds * RATE)]
    return (loudness * random.normal(size=len(loudness)).clip(-2, 2) / 2).astype(np.float32)


def white_noise(length: int) -> np.ndarray:
    """Noise of constant loudness, (length,)."""
    return np.random.default_rng(length).uniform(-0.5, 0.5, length).astype(np.float32)


def split_packets(samples: np.ndarray, sizes: Sequence[int]) -> list[np.ndarray]:
    """Split samples into packets of these sizes, used in turn."""
    if not len(samples):
        return []
    ends = np.cumsum([sizes[n % len(sizes)] for n in range(len(samples) // min(sizes) + 1)])
    return [packet for packet in np.split(samples, ends[ends < len(samples)]) if len(packet)]
