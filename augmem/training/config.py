"""Settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from augmem.corpus import BatchConfig


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of a training run.

    Args:
        epochs: passes over the training data.
        max_steps: stop after this many updates, whatever the epochs; null: never. For dry runs.
        batches: how utterances are grouped and augmented.
        accumulate: batches of an update, over all processes; a multiple of their number. However many processes share
            them, the update is the same.
        precision: "bfloat16" has the encoder compute in it where that is safe; the objective is always in float32.
        learning_rate: peak of the schedule.
        schedule: what follows the warm-up: "cosine" falls to `final_learning_rate` at the last step; "noam" falls
            with the inverse square root of the step.
        warmup_steps: updates during which the learning rate rises linearly from zero.
        final_learning_rate: where "cosine" ends, as a share of the peak.
        weight_decay: AdamW's; biases and normalisation layers are exempt.
        adam_betas: AdamW's running averages of gradient and squared gradient.
        clip: largest norm of the gradient per frame; longer ones are shortened to it.
        ctc_epochs: epochs of pure CTC at the start.
        hand_over_epochs: epochs over which the weight moves smoothly from CTC to LF-MMI.
        ctc_floor: share of CTC that stays in the loss after the hand-over; 1 trains with CTC alone.
        den_scale: weight of the LF-MMI denominator.
        average_last: `model.pt` is the mean of this many last epochs.
        seed: of weights and dropout (batches have their own).
        device: "auto" takes a GPU if there is one.
        checkpoint_every: updates between checkpoints (there is one at each epoch's end too).
        keep_checkpoints: newest checkpoints kept for resuming.
        log_every: updates between lines of log.jsonl.
        max_nonfinite: updates in a row with a non-finite loss or gradient that are skipped before giving up.
    """

    epochs: int = 20
    max_steps: int | None = None
    batches: BatchConfig = field(default_factory=BatchConfig)
    accumulate: int = 1
    precision: Literal["float32", "bfloat16"] = "float32"
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "noam"] = "cosine"
    warmup_steps: int = 300
    final_learning_rate: float = 0.02
    weight_decay: float = 0.01
    adam_betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 5.0
    ctc_epochs: float = 4.0
    hand_over_epochs: float = 1.0
    ctc_floor: float = 0.0
    den_scale: float = 1.0
    average_last: int = 5
    seed: int = 1
    device: str = "auto"
    checkpoint_every: int = 200
    keep_checkpoints: int = 2
    log_every: int = 10
    max_nonfinite: int = 10

    def __post_init__(self) -> None:
        for name in ["epochs", "accumulate", "average_last", "checkpoint_every", "keep_checkpoints", "log_every"]:
            self._demand(name, getattr(self, name) >= 1, "at least 1")
        for name in ["warmup_steps", "weight_decay", "ctc_epochs", "hand_over_epochs", "max_nonfinite"]:
            self._demand(name, getattr(self, name) >= 0, "not negative")
        for name in ("learning_rate", "clip", "den_scale"):
            self._demand(name, getattr(self, name) > 0, "positive")
        for name in ("final_learning_rate", "ctc_floor"):
            self._demand(name, 0 <= getattr(self, name) <= 1, "between 0 and 1")
        self._demand("precision", self.precision in ("float32", "bfloat16"), "float32 or bfloat16")
        self._demand("max_steps", self.max_steps is None or self.max_steps >= 1, "null or at least 1")

    def _demand(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ValueError(f"training.{name} is {getattr(self, name)}; it must be {rule}")
