"""Draw what a segment of an utterance attends to: memory, left context, centre, right context; each layer and head."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from augmem.experiment import Experiment


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which model, which speech, which segment, and where the picture goes."""
    parser.add_argument("--exp", type=Path, required=True, help="the experiment's folder")
    speech = parser.add_mutually_exclusive_group(required=True)
    speech.add_argument("--utterance", metavar="ID", help="an utterance of the experiment's corpus")
    speech.add_argument("--audio", type=Path, metavar="FILE", help="any other speech")
    parser.add_argument("--segment", type=int, metavar="N", help="its number, from 1 (the last one)")
    parser.add_argument("--output", type=Path, required=True, metavar="PNG", help="the picture")


def run(arguments: argparse.Namespace) -> int:
    """Write the picture; print where it lies and how attention is shared in each layer."""
    from augmem.corpus import features_of_file
    from augmem.experiment import Experiment
    from augmem.files import atomic_path
    from augmem.model import AcousticModel
    from augmem.pictures import segment_attention
    from augmem.scoring import group_shares, plot_heads

    experiment = Experiment.load(arguments.exp)
    model = AcousticModel.load(experiment.model, experiment.lang)
    features = (
        features_of_file(arguments.audio, experiment.recipe.features)
        if arguments.audio
        else features_of_utterance(experiment, arguments.utterance)
    )
    seen = segment_attention(model, features, None if arguments.segment is None else arguments.segment - 1)
    with atomic_path(arguments.output) as temporary:
        temporary.write_bytes(plot_heads(seen.layers, seen.groups, model.frame_shift))
    print(f"segment {seen.segment + 1}: " + ", ".join(f"{name} {width}" for name, width in seen.groups))
    for number, layer in enumerate(seen.layers, 1):
        shares = zip(seen.groups, group_shares(layer, seen.groups), strict=True)
        print(f"layer {number}: " + ", ".join(f"{name} {share:.1%}" for (name, _), share in shares))
    print(f"wrote {arguments.output}")
    return 0


def features_of_utterance(experiment: Experiment, name: str) -> Tensor:
    """Features (T, F) of an utterance that the features stage stored.

    Raises:
        ValueError: no part of the corpus has it.
    """
    import torch

    from augmem.corpus import load_cuts, stored_features

    for cut in load_cuts(experiment.features, experiment.parts.all(), in_memory=False):
        if cut.id == name:
            return torch.from_numpy(stored_features(cut))
    raise ValueError(f"no utterance {name} in parts {', '.join(experiment.parts.all())}")
