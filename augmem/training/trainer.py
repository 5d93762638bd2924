"""The training loop: forward, backward, update, log, save."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from lhotse import CutSet
from torch import Tensor

from augmem.corpus import Batch, num_batches, training_batches
from augmem.errors import UserError
from augmem.model import AcousticModel
from augmem.skipped import SKIPPED_FILE, SkipLog, SkippedUtterance
from augmem.tensors import TensorFormat, flatten_tree, save_tensors
from augmem.training.averaging import RunningAverage, average_models, has_stalled, select_best_epochs
from augmem.training.checkpoint import load_newest_checkpoint, save_checkpoint
from augmem.training.config import TrainingConfig
from augmem.training.distributed import DistributedContext, gradient_sync
from augmem.training.log import StepResult, TrainingLog
from augmem.training.metrics import LossStats, Timer
from augmem.training.objective import BatchLoss, Objective
from augmem.training.optimiser import autocast, make_optimiser, scale_and_clip, seed_batch, set_learning_rate
from augmem.training.schedule import Position, Schedule
from augmem.training.session_memory import make_session_memory
from augmem.training.sliced import make_batch_objective
from augmem.training.validation import validate

logger = logging.getLogger(__name__)

MODEL_FILE = "model.safetensors"
BATCH_FORMAT = TensorFormat("augmem batch 1", "a batch", "train again")


class Trainer:
    """Train a model, in one process or in several.

    A run resumes from the newest checkpoint of its folder and then equals an uninterrupted run. Batch n of an epoch is
    computed by rank n modulo the world size with random numbers that depend on epoch and n alone, and a step
    accumulates `config.accumulate` batches; therefore the result does not depend on the world size either.

    Args:
        config: objective, schedule, batches.
        model: model to train; it is moved to the device.
        objective: loss of a batch.
        train_cuts, dev_cuts: cuts with features and one supervision each.
        output: folder of the run: checkpoints, epoch-N.safetensors, log.jsonl, skipped.tsv and
            model.safetensors.
        context: rank, world size and device.

    Raises:
        UserError: the settings do not fit the device, the world size or the encoder.
    """

    def __init__(
        self,
        config: TrainingConfig,
        model: AcousticModel,
        objective: Objective,
        train_cuts: CutSet,
        dev_cuts: CutSet,
        output: Path,
        context: DistributedContext,
    ) -> None:
        self.config, self.objective, self.output, self.context = config, objective, output, context
        self.train_cuts, self.dev_cuts = train_cuts, dev_cuts
        self.schedule = Schedule(config, [num_batches(train_cuts, config.batches, n) for n in range(config.epochs)])
        self.model = model.to(context.device)
        self.optimiser = make_optimiser(self.model, config)
        self.scaler = make_scaler(config.precision == "float16")
        uses_average = config.checkpoint_averaging == "running"
        self.average = RunningAverage(self.model, config.running_average) if uses_average else None
        self.session_memory = make_session_memory(self.model, config)
        self.batch_objective = make_batch_objective(self.model, objective, config, context.world_size)
        self.network = context.wrap(self.model, scores=self.batch_objective is objective)
        self.position = Position()
        self.dev_losses: dict[int, float] = {}
        self.skips = SkipLog()
        self.nonfinite_steps = 0

    def run(self, max_minutes: float | None = None) -> bool:
        """Resume and train until the end or the time limit; return whether the end was reached.

        Raises:
            UserError: too many steps in a row were not finite, or the checkpoint belongs to another model.
        """
        deadline = math.inf if max_minutes is None else time.time() + 60 * max_minutes
        self.resume()
        if not self.context.is_rank_zero:
            self._train(deadline, None)
            return self.is_finished
        with TrainingLog(self.output, self.config, self.schedule.total_steps, self.position.step) as log:
            self._log_start()
            self._train(deadline, log)
            if not self.is_finished:
                log.log_time_limit(self.position)
        self._write_model()
        self.skips.log("training", len(self.train_cuts) - len(self.skips), self.output / SKIPPED_FILE)
        return self.is_finished

    def _train(self, deadline: float, log: TrainingLog | None) -> None:
        while not self.is_finished and not self.context.any(time.time() >= deadline):
            self.train_epoch(deadline, log)
        self.save_checkpoint()

    @property
    def is_finished(self) -> bool:
        """Whether all steps are made, or early stopping applies."""
        stalled = has_stalled(self.dev_losses, self.config.patience)
        return self.position.step >= self.schedule.total_steps or stalled

    def train_epoch(self, deadline: float, log: TrainingLog | None) -> None:
        """Train to the end of the current epoch or to the deadline; validate and save at the end of the epoch.

        Args:
            deadline: `time.time()` after which no step starts.
            log: log of the run; None on ranks other than 0.
        """
        began, timer, at = time.time(), Timer(), self.position
        steps = self.schedule.steps_of_epoch(at.epoch, at.batch)
        assigned = [number for numbers in steps for number in numbers if self.context.is_assigned(number)]
        cuts, options, pinned = self.train_cuts, self.config.batches, self.context.device.type == "cuda"
        loader = training_batches(cuts, options, at.epoch, assigned, self.config.accumulate, pinned)
        waiting = Timer()
        batches = timer.measure_items("data", waiting.measure_items("data", loader))
        self.model.train()
        if log:
            log.start_epoch()
        for numbers in steps:
            result = self.train_step(batches, numbers, timer)
            self._check_finite(result)
            at.step, at.batch = at.step + 1, at.batch + len(numbers)
            if log:
                log.log_step(at, result, timer)
            if at.step % self.config.checkpoint_every == 0:
                self.save_checkpoint()
            if self.is_finished or self.context.any(time.time() >= deadline):
                break
        if at.batch >= self.schedule.batches_per_epoch[at.epoch] or self.is_finished:
            self._finish_epoch(began, log, waiting.shares().get("data", 0.0))

    def train_step(self, batches: Iterator[Batch], numbers: Sequence[int], timer: Timer) -> StepResult:
        """Make one step: accumulate the gradients of its batches, update the weights.

        Args:
            batches: the batches assigned to this rank, in order.
            numbers: numbers of all batches of the step within the epoch.
            timer: measures the parts of the step.
        """
        stats, at, batch = LossStats(), self.position, None
        learning_rate, ctc_weight = self.schedule.learning_rate(at.step), self.schedule.ctc_weight(at.epoch, at.batch)
        set_learning_rate(self.optimiser, learning_rate)
        self.optimiser.zero_grad(set_to_none=True)
        assigned, losses = list(filter(self.context.is_assigned, numbers)), list[Tensor]()
        for number in assigned:
            batch = next(batches)
            seed_batch(self.config.seed, at.epoch, number)
            with gradient_sync(self.network, last=number == assigned[-1]):
                with timer.measure("encoder"), autocast(self.context.device, self.config.precision):
                    levels, lengths = self._forward(batch)
                with timer.measure("objective"):
                    result = self.batch_objective(levels, lengths, batch.texts, ctc_weight, batch.ids)
                losses.append(result.loss)
                if number == assigned[-1] or not self.config.memory_gradient_slots:
                    with timer.measure("backward"):
                        self.scaler.scale(reduce(torch.add, losses)).backward()
                    losses.clear()
            self._record_skips(batch, levels[0], result)
            stats += replace(result.stats, input_frames=float(batch.lengths.sum()))
        if self.session_memory:
            self.session_memory.detach()
        if not assigned:
            self._backward_zero()
        with timer.measure("all_reduce"):
            stats = LossStats.from_tensor(self.context.all_reduce(stats.to_tensor()))
        with timer.measure("optimiser"):
            # The gradients are sums over frames, which DistributedDataParallel has divided by the world size.
            self.scaler.unscale_(self.optimiser)
            norm = scale_and_clip(self.model, self.context.world_size / max(1.0, stats.frames), self.config.clip)
            finite = math.isfinite(stats.loss) and math.isfinite(norm)
            if finite:
                self.scaler.step(self.optimiser)
            if finite and self.average:
                self.average.update(self.model)
            self.scaler.update()
        return StepResult(stats, learning_rate, ctc_weight, norm, finite, batch)

    def _forward(self, batch: Batch) -> tuple[list[Tensor], Tensor]:
        """Compute log-probabilities, or hidden vectors if the objective is sliced.

        Where batches are sessions, with the memory of earlier utterances.
        """
        device = self.context.device
        features, lengths = batch.features.to(device, non_blocking=True), batch.lengths
        if self.session_memory is None or batch.lanes is None or batch.begins is None:
            return self.network(features, lengths)[:2]
        lanes, begins = batch.lanes.to(device), batch.begins.to(device)
        levels, lengths, memory = self.network(features, lengths, self.session_memory.get(lanes, begins))
        self.session_memory.set(lanes, memory)
        return levels, lengths

    def _backward_zero(self) -> None:
        """Reduce zero gradients, for a rank without a batch in the last step of an epoch."""
        device, frames = self.context.device, self.model.encoder.chunk_frames
        zeros = torch.zeros(1, frames, self.model.description.feature_dim, device=device)
        levels, _, _ = self.network(zeros, torch.tensor([frames]))
        if self.batch_objective is not self.objective:
            levels = self.model.score_levels(levels)
        self.scaler.scale(0 * torch.stack([level.sum() for level in levels]).sum()).backward()

    def _record_skips(self, batch: Batch, log_probs: Tensor, result: BatchLoss) -> None:
        """Add utterances without a loss, or with non-finite values, to the list of skipped utterances."""
        skipped = {self.objective.invalid_reason: (~result.valid).tolist()}
        if not math.isfinite(result.stats.loss):
            skipped["not finite"] = find_nonfinite(batch.features, log_probs.cpu())
        for reason, mask in skipped.items():
            listed = {skip.id for skip in self.skips}
            for name, text, is_skipped in zip(batch.ids, batch.texts, mask, strict=True):
                if is_skipped and name not in listed:
                    self.skips.add(name, reason, text)

    def _check_finite(self, result: StepResult) -> None:
        """Log and count non-finite steps; fail after too many in a row."""
        batch = result.last_batch
        self.nonfinite_steps = 0 if result.finite else self.nonfinite_steps + 1
        if result.finite:
            return
        ids = ", ".join(batch.ids[:5]) if batch else "none"
        text = "step %d skipped: loss %s, gradient norm %s; utterances of its last batch: %s"
        logger.warning(text, self.position.step, result.stats.loss, result.grad_norm, ids)
        if self.nonfinite_steps > self.config.max_nonfinite:
            dump = self.output / f"nonfinite-batch-{self.context.rank}.safetensors"
            tensors, text = flatten_tree(vars(batch) if batch else {})
            save_tensors(dump, BATCH_FORMAT, tensors, {"batch": text})
            raise UserError(
                f"loss or gradient of {self.nonfinite_steps} steps in a row was not finite; the last batch is in "
                f"{dump}: check its features, or reduce training.learning_rate"
            )

    def _finish_epoch(self, began: float, log: TrainingLog | None, waiting: float) -> None:
        """Advance to the next epoch; validate and save the weights on rank 0; write a checkpoint.

        Args:
            began: `time.time()` at the begin of the epoch.
            log: log of the run; None on ranks other than 0.
            waiting: share of the time of the steps in which this process waited for data.
        """
        self.position.epoch, self.position.batch = self.position.epoch + 1, 0
        epoch, ctc_weight = self.position.epoch, self.schedule.ctc_weight(self.position.epoch)
        max_duration = self.config.batches.max_duration
        figures = validate(self.model, self.dev_cuts, self.objective, max_duration, ctc_weight, self.context)
        if ctc_weight == self.schedule.final_ctc_weight:  # losses of different objectives are not comparable
            self.dev_losses[epoch] = figures["dev_loss"]
        if log:
            self.model.save(self._epoch_file(epoch), epoch=epoch, step=self.position.step)
            figures["waiting_for_data"] = waiting
            log.log_epoch(self.position, figures, time.time() - began, self.is_finished)
        self.save_checkpoint()

    def _log_start(self) -> None:
        if self.position.step == 0:
            self.model.save(self._epoch_file(0), epoch=0, step=0)  # untrained, as a baseline
        encoder, at = self.model.encoder, self.position
        logger.info(
            "%d parameters, look-ahead %.2f s, average latency %.2f s; %d of %d steps done, %d process%s on %s",
            sum(parameter.numel() for parameter in self.model.parameters()), encoder.look_ahead,
            encoder.average_latency, at.step, self.schedule.total_steps, self.context.world_size,
            "es" if self.context.world_size > 1 else "", self.context.device,
        )  # fmt: skip

    def _write_model(self) -> None:
        """Write the model as an average over the steps or epochs so far."""
        last = list(range(max(1, self.position.epoch - self.config.average_epochs + 1), self.position.epoch + 1))
        use_best = self.config.checkpoint_averaging == "best"
        epochs = (use_best and select_best_epochs(self.dev_losses, self.config.average_epochs)) or last
        if self.average:
            model = AcousticModel(self.model.description)
            model.load_state_dict(self.average.weights)
            model.save(self.output / MODEL_FILE, running_average=self.average.decay, step=self.position.step)
            logger.info("%s: running average over %d steps", MODEL_FILE, self.average.updates)
        elif epochs:
            average_models([self._epoch_file(epoch) for epoch in epochs], self.output / MODEL_FILE)
            text = "weights of epoch" if len(epochs) == 1 else "average of epochs"
            logger.info("%s: %s %s", MODEL_FILE, text, ", ".join(map(str, epochs)))

    def _epoch_file(self, epoch: int) -> Path:
        return self.output / f"epoch-{epoch}.safetensors"

    def save_checkpoint(self) -> None:
        """Write a checkpoint on rank 0, with the skipped utterances of all ranks."""
        skips = {skip.id: skip for listed in self.context.all_gather(list(self.skips)) for skip in listed}
        self.skips = SkipLog(list(skips.values()))
        if not self.context.is_rank_zero:
            return
        if skips:
            self.skips.write(self.output / SKIPPED_FILE)
        save_checkpoint(self.output, self.position.step, self.state_dict(), self.config.keep_checkpoints)

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to resume."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "running": self.average.state_dict() if self.average else None,
            "lanes": tuple(self.session_memory.memory.tensors()) if self.session_memory else None,
            "position": vars(self.position),
            "dev_losses": self.dev_losses,
            "skipped": [tuple(skip) for skip in self.skips],
            "units_hash": self.model.description.units_hash,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state that `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average:
            self.average.load_state_dict(state["running"])
        if self.session_memory:
            self.session_memory.load([part.to(self.context.device) for part in state["lanes"]])
        self.position, self.dev_losses = Position(**state["position"]), state["dev_losses"]
        self.skips = SkipLog([SkippedUtterance(*fields) for fields in state["skipped"]])

    def resume(self) -> None:
        """Load the newest undamaged checkpoint, if there is one.

        Raises:
            UserError: the checkpoint does not fit the model or the options.
        """
        found = load_newest_checkpoint(self.output)
        if found is None:
            return
        path, state = found
        logger.info("resuming from %s", path)
        try:
            self.load_state_dict(state)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(
                f"{path}: not a checkpoint of this model and these options ({reason}); delete {self.output} to train "
                "from the start"
            ) from error


def find_nonfinite(features: Tensor, log_probs: Tensor) -> list[bool]:
    """Return which utterances (B,) have non-finite features; if none has, which have non-finite outputs.

    Args:
        features: (B, T, F).
        log_probs: (B, T', V).
    """
    inputs, outputs = (~x.isfinite().flatten(1).all(1) for x in (features, log_probs))
    return list((inputs if inputs.any() else outputs).tolist())


def make_scaler(enabled: bool) -> Any:
    """Return a scaler of gradients; its former name is deprecated in newer torch releases.

    Args:
        enabled: whether it has an effect, for float16.
    """
    scaler = getattr(torch.amp, "GradScaler", None)
    return scaler("cuda", enabled=enabled) if scaler else torch.cuda.amp.GradScaler(enabled=enabled)
