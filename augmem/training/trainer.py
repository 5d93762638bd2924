"""The training loop: forward, backward, update, log, save."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lhotse import CutSet
from torch import Tensor, nn
from tqdm import tqdm

from augmem.corpus import Batch, SkipList, feature_statistics, num_batches, training_batches
from augmem.corpus.skips import SKIPPED, Skip
from augmem.encoder import Memory
from augmem.lang import Lang
from augmem.model import AcousticModel, ModelDescription, check_units
from augmem.tensors import save_tensors
from augmem.training.checkpoint import newest_checkpoint, save_checkpoint
from augmem.training.config import TrainingConfig
from augmem.training.memory import lane_memory
from augmem.training.metrics import Log, Stopwatch, Sums
from augmem.training.objective import Objective
from augmem.training.schedule import ctc_weight, learning_rate
from augmem.training.team import Team, check_team, exchanging
from augmem.training.validation import validate
from augmem.training.weights import RunningAverage, average_models, best_epochs, stalled

logger = logging.getLogger(__name__)

MODEL_FILE = "model.pt"


@dataclass
class Position:
    """Where a run stands: updates made, epochs finished, batches of the current epoch dealt with."""

    step: int = 0
    epoch: int = 0
    batch: int = 0


class Trainer:
    """One run, begun or resumed, by one process or by several that torchrun started.

    Batch n of an epoch is computed by process n mod (number of processes), with random numbers that depend on epoch and
    n alone, and an update adds up `accumulate` batches: neither the number of processes nor a resume changes the run.

    Args:
        config: objective, schedule, batches.
        description: what model to train.
        lang_dir, graph_dir: units and phone LM; the lang folder must be the description's.
        train_cuts, dev_cuts: with features and one supervision each.
        output: the run's folder: checkpoints, epoch-N.pt, log.jsonl, skipped.tsv and, at the end, model.pt.
        team: the processes.
    """

    def __init__(
        self,
        config: TrainingConfig,
        description: ModelDescription,
        lang_dir: Path,
        graph_dir: Path,
        train_cuts: CutSet,
        dev_cuts: CutSet,
        output: Path,
        team: Team | None = None,
    ) -> None:
        self.team = team or Team.join(config.device)
        check_team(config, self.team)
        check_units(description, lang_dir, output)
        self.config, self.output = config, output
        self.train_cuts, self.dev_cuts = train_cuts, dev_cuts
        self.lang = Lang.load(lang_dir)
        self.objective = Objective(self.lang, graph_dir, description, config)
        self.device = self.team.device
        torch.manual_seed(config.seed)
        self.model = AcousticModel(description, *feature_statistics(train_cuts)).to(self.device)
        self.optimiser = make_optimiser(self.model, config)
        self.scaler = torch.cuda.amp.GradScaler(enabled=config.precision == "float16")
        self.running = (
            RunningAverage(self.model, config.running_average) if config.checkpoint_averaging == "running" else None
        )
        self.lanes = lane_memory(self.model, config)
        self.network = self.team.replicate(self.model)
        self.at = Position()
        self.dev_losses: dict[int, float] = {}
        self.skips = SkipList()
        self.nonfinite = 0
        self._resume()
        self.log = Log(output, self.at.step) if self.team.leads else None

    def run(self, max_minutes: float | None = None) -> bool:
        """Train to the end, or until the time is up; say whether the end was reached.

        Raises:
            FloatingPointError: too many updates in a row were not finite.
        """
        deadline = float("inf") if max_minutes is None else time.time() + 60 * max_minutes
        self.batches_per_epoch = [
            num_batches(self.train_cuts, self.config.batches, epoch) for epoch in range(self.config.epochs)
        ]
        self._announce()
        while not self._finished() and not self.team.any(time.time() >= deadline):
            self._epoch(deadline)
        self._save()
        if self.log:
            self._write_model()
            self.skips.report("training", len(self.train_cuts) - len(self.skips), self.output / SKIPPED)
            self.log.close()
        return self._finished()

    @property
    def total_steps(self) -> int:
        """Updates of the whole run."""
        planned = sum(-(-batches // self.config.accumulate) for batches in self.batches_per_epoch)
        return min(planned, self.config.max_steps or planned)

    def _finished(self) -> bool:
        return self.at.step >= self.total_steps or stalled(self.dev_losses, self.config.patience)

    def _epoch(self, deadline: float) -> None:
        """The rest of the current epoch, or as much of it as time and steps allow."""
        began, watch, sums = time.time(), Stopwatch(), Sums()
        self.model.train()
        planned = self.batches_per_epoch[self.at.epoch]
        updates = [
            range(first, min(first + self.config.accumulate, planned))
            for first in range(self.at.batch, planned, self.config.accumulate)
        ]
        mine = [number for update in updates for number in update if self._is_mine(number)]
        batches = watch.waiting("data", training_batches(self.train_cuts, self.config.batches, self.at.epoch, mine))
        with tqdm(
            total=planned, initial=self.at.batch, desc=f"epoch {self.at.epoch + 1}", mininterval=5,
            disable=not self.team.leads,
        ) as bar:  # fmt: skip
            for numbers in updates:
                sums += self._update(batches, numbers, watch)
                self.at.step += 1
                self.at.batch += len(numbers)
                bar.update(len(numbers))
                if self.at.step % self.config.log_every == 0:
                    self._log_step(sums, watch)
                    sums = Sums()
                if self.at.step % self.config.checkpoint_every == 0:
                    self._save()
                if self._finished() or self.team.any(time.time() >= deadline):
                    break
        if self.at.batch >= planned or self._finished():
            self._end_epoch(began)

    def _is_mine(self, number: int) -> bool:
        """Whether a batch is this process's to compute."""
        return number % self.team.size == self.team.rank

    def _update(self, batches: Iterator[Batch], numbers: Sequence[int], watch: Stopwatch) -> Sums:
        """Forward and backward of each of its batches, then one update with the mean over all frames."""
        rate = learning_rate(self.config, self.at.step, self.total_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.ctc_weight = self._ctc_weight()
        self.optimiser.zero_grad(set_to_none=True)
        sums, batch = Sums(), None
        mine = list(filter(self._is_mine, numbers))
        for number in mine:
            batch = next(batches)
            with exchanging(self.network, number == mine[-1]):
                sums += self._backward(batch, number, watch)
        if not mine:
            self._add_nothing()
        with watch.part("exchange"):
            sums = Sums.from_tensor(self.team.total(sums.to_tensor()))
        with watch.part("optimiser"):
            for parameter in self.model.parameters():
                if parameter.grad is None:  # of a layer that all batches dropped
                    parameter.grad = torch.zeros_like(parameter)
                # so far a sum over frames, which the team has divided by its size
                parameter.grad *= self.team.size / max(1.0, sums.frames)
            self.scaler.unscale_(self.optimiser)
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
            self._step_if_finite(sums.loss, norm, batch)
        self.gradient_norm = float(norm)
        return sums

    def _backward(self, batch: Batch, number: int, watch: Stopwatch) -> Sums:
        """Add one batch's gradient, summed over its frames."""
        torch.manual_seed(int(np.random.SeedSequence([self.config.seed, self.at.epoch, number]).generate_state(1)[0]))
        precision = getattr(torch, self.config.precision)
        mixed = precision != torch.float32
        with watch.part("encoder"), torch.autocast(self.device.type, precision if mixed else None, enabled=mixed):
            levels, lengths = self._score(batch)
        with watch.part("objective"):
            loss, valid, sums = self.objective(levels, lengths, batch.texts, self.ctc_weight, batch.ids)
        self._note(batch, (~valid).tolist(), self.objective.fault)
        if not math.isfinite(sums.loss):
            self._note(batch, not_finite(batch.features, levels[0]), "not finite")
        with watch.part("backward"):
            self.scaler.scale(loss).backward()
        sums.input_frames = float(batch.lengths.sum())
        return sums

    def _add_nothing(self) -> None:
        """Take part in the exchange of gradients without a batch: an epoch's last update may have too few for all."""
        silence = torch.zeros(1, self.model.encoder.chunk_frames, self.model.description.feature_dim)
        levels, _, _ = self.network(silence.to(self.device), torch.tensor([silence.size(1)], device=self.device))
        self.scaler.scale(0 * torch.stack([level.sum() for level in levels]).sum()).backward()  # it must know its scale

    def _score(self, batch: Batch) -> tuple[list[Tensor], Tensor]:
        """As `AcousticModel.forward_levels`; where a batch goes on with sessions, with memory of what came before."""
        features, lengths = batch.features.to(self.device), batch.lengths.to(self.device)
        if self.lanes is None or batch.lanes is None or batch.begins is None:
            return self.network(features, lengths)[:2]
        lanes, begins = batch.lanes.to(self.device), batch.begins.to(self.device)
        levels, lengths, memory = self.network(features, lengths, self.lanes.take(lanes, begins))
        self.lanes.put(lanes, memory)
        return levels, lengths

    def _step_if_finite(self, loss: float, norm: Tensor, batch: Batch | None) -> None:
        """A step that is not finite is left out and counted; many in a row end the run, with the batch on disk."""
        if math.isfinite(loss) and bool(torch.isfinite(norm)):
            self.scaler.step(self.optimiser)
            self.nonfinite = 0
            if self.running:
                self.running.update(self.model)
        else:
            self.nonfinite += 1
            names = ", ".join(batch.ids[:5]) if batch else "none"
            text = "update %d: loss %s, gradient norm %s: left out; its last batch: %s"
            logger.warning(text, self.at.step, loss, float(norm), names)
        self.scaler.update()
        if self.nonfinite > self.config.max_nonfinite:
            dump = self.output / f"nonfinite-batch-{self.team.rank}.pt"
            save_tensors(vars(batch) if batch else {}, dump)
            raise FloatingPointError(
                f"{self.nonfinite} updates in a row were not finite; the last batch is in {dump}: look whether its "
                "features are sound, or train with a lower training.learning_rate"
            )

    def _ctc_weight(self) -> float:
        done = self.at.epoch + self.at.batch / max(1, self.batches_per_epoch[self.at.epoch])
        return ctc_weight(self.config, done)

    def _note(self, batch: Batch, faulty: Iterable[bool], reason: str) -> None:
        """Utterances at fault go to skipped.tsv, once."""
        known = {skip.id for skip in self.skips}
        for name, text, at_fault in zip(batch.ids, batch.texts, faulty, strict=True):
            if at_fault and name not in known:
                self.skips.add(name, reason, text)

    def _log_step(self, sums: Sums, watch: Stopwatch) -> None:
        if not self.log:
            return
        figures = sums.means() | {
            "epoch": self.at.epoch + 1,
            "learning_rate": self.optimiser.param_groups[0]["lr"],
            "ctc_weight": self.ctc_weight,
            "grad_norm": self.gradient_norm,
            "frames_per_second": sums.input_frames / max(watch.seconds, 1e-9),
            "time": watch.shares(),
        }
        self.log.write("step", self.at.step, figures)
        watch.restart()

    def _end_epoch(self, began: float) -> None:
        """Validate, keep the weights, and say how it goes; the leader does."""
        self.at.epoch, self.at.batch = self.at.epoch + 1, 0
        if self.log:
            self._judge_epoch(began, self.log)
        self.dev_losses = self.team.leaders(self.dev_losses)
        self._save()

    def _judge_epoch(self, began: float, log: Log) -> None:
        """The epoch that has just ended."""
        duration, weight = self.config.batches.max_duration, ctc_weight(self.config, self.at.epoch)
        figures = validate(self.model, self.dev_cuts, self.objective, self.lang, duration, weight)
        minutes = (time.time() - began) / 60
        log.write("epoch", self.at.step, {"epoch": self.at.epoch, "minutes": minutes, **figures})
        if weight == ctc_weight(self.config, self.config.epochs):  # losses of another mixture cannot be compared
            self.dev_losses[self.at.epoch] = figures["dev_loss"]
        self.model.save(self._epoch_file(self.at.epoch), epoch=self.at.epoch, step=self.at.step)
        logger.info(
            "epoch %d of %d: dev loss %.3f a frame, dev unit error rate %.1f %%, %.1f min; about %.0f min to go",
            self.at.epoch, self.config.epochs, figures["dev_loss"], 100 * figures["dev_unit_error_rate"], minutes,
            0 if self._finished() else minutes * (self.config.epochs - self.at.epoch),
        )  # fmt: skip

    def _announce(self) -> None:
        if not self.team.leads:
            return
        size = sum(parameter.numel() for parameter in self.model.parameters())
        if self.at.step == 0:
            self.model.save(self._epoch_file(0), epoch=0, step=0)  # untrained: what the graph alone can do
        logger.info(
            "%d parameters, look-ahead %.2f s, average latency %.2f s; %s update %d of %d, epoch %d of %d%s",
            size, self.model.encoder.look_ahead, self.model.encoder.average_latency,
            "goes on at" if self.at.step else "begins at", self.at.step, self.total_steps, self.at.epoch + 1,
            self.config.epochs, f", {self.team.size} processes" if self.team.size > 1 else "",
        )  # fmt: skip

    def _write_model(self) -> None:
        """model.pt, from what there is so far."""
        last = list(range(max(1, self.at.epoch - self.config.average_epochs + 1), self.at.epoch + 1))
        epochs = (
            best_epochs(self.dev_losses, self.config.average_epochs)
            if self.config.checkpoint_averaging == "best"
            else last
        )
        if self.running:
            average = AcousticModel(self.model.description)
            average.load_state_dict(self.running.weights)
            average.save(self.output / MODEL_FILE, running_average=self.config.running_average, step=self.at.step)
            logger.info("model.pt: running average over %d updates", self.running.updates)
        elif epochs := epochs or last:
            average_models([self._epoch_file(epoch) for epoch in epochs], self.output / MODEL_FILE)
            logger.info("model.pt: mean of epochs %s", ", ".join(map(str, epochs)))

    def _epoch_file(self, epoch: int) -> Path:
        return self.output / f"epoch-{epoch}.pt"

    def _save(self) -> None:
        """A checkpoint with what all processes know; the leader writes it."""
        skips = {skip.id: skip for listed in self.team.gather(list(self.skips)) for skip in listed}
        self.skips = SkipList(list(skips.values()))
        if not self.team.leads:
            return
        if skips:
            self.skips.write(self.output / SKIPPED)
        state = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "running": self.running.state() if self.running else None,
            "lanes": self.lanes.memory if self.lanes else None,
            "position": vars(self.at),
            "dev_losses": self.dev_losses,
            "skipped": [tuple(skip) for skip in self.skips],
            "units_hash": self.model.description.units_hash,
        }
        save_checkpoint(self.output, self.at.step, state, self.config.keep_checkpoints)

    def _resume(self) -> None:
        """Take up the newest good checkpoint, if there is one."""
        found = newest_checkpoint(self.output)
        if found is None:
            return
        path, state = found
        logger.info("resuming from %s", path)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        if self.running:
            self.running.restore(state["running"])
        if self.lanes:
            self.lanes.memory = Memory(*(part.to(self.device) for part in state["lanes"]))
        self.at, self.dev_losses = Position(**state["position"]), state["dev_losses"]
        self.skips = SkipList([Skip(*fields) for fields in state["skipped"]])


def not_finite(features: Tensor, log_probs: Tensor) -> list[bool]:
    """Which utterances have features that are not finite numbers; if none has, whose outputs are not."""
    heard, said = (~x.isfinite().flatten(1).all(1) for x in (features, log_probs))
    return list((heard if heard.any() else said).tolist())


def make_optimiser(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW (arXiv 1711.05101); weight decay on matrices only."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, config.learning_rate, config.adam_betas, weight_decay=config.weight_decay)
