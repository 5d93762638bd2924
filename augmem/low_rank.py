"""Smaller key and value projections of a trained model, see `augmem.encoder.low_rank`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from augmem.encoder import choose_ranks, truncate
from augmem.errors import UserError
from augmem.model import AcousticModel

_PROJECTION = "encoder.layers.{}.attention.key_value"


@dataclass(frozen=True)
class LowRank:
    """Ranks of the key and value projections as shares of encoder.dim; those between follow from the weights.

    Args:
        first: share of the first layer, the most sensitive one.
        last: share of the last layer.

    Raises:
        UserError: a share is out of range.

    Example:
        >>> LowRank(0.5, 0.25).first
        0.5
    """

    first: float
    last: float

    def __post_init__(self) -> None:
        if not 0 < self.last <= self.first <= 1:
            raise UserError(
                f"--low-rank {self.first:g} {self.last:g}: must be the shares of the first and of the last layer, "
                "above 0 and at most 1, the first one not below the last, such as 0.5 0.25"
            )


def reduce_rank(model: AcousticModel, low_rank: LowRank) -> AcousticModel:
    """Return a model whose key and value projections have low rank; with full rank, the model itself.

    Args:
        model: a trained model.
        low_rank: shares of the ranks.

    Raises:
        UserError: the encoder has no such projections, or they have low rank already.
    """
    config, weights = model.description.encoder, model.state_dict()
    names = [_PROJECTION.format(layer) for layer in range(config.layers)]
    if config.key_value_ranks or any(f"{name}.weight" not in weights for name in names):
        fault = "have low rank already" if config.key_value_ranks else f"do not exist: encoder.type {config.type}"
        raise UserError(f"--low-rank: the key and value projections of this model {fault}; package it without")
    ranks = choose_ranks([weights[f"{name}.weight"] for name in names], low_rank.first, low_rank.last)
    if min(ranks) == config.dim:
        return model
    for name, rank in zip(names, ranks, strict=True):
        parts = truncate(weights.pop(f"{name}.weight"), weights.pop(f"{name}.bias"), rank)
        weights |= {f"{name}.{part}": value for part, value in parts.items()}
    description = replace(model.description, encoder=replace(config, key_value_ranks=ranks))
    reduced = AcousticModel(description).to(model.output.weight.dtype)
    reduced.load_state_dict(weights)
    return reduced.eval()
