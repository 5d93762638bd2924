"""Options of training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from augmem.corpus import BatchConfig
from augmem.errors import UserError, check_option


@dataclass(frozen=True)
class TrainingConfig:
    """Options of training.

    Args:
        epochs: passes over the training data.
        max_steps: stop after this many steps, for dry runs; null: no limit.
        batches: how utterances are batched and augmented.
        accumulate: batches per step, in all processes together; must be a multiple of the number of processes. The
            result does not depend on the number of processes.
        precision: number format of the encoder under autocast: "bfloat16", or on GPUs "float16" with loss scaling. The
            objective is always computed in float32.
        init_from: folder of an experiment or a package whose weights training starts from, for fine-tuning; its units,
            encoder and features are kept. null: random weights.
        frozen_layers: number of the lowest encoder layers that keep the weights of `init_from`, together with the front
            end; 0: all weights are trained.
        learning_rate: peak of the schedule.
        schedule: decay after the warm-up: "cosine" falls to `min_lr_ratio` of the peak at the last step; "noam" falls
            with the inverse square root of the step.
        warmup_steps: steps during which the learning rate rises linearly from zero.
        min_lr_ratio: final learning rate of "cosine" divided by the peak.
        weight_decay: weight decay of AdamW; biases and normalisation layers are exempt.
        adam_betas: decay rates of AdamW's averages of the gradient and its square.
        clip: maximum norm of the gradient per frame; larger gradients are scaled down to it.
        ctc_epochs: epochs of pure CTC at the start.
        hand_over_epochs: epochs during which the loss moves smoothly from CTC to LF-MMI.
        ctc_floor: share of CTC in the loss after the hand-over; 1: CTC only.
        den_scale: weight of the LF-MMI denominator.
        boost: factor b of boosted MMI, such as 0.1; 0: plain LF-MMI.
        objective_slices: slices of the utterances of a batch in which the output layer and the objective are computed,
            one after the other with its gradient, to store the values of one slice at a time (arXiv 2407.15892); 1 =
            all at once.
        memory_gradient_slots: newest slots of a memory bank through which gradients flow from an utterance into the
            earlier ones of its session, within the `accumulate` consecutive utterances of a step (compare UIO-LLMs,
            arXiv 2406.18173); through a memory of constant size they flow as a whole. 0: the memory of earlier
            utterances is a constant.
        iterated_loss: weight of the loss on each of encoder.iterated_loss_layers (arXiv 1910.10324).
        alignment: file of forced alignments (written by augmem align --labels): trains with cross-entropy instead of
            CTC; null: CTC.
        checkpoint_averaging: how the model is averaged: over the "last" epochs, over the "best" epochs by dev loss
            (after the hand-over), or a "running" average over all steps.
        average_epochs: number of epochs averaged.
        running_average: decay of the running average per step.
        patience: stop when the dev loss has not improved for this many epochs; null: never.
        seed: random seed of initial weights and dropout; batches have `batches.seed`.
        device: "auto" selects a GPU if there is one.
        checkpoint_every: steps between checkpoints; each epoch ends with one too.
        keep_checkpoints: number of newest checkpoints to keep.
        log_every: steps between lines of log.jsonl.
        max_nonfinite: maximum number of consecutive steps that are skipped because of a non-finite loss or gradient;
            after more, training fails.
    """

    epochs: int = 20
    max_steps: int | None = None
    batches: BatchConfig = field(default_factory=BatchConfig)
    accumulate: int = 1
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    init_from: str | None = None
    frozen_layers: int = 0
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
    objective_slices: int = 1
    memory_gradient_slots: int = 0
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
        for name in _AT_LEAST_ONE:
            self._check(name, getattr(self, name) >= 1, "at least 1")
        for name in _NOT_NEGATIVE:
            self._check(name, getattr(self, name) >= 0, "at least 0")
        for name in _POSITIVE:
            self._check(name, getattr(self, name) > 0, "positive")
        for name in _RATIOS:
            self._check(name, 0 <= getattr(self, name) <= 1, "between 0 and 1")
        for name in _OPTIONAL:
            self._check(name, getattr(self, name) is None or getattr(self, name) >= 1, "null or at least 1")
        self._check("frozen_layers", self.init_from is not None or not self.frozen_layers, "0 without init_from")
        shared = self.batches.session_cuts > 1 and self.accumulate > 1
        rule = "0 unless training.batches.session_cuts and training.accumulate are above 1"
        self._check("memory_gradient_slots", shared or not self.memory_gradient_slots, rule)
        for name, choices in _CHOICES.items():
            self._check(name, getattr(self, name) in choices, f"one of {', '.join(choices)}")

    @property
    def uses_mmi(self) -> bool:
        """Whether LF-MMI ever has a share in the loss."""
        return self.ctc_floor < 1 and self.epochs > self.ctc_epochs

    @property
    def shared_batches(self) -> int:
        """Batches of a step that processes can share."""
        return 1 if self.memory_gradient_slots else self.accumulate

    def check_processes(self, number: int) -> None:
        """Check that each process gets a batch in each step.

        Raises:
            UserError: `accumulate` is not a multiple of the number of processes, or utterances of a session that
                share gradients would be computed by several.
        """
        if number > 1 and self.memory_gradient_slots:
            raise UserError(
                f"training.memory_gradient_slots is {self.memory_gradient_slots}, which needs one process, not "
                f"{number}: give --processes 1, or set it to 0"
            )
        if self.accumulate % number:
            raise UserError(
                f"training.accumulate is {self.accumulate}, which {number} processes cannot share equally; "
                f"set it to a multiple of {number}"
            )

    def _check(self, name: str, condition: bool, rule: str) -> None:
        check_option(f"training.{name}", getattr(self, name), condition, f"be {rule}")


_AT_LEAST_ONE = (
    "epochs", "accumulate", "average_epochs", "checkpoint_every", "keep_checkpoints", "log_every", "objective_slices",
)  # fmt: skip
_NOT_NEGATIVE = (
    "frozen_layers", "warmup_steps", "weight_decay", "ctc_epochs", "hand_over_epochs", "max_nonfinite", "boost",
    "iterated_loss", "memory_gradient_slots",
)  # fmt: skip
_POSITIVE = ("learning_rate", "clip", "den_scale")
_RATIOS = ("min_lr_ratio", "ctc_floor", "running_average")
_OPTIONAL = ("max_steps", "patience")
_CHOICES = {
    "precision": ("float32", "bfloat16", "float16"),
    "schedule": ("cosine", "noam"),
    "checkpoint_averaging": ("last", "best", "running"),
}
