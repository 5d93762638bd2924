"""Package the trained model of an experiment (see `augmem.streaming.package` for the format)."""

from __future__ import annotations

import tempfile
from pathlib import Path

from augmem.decoding import FIRST_PASS, TUNED_FILE, Scales, SearchConfig, load_systems
from augmem.experiment import Experiment
from augmem.features import FeatureConfig
from augmem.graph import HLG_FILE
from augmem.lang import Lang
from augmem.low_rank import LowRank, reduce_rank
from augmem.model import AcousticModel
from augmem.scoring import provenance
from augmem.stage_runner import check_outputs
from augmem.streaming import Package, PackageInfo, write_package

LICENSE_TEXT = """\
The code that made this model is under the Apache License 2.0. The weights and graphs were trained on the speech and
text that README.md lists; their terms apply to redistribution.
"""


def package_model(
    experiment: Experiment, output: Path, search: SearchConfig | None = None, low_rank: LowRank | None = None
) -> None:
    """Write the trained model of an experiment as one self-contained folder.

    Args:
        experiment: a trained and decoded experiment.
        output: the folder to write; an existing package is replaced.
        search: search options; None selects those of the recipe.
        low_rank: ranks of the key and value projections; None leaves the model as it is.

    Raises:
        FileNotFoundError: the experiment has not been trained or decoded.
        UserError: `output` exists and is not a package, a file has changed since its stage wrote it, or the model has
            no such projections.
    """
    scales, chosen = read_scales(experiment), search or experiment.recipe.decoding.search
    model = read_model(experiment, low_rank)
    info = PackageInfo(scales, chosen, model_card(experiment, model), LICENSE_TEXT, provenance(), experiment.grammar)
    with tempfile.TemporaryDirectory() as temporary:
        path = experiment.model
        if low_rank:
            path = Path(temporary) / path.name
            model.save(path)
        write_package(output, path, experiment.lang, experiment.graphs / HLG_FILE, info)


def read_model(experiment: Experiment, low_rank: LowRank | None = None) -> AcousticModel:
    """Read the trained model of an experiment; raises as `package_model` does."""
    model = AcousticModel.load(experiment.model, experiment.lang)
    return reduce_rank(model, low_rank) if low_rank else model


def read_scales(experiment: Experiment) -> Scales:
    """Return the scales of the first pass; raises as `package_model` does."""
    check_outputs(experiment.model, experiment.lang, experiment.graphs, experiment.decoding / TUNED_FILE)
    return load_systems(experiment.decoding / TUNED_FILE)[FIRST_PASS].scales


def read_experiment(root: Path) -> Package:
    """Read what `package_model` would package; raises as it does."""
    experiment = Experiment.load(root)
    scales = read_scales(experiment)
    model = read_model(experiment)
    features = FeatureConfig(**model.description.features)
    graph, search = experiment.graphs / HLG_FILE, experiment.recipe.decoding.search
    return Package(model, Lang.load(experiment.lang), graph, features, scales, search)


def model_card(experiment: Experiment, model: AcousticModel) -> str:
    """Describe a model: its encoder, its training data and its word error rates."""
    recipe, parts = experiment.recipe, experiment.parts
    encoder, size = model.encoder, sum(parameter.numel() for parameter in model.parameters())
    wer = experiment.scores / "wer.txt"
    table = wer.read_text(encoding="utf-8").splitlines() if wer.exists() else ["not scored"]
    ranks = encoder.config.key_value_ranks
    truncated = f", before its keys and values got the ranks {', '.join(map(str, ranks))} by layer" if ranks else ""
    return f"""\
# {experiment.root.name}

- encoder: {recipe.encoder.type}, {size:,} parameters, look-ahead {encoder.look_ahead:.2f} s, average latency
  {encoder.average_latency:.2f} s
- input: {recipe.features.sampling_rate} Hz audio; output: {model.description.num_units} units ({recipe.lang.units})
- trained on {", ".join(parts.train)} of corpus {recipe.corpus.recipe}, tuned on {", ".join(parts.dev)}
- additional text: {", ".join(recipe.lm.extra_text) or "none"}

Word error rates of offline decoding{truncated}, with 95 % bootstrap intervals:

{chr(10).join(f"    {line}" for line in table)}
"""
