"""Make one folder of a trained model, for `augmem transcribe` and for programs: weights, lang, graph, model card."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from augmem.stages import Experiment


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which model, and where to."""
    parser.add_argument("--exp", type=Path, required=True, help="the experiment's folder")
    parser.add_argument("--output", type=Path, required=True, help="the package's folder")


def run(arguments: argparse.Namespace) -> int:
    """Write the package; print where it lies."""
    from augmem.decoding import FIRST_PASS, load_scales
    from augmem.scoring import provenance
    from augmem.stages import TUNED_FILE, Experiment
    from augmem.streaming import write_package

    experiment = Experiment.load(arguments.exp)
    scales = load_scales(experiment.decoding / TUNED_FILE)[FIRST_PASS]
    write_package(
        arguments.output, experiment.model, experiment.lang, experiment.graphs / "HLG.pt", scales,
        model_card(experiment), LICENCE, provenance(),
    )  # fmt: skip
    print(f"wrote {arguments.output}")
    return 0


LICENCE = """\
The code that made this model is under the Apache License 2.0. The weights and graphs were learnt from the speech and
text that README.md names: whoever gives them away must keep to the terms of those.
"""


def model_card(experiment: Experiment) -> str:
    """What the model is, what it was trained on, and how well it does."""
    from augmem.model import AcousticModel

    recipe, parts = experiment.recipe, experiment.parts
    model = AcousticModel.load(experiment.model, experiment.lang)
    encoder, size = model.encoder, sum(parameter.numel() for parameter in model.parameters())
    wer = experiment.scores / "wer.txt"
    table = wer.read_text(encoding="utf-8").splitlines() if wer.exists() else ["not scored"]
    return f"""\
# {experiment.root.name}

- encoder: {recipe.encoder.type}, {size:,} parameters, look-ahead {encoder.look_ahead:.2f} s, average latency
  {encoder.average_latency:.2f} s
- hears {recipe.features.sampling_rate} Hz, scores {model.description.num_units} units ({recipe.lang.units})
- trained on {", ".join(parts.train)} of corpus {recipe.corpus.recipe}, tuned on {", ".join(parts.dev)}
- further text: {", ".join(recipe.lm.extra_text) or "none"}

Word error rates, with 95 % bootstrap intervals, decoded offline:

{chr(10).join(f"    {line}" for line in table)}
"""
