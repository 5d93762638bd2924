"""Plot the attention of a segment to memory bank, left context, centre and right context, by layer and head."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from augmem.experiment import Experiment


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add options for model, utterance, segment and output."""
    parser.add_argument("--exp", type=Path, required=True, help="experiment folder")
    speech = parser.add_mutually_exclusive_group(required=True)
    speech.add_argument("--utterance", metavar="ID", help="utterance of the corpus of the experiment")
    speech.add_argument("--audio", type=Path, metavar="FILE", help="other audio file")
    parser.add_argument("--segment", type=int, metavar="N", help="number of the segment, from 1 (default: the last)")
    parser.add_argument("--output", type=Path, required=True, metavar="PNG", help="file of the plot")


def run(arguments: argparse.Namespace) -> int:
    """Write the plot; print the share of attention of each group in each layer."""
    from augmem.attention_plots import segment_attention
    from augmem.corpus import features_of_file
    from augmem.experiment import Experiment
    from augmem.files import atomic_path
    from augmem.model import AcousticModel
    from augmem.scoring import group_shares, plot_heads
    from augmem.stage_runner import check_outputs

    experiment = Experiment.load(arguments.exp)
    check_outputs(experiment.model, experiment.lang)
    model = AcousticModel.load(experiment.model, experiment.lang)
    features = (
        features_of_file(arguments.audio, experiment.recipe.features)
        if arguments.audio
        else features_of_utterance(experiment, arguments.utterance)
    )
    attention = segment_attention(model, features, None if arguments.segment is None else arguments.segment - 1)
    with atomic_path(arguments.output) as temporary:
        temporary.write_bytes(plot_heads(attention.layers, attention.groups, model.frame_shift))
    print(f"segment {attention.segment + 1}: " + ", ".join(f"{name} {width}" for name, width in attention.groups))
    for number, layer in enumerate(attention.layers, 1):
        shares = zip(attention.groups, group_shares(layer, attention.groups), strict=True)
        print(f"layer {number}: " + ", ".join(f"{name} {share:.1%}" for (name, _), share in shares))
    print(f"wrote {arguments.output}")
    return 0


def features_of_utterance(experiment: Experiment, name: str) -> Tensor:
    """Load the stored features (T, F) of an utterance.

    Raises:
        UserError: no part of the corpus has it.
    """
    import torch

    from augmem.corpus import load_cuts, stored_features
    from augmem.errors import UserError

    for cut in load_cuts(experiment.features, experiment.parts.all(), in_memory=False):
        if cut.id == name:
            return torch.from_numpy(stored_features(cut))
    raise UserError(f"no utterance {name} in parts {', '.join(experiment.parts.all())}")
