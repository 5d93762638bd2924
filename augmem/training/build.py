"""Build a trainer from an experiment's folders."""

from __future__ import annotations

from pathlib import Path

import torch
from lhotse import CutSet

from augmem.corpus import feature_statistics
from augmem.lang import Lang
from augmem.model import ModelDescription, check_units
from augmem.training.config import TrainingConfig
from augmem.training.distributed import DistributedContext, check_distributed
from augmem.training.initial import initial_model
from augmem.training.objective import Objective
from augmem.training.trainer import Trainer


def build_trainer(
    config: TrainingConfig,
    description: ModelDescription,
    lang_dir: Path,
    graph_dir: Path,
    train_cuts: CutSet,
    dev_cuts: CutSet,
    output: Path,
    context: DistributedContext | None = None,
) -> Trainer:
    """Create a model, its objective and their trainer.

    Args:
        config: options of training.
        description: description of the model to train.
        lang_dir: lang folder of the description.
        graph_dir: results of the graphs stage for training.
        train_cuts, dev_cuts: cuts with features and one supervision each.
        output: folder of the run.
        context: rank, world size and device; read from torchrun's environment by default.

    Raises:
        UserError: the settings do not fit the device, the world size, the encoder, the lang folder or the graphs.
    """
    context = context or DistributedContext.from_environment(config.device)
    check_distributed(config, context)
    check_units(description, lang_dir, output)
    objective = Objective(Lang.load(lang_dir), graph_dir, description, config)
    torch.manual_seed(config.seed)
    model = initial_model(config, description, feature_statistics(train_cuts))
    return Trainer(config, model, objective, train_cuts, dev_cuts, output, context)
