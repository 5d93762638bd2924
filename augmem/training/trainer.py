"""The training loop: forward, backward, update, log, save."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lhotse import CutSet
from torch import Tensor, nn
from tqdm import tqdm

from augmem.corpus import Batch, SkipList, feature_statistics, num_batches, training_batches
from augmem.corpus.skips import SKIPPED, Skip
from augmem.lang import Lang
from augmem.model import AcousticModel, ModelDescription, check_lang
from augmem.tensors import save_tensors
from augmem.training.checkpoint import newest_checkpoint, save_checkpoint
from augmem.training.config import TrainingConfig
from augmem.training.metrics import Log, Stopwatch, Sums
from augmem.training.objective import Objective
from augmem.training.schedule import ctc_weight, learning_rate
from augmem.training.validation import validate

logger = logging.getLogger(__name__)

MODEL_FILE = "model.pt"


@dataclass
class Position:
    """Where a run stands: updates made, epochs finished, batches of the current epoch dealt with."""

    step: int = 0
    epoch: int = 0
    batch: int = 0


class Trainer:
    """One run, begun or resumed.

    Args:
        config: objective, schedule, batches.
        description: what model to train.
        lang_dir, graph_dir: units and phone LM; the lang folder must be the description's.
        train_cuts, dev_cuts: with features and one supervision each.
        output: the run's folder: checkpoints, epoch-N.pt, log.jsonl, skipped.tsv and, at the end, model.pt.
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
    ) -> None:
        check_lang(description.lang_hash, lang_dir, output)
        self.config, self.output = config, output
        self.train_cuts, self.dev_cuts = train_cuts, dev_cuts
        self.lang = Lang.load(lang_dir)
        self.objective = Objective(self.lang, graph_dir, description.topology, config.den_scale)
        self.device = choose_device(config.device)
        torch.manual_seed(config.seed)
        self.model = AcousticModel(description, *feature_statistics(train_cuts)).to(self.device)
        self.optimiser = make_optimiser(self.model, config)
        self.at = Position()
        self.skips = SkipList()
        self.nonfinite = 0
        self._resume()
        self.log = Log(output, self.at.step)

    def run(self, max_minutes: float | None = None) -> bool:
        """Train to the end, or until the time is up; say whether the end was reached.

        Raises:
            ArithmeticError: too many updates in a row were not finite.
        """
        deadline = time.time() + 60 * max_minutes if max_minutes else float("inf")
        self.batches_per_epoch = [
            num_batches(self.train_cuts, self.config.batches, epoch) for epoch in range(self.config.epochs)
        ]
        self._announce()
        while not self._finished() and time.time() < deadline:
            self._epoch(deadline)
        self._save()
        self._write_model()
        self.skips.report("training", len(self.train_cuts) - len(self.skips), self.output / SKIPPED)
        self.log.close()
        return self._finished()

    @property
    def total_steps(self) -> int:
        """Updates of the whole run."""
        planned = sum(self.batches_per_epoch)
        return min(planned, self.config.max_steps or planned)

    def _finished(self) -> bool:
        return self.at.step >= self.total_steps

    def _epoch(self, deadline: float) -> None:
        """The rest of the current epoch, or as much of it as time and steps allow."""
        began, watch, sums = time.time(), Stopwatch(), Sums()
        self.model.train()
        planned = self.batches_per_epoch[self.at.epoch]
        with tqdm(total=planned, initial=self.at.batch, desc=f"epoch {self.at.epoch + 1}", mininterval=5) as bar:
            for batch in timed(
                training_batches(self.train_cuts, self.config.batches, self.at.epoch, self.at.batch), watch
            ):
                sums += self._update(batch, watch)
                self.at.step += 1
                self.at.batch += 1
                bar.update()
                if self.at.step % self.config.log_every == 0:
                    self._log_step(sums, watch)
                    sums = Sums()
                if self.at.step % self.config.checkpoint_every == 0:
                    self._save()
                if self._finished() or time.time() >= deadline:
                    break
        if self.at.batch >= planned or self._finished():
            self._end_epoch(began)

    def _update(self, batch: Batch, watch: Stopwatch) -> Sums:
        """Forward, backward, update."""
        rate = learning_rate(self.config, self.at.step, self.total_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with watch.part("encoder"):
            log_probs, lengths = self.model(batch.features.to(self.device), batch.lengths.to(self.device))
        self.ctc_weight = self._ctc_weight()
        with watch.part("objective"):
            loss, valid, sums = self.objective(log_probs, lengths, batch.texts, self.ctc_weight)
        self._note_skipped(batch, valid)
        with watch.part("backward"):
            self.optimiser.zero_grad(set_to_none=True)
            (loss / max(1.0, sums.frames)).backward()
        with watch.part("optimiser"):
            norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
            self._step_if_finite(loss, norm, batch)
        self.gradient_norm = float(norm)
        sums.input_frames = float(batch.lengths.sum())
        return sums

    def _step_if_finite(self, loss: Tensor, norm: Tensor, batch: Batch) -> None:
        """A step that is not finite is left out and counted; many in a row end the run, with the batch on disk."""
        if bool(torch.isfinite(loss)) and bool(torch.isfinite(norm)):
            self.optimiser.step()
            self.nonfinite = 0
            return
        self.nonfinite += 1
        logger.warning("update %d: loss %s, gradient norm %s: left out", self.at.step, float(loss), float(norm))
        if self.nonfinite > self.config.max_nonfinite:
            dump = self.output / "nonfinite-batch.pt"
            save_tensors({"ids": batch.ids, "texts": batch.texts, "features": batch.features}, dump)
            raise ArithmeticError(f"{self.nonfinite} updates in a row were not finite; the last batch is in {dump}")

    def _ctc_weight(self) -> float:
        done = self.at.epoch + self.at.batch / max(1, self.batches_per_epoch[self.at.epoch])
        return ctc_weight(self.config, done)

    def _note_skipped(self, batch: Batch, valid: Tensor) -> None:
        """Utterances whose transcript cannot be said in their frames take no part; skipped.tsv lists them."""
        known = {skip.id for skip in self.skips}
        for name, text, took_part in zip(batch.ids, batch.texts, valid.tolist(), strict=True):
            if not took_part and name not in known:
                self.skips.add(name, "too short for its transcript", text)
                self.skips.write(self.output / SKIPPED)

    def _log_step(self, sums: Sums, watch: Stopwatch) -> None:
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
        """Validate, keep the weights, and say how it goes."""
        duration, weight = self.config.batches.max_duration, ctc_weight(self.config, self.at.epoch + 1)
        figures = validate(self.model, self.dev_cuts, self.objective, self.lang, duration, weight)
        self.at.epoch, self.at.batch = self.at.epoch + 1, 0
        minutes = (time.time() - began) / 60
        self.log.write("epoch", self.at.step, {"epoch": self.at.epoch, "minutes": minutes, **figures})
        self.model.save(self._epoch_file(self.at.epoch), epoch=self.at.epoch, step=self.at.step)
        self._save()
        logger.info(
            "epoch %d of %d: dev loss %.3f a frame, dev unit error rate %.1f %%, %.1f min; about %.0f min to go",
            self.at.epoch, self.config.epochs, figures["dev_loss"], 100 * figures["dev_unit_error_rate"], minutes,
            0 if self._finished() else minutes * (self.config.epochs - self.at.epoch),
        )  # fmt: skip

    def _announce(self) -> None:
        size = sum(parameter.numel() for parameter in self.model.parameters())
        if self.at.step == 0:
            self.model.save(self._epoch_file(0), epoch=0, step=0)  # untrained: what the graph alone can do
        logger.info(
            "%d parameters, look-ahead %.2f s, average latency %.2f s; %s update %d of %d, epoch %d of %d",
            size, self.model.encoder.look_ahead, self.model.encoder.average_latency,
            "goes on at" if self.at.step else "begins at", self.at.step, self.total_steps, self.at.epoch + 1,
            self.config.epochs,
        )  # fmt: skip

    def _write_model(self) -> None:
        """model.pt: the mean of the last epochs there are."""
        epochs = range(max(1, self.at.epoch - self.config.average_last + 1), self.at.epoch + 1)
        if epochs:
            average_models([self._epoch_file(epoch) for epoch in epochs], self.output / MODEL_FILE)
            logger.info("model.pt: mean of epochs %s", ", ".join(map(str, epochs)))

    def _epoch_file(self, epoch: int) -> Path:
        return self.output / f"epoch-{epoch}.pt"

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "position": vars(self.at),
            "skipped": [tuple(skip) for skip in self.skips],
            "random": torch.get_rng_state(),
            "lang_hash": self.model.description.lang_hash,
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
        self.at = Position(**state["position"])
        self.skips = SkipList([Skip(*fields) for fields in state["skipped"]])
        torch.set_rng_state(state["random"])


def timed(batches: Iterator[Batch], watch: Stopwatch) -> Iterator[Batch]:
    """Charge the waiting for each batch to "data"."""
    while True:
        with watch.part("data"):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def make_optimiser(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW (arXiv 1711.05101); weight decay on matrices only."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    others = [parameter for parameter in model.parameters() if parameter.dim() <= 1]
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, config.learning_rate, config.adam_betas, weight_decay=config.weight_decay)


def choose_device(name: str) -> torch.device:
    """ "auto" is a GPU if there is one."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def average_models(paths: Sequence[Path], output: Path) -> None:
    """Write the model whose weights are the mean of the models in `paths`, summed in float64."""
    models = [AcousticModel.load(path) for path in paths]
    states = [model.state_dict() for model in models]
    mean = {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(value.dtype)
        for name, value in states[0].items()
    }
    models[-1].load_state_dict(mean)
    models[-1].save(output, averaged=len(paths))
