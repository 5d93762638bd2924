"""Validation of the options of training."""

from __future__ import annotations

import pytest

from augmem.errors import UserError
from augmem.training import TrainingConfig


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "training.epochs is 0; it must be at least 1"),
        ({"warmup_steps": -1}, "training.warmup_steps is -1; it must be at least 0"),
        ({"learning_rate": 0.0}, "training.learning_rate is 0.0; it must be positive"),
        ({"ctc_floor": 1.5}, "training.ctc_floor is 1.5; it must be between 0 and 1"),
        (
            {"memory_gradient_slots": 5},
            "training.memory_gradient_slots is 5; it must be 0 unless training.batches.session_cuts and",
        ),
        ({"objective_slices": 0}, "training.objective_slices is 0; it must be at least 1"),
        ({"max_steps": 0}, "training.max_steps is 0; it must be null or at least 1"),
        (
            {"checkpoint_averaging": "mean"},
            "training.checkpoint_averaging is 'mean'; it must be one of last, best, running",
        ),
    ],
)
def test_an_invalid_value_is_refused_with_its_option_path(changes: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TrainingConfig(**changes)  # type: ignore[arg-type]
