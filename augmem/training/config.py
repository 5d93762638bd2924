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
        precision: the encoder computes in it where that is safe: "bfloat16", or on GPUs "float16" with a scaled loss;
            the objective is always in float32.
        learning_rate: peak of the schedule.
        schedule: what follows the warm-up: "cosine" falls to `min_lr_ratio` at the last step; "noam" falls
            with the inverse square root of the step.
        warmup_steps: updates during which the learning rate rises linearly from zero.
        min_lr_ratio: where "cosine" ends, as a share of the peak.
        weight_decay: AdamW's; biases and normalisation layers are exempt.
        adam_betas: AdamW's running averages of gradient and squared gradient.
        clip: largest norm of the gradient per frame; longer ones are shortened to it.
        ctc_epochs: epochs of pure CTC at the start.
        hand_over_epochs: epochs over which the weight moves smoothly from CTC to LF-MMI.
        ctc_floor: share of CTC that stays in the loss after the hand-over; 1 trains with CTC alone.
        den_scale: weight of the LF-MMI denominator.
        boost: b of boosted MMI, 0.1 or so; 0 is plain LF-MMI.
        iterated_loss: weight of the same objective on each of encoder.iterated_loss_layers (arXiv 1910.10324).
        alignment: a file of forced alignments (augmem align --labels): cross-entropy to them takes CTC's place; null:
            CTC.
        checkpoint_averaging: how `model.pt` is averaged: over the "last" epochs, over the "best" epochs by dev loss
            (after the hand-over), or a "running" average over all updates.
        average_epochs: number of epochs averaged.
        running_average: what one update keeps of the running average.
        patience: stop when so many epochs in a row have not improved the dev loss; null: never.
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
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "noam"] = "cosine"
    warmup_steps: int = 300
    min_lr_ratio: float = 0.02
    weight_decay: float = 0.01
    adam_betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 5.0
    ctc_epochs: float = 4.0
    hand_over_epochs: float = 1.0
    ctc_floor: float = 0.0
    den_scale: float = 1.0
    boost: float = 0.0
    iterated_loss: float = 0.3
    alignment: str | None = None
    checkpoint_averaging: Literal["last", "best", "running"] = "last"
    average_epochs: int = 5
    running_average: float = 0.999
    patience: int | None = None
    seed: int = 1
    device: str = "auto"
    checkpoint_every: int = 200
    keep_checkpoints: int = 2
    log_every: int = 10
    max_nonfinite: int = 10

    def __post_init__(self) -> None:
        for name in ["epochs", "accumulate", "average_epochs", "checkpoint_every", "keep_checkpoints", "log_every"]:
            self._demand(name, getattr(self, name) >= 1, "at least 1")
        for name in [
            "warmup_steps",
            "weight_decay",
            "ctc_epochs",
            "hand_over_epochs",
            "max_nonfinite",
            "boost",
            "iterated_loss",
        ]:
            self._demand(name, getattr(self, name) >= 0, "not negative")
        for name in ("learning_rate", "clip", "den_scale"):
            self._demand(name, getattr(self, name) > 0, "positive")
        for name in ("min_lr_ratio", "ctc_floor", "running_average"):
            self._demand(name, 0 <= getattr(self, name) <= 1, "between 0 and 1")
        for name, choices in _CHOICES.items():
            self._demand(name, getattr(self, name) in choices, f"one of {', '.join(choices)}")
        for name in ("max_steps", "patience"):
            self._demand(name, getattr(self, name) is None or getattr(self, name) >= 1, "null or at least 1")

    def check_processes(self, number: int) -> None:
        """Every process must have a batch in every update.

        Raises:
            ValueError: the batches of an update cannot be shared out evenly.
        """
        if self.accumulate % number:
            raise ValueError(
                f"training.accumulate is {self.accumulate}, which {number} processes cannot share evenly: "
                f"make it a multiple of {number}"
            )

    def _demand(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ValueError(f"training.{name} is {getattr(self, name)}; it must be {rule}")


_CHOICES = {
    "precision": ("float32", "bfloat16", "float16"),
    "schedule": ("cosine", "noam"),
    "checkpoint_averaging": ("last", "best", "running"),
}
