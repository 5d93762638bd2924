"""Batches for training and evaluation, made by Lhotse's samplers.

The batches of an epoch, with their order, noise and SpecAugment masks, are a pure function of the cuts, the
configuration and the epoch. No state is kept between batches, so a run that resumes at batch n gets the same batches as
an uninterrupted run, with any number of workers.

Letters: B batch, T frames, F mel bins.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset import SpecAugment
from lhotse.dataset.sampling import DynamicBucketingSampler, DynamicCutSampler
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler

from augmem.corpus.audio import read_samples
from augmem.corpus.augmentation import NoiseConfig, ReverbConfig, add_noise, add_reverberation
from augmem.corpus.extractors import extractor
from augmem.corpus.feature_store import stored_features
from augmem.corpus.sessions import LaneCut, plan_sessions
from augmem.errors import check_option
from augmem.machine import release_freed_memory


class _AnySource(Sampler):
    """A base of Lhotse's samplers whose constructor takes and ignores any arguments.

    The Sampler of older torch releases requires `data_source`, and newer ones refuse it. Lhotse passes one or none,
    depending on its release.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None: ...


class _BucketingSampler(DynamicBucketingSampler, _AnySource):
    """Lhotse's bucketing sampler for all releases of torch."""


class _CutSampler(DynamicCutSampler, _AnySource):
    """Lhotse's sampler without buckets for all releases of torch."""


@dataclass(frozen=True)
class SpecAugmentConfig:
    """SpecAugment (Park et al., arXiv 1904.08779): warping in time, masks in time and frequency.

    Args:
        enabled: apply SpecAugment.
        probability: probability that an utterance is augmented.
        time_warp: maximum shift of a point in time, in seconds; 0: no warping. Utterances shorter than about twice that
            are not warped.
        frequency_masks: number of frequency masks per utterance.
        frequency_mask_bins: maximum width of a frequency mask, in mel bins.
        time_masks: maximum number of time masks per utterance.
        time_mask: maximum length of a time mask, in seconds.
        time_mask_fraction: maximum fraction of an utterance that all time masks cover.
    """

    enabled: bool = True
    probability: float = 0.9
    time_warp: float = 0.8
    frequency_masks: int = 2
    frequency_mask_bins: int = 27
    time_masks: int = 10
    time_mask: float = 1.0
    time_mask_fraction: float = 0.15

    def __post_init__(self) -> None:
        for name in ("probability", "time_mask_fraction"):
            self._require(name, 0 <= getattr(self, name) <= 1, "be between 0 and 1")
        for name in ("time_warp", "frequency_masks", "time_masks"):
            self._require(name, getattr(self, name) >= 0, "be at least 0")
        for name in ("frequency_mask_bins", "time_mask"):
            self._require(name, getattr(self, name) > 0, "be positive")

    def _require(self, name: str, condition: bool, rule: str) -> None:
        check_option(f"training.batches.spec_augment.{name}", getattr(self, name), condition, rule)


@dataclass(frozen=True)
class BatchConfig:
    """Batches and data augmentation.

    Args:
        max_duration: maximum duration of a batch with padding, in seconds; a longer utterance forms a batch alone.
        num_buckets: groups of similar duration from which batches are drawn; more buckets mean less padding and less
            randomness.
        seed: random seed of the order and of augmentation.
        session_cuts: maximum number of consecutive utterances of a recording (or of a speaker, if each utterance is a
            recording) that form a session; 1: no sessions. An augmented-memory encoder keeps its memory bank within a
            session. A batch has one utterance of each of several sessions, with a mean duration of `max_duration`.
        workers: number of processes that load batches in advance; 0: load in the training process.
        from_audio: compute all features from audio; otherwise stored features are used for utterances without noise and
            reverberation.
        reverb: reverberation.
        noise: additive noise.
        spec_augment: SpecAugment.
    """

    max_duration: float = 60.0
    num_buckets: int = 10
    seed: int = 0
    session_cuts: int = 1
    workers: int = 1
    from_audio: bool = False
    reverb: ReverbConfig = field(default_factory=ReverbConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    spec_augment: SpecAugmentConfig = field(default_factory=SpecAugmentConfig)

    def __post_init__(self) -> None:
        rules = {
            "max_duration": (self.max_duration > 0, "be positive"),
            "num_buckets": (self.num_buckets >= 1, "be at least 1"),
            "session_cuts": (self.session_cuts >= 1, "be at least 1"),
            "workers": (self.workers >= 0, "be at least 0"),
        }
        for name, (condition, rule) in rules.items():
            check_option(f"training.batches.{name}", getattr(self, name), condition, rule)


@dataclass
class Batch:
    """A batch of utterances, the longest first.

    Args:
        ids: ids of the cuts.
        texts: normalised transcripts.
        features: (B, T, F) float32, padded with zeros.
        lengths: (B,) int64, in frames.
        lanes: (B,) int64, lane of each utterance; None without sessions.
        begins: (B,) bool, whether the utterance is the first of a session; None without sessions.
    """

    ids: list[str]
    texts: list[str]
    features: Tensor
    lengths: Tensor
    lanes: Tensor | None = None
    begins: Tensor | None = None

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory, which a GPU reads while it computes; called by DataLoader."""
        return replace(self, **{name: x.pin_memory() for name, x in vars(self).items() if isinstance(x, Tensor)})


def training_batches(
    cuts: CutSet,
    config: BatchConfig,
    epoch: int,
    numbers: Sequence[int] | None = None,
    step_batches: int = 1,
    pinned: bool = False,
) -> Iterator[Batch]:
    """Yield the batches of an epoch.

    The global random states of this process are neither read nor changed.

    Args:
        cuts: at least one cut, with features and one supervision each.
        config: batches and augmentation.
        epoch: number of the epoch; epochs differ in order and masks.
        numbers: batches to load, from 0, in this order; None: all.
        step_batches: batches of a training step. They have similar sizes, so that processes which share a step do not
            wait for each other.
        pinned: put the batches into page-locked memory, for a GPU.
    """
    dataset = _Batches(_plan(cuts, config, epoch, step_batches), config, epoch)
    numbers = range(len(dataset)) if numbers is None else numbers
    if config.workers == 0:
        for number in numbers:
            yield dataset[number].pin_memory() if pinned else dataset[number]
        return
    release_freed_memory()  # the loading processes are forks
    yield from DataLoader(
        dataset,
        batch_size=None,
        sampler=numbers,
        num_workers=config.workers,
        collate_fn=_identity,
        pin_memory=pinned,
        generator=torch.Generator().manual_seed(0),  # otherwise DataLoader draws from the random state of training
    )


def num_batches(cuts: CutSet, config: BatchConfig, epoch: int) -> int:
    """Return the number of batches of an epoch.

    Args:
        cuts: at least one cut.
        config: batches.
        epoch: number of the epoch.
    """
    return len(_plan(cuts, config, epoch))


def evaluation_batches(cuts: CutSet, max_duration: float, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
    """Yield every cut once, without augmentation, the longest first; of several processes, each gets its own batches.

    A lack of memory is thereby detected in the first batch.

    Args:
        cuts: cuts with features and one supervision each.
        max_duration: maximum duration of a batch with padding, in seconds.
        rank: index of this process.
        world_size: number of processes.
    """
    ordered = sorted(cuts, key=lambda cut: (-cut.duration, cut.id))
    sampler = _CutSampler(ordered, max_duration=max_duration, shuffle=False, world_size=1, rank=0)
    for batch in islice(sampler, rank, None, world_size):
        yield collate(list(batch), [_load(cut) for cut in batch])


def _plan(
    cuts: CutSet, config: BatchConfig, epoch: int, step_batches: int = 1
) -> list[list[Cut]] | list[list[LaneCut]]:
    """Return the cuts of all batches of an epoch."""
    listed = list(cuts)  # samplers log a warning for a CutSet in memory
    order, sampling, _ = _seed_words(config.seed, epoch)  # Lhotse adds seed and epoch: (0, 1) would equal (1, 0)
    if config.session_cuts > 1:
        return plan_sessions(listed, config.session_cuts, config.max_duration, order)
    options = {"max_duration": config.max_duration, "shuffle": True, "seed": sampling, "world_size": 1, "rank": 0}
    buckets = min(config.num_buckets, len(listed))
    sampler = (
        _BucketingSampler(listed, num_buckets=buckets, **options) if buckets > 1 else _CutSampler(listed, **options)
    )
    plan = [list(batch) for batch in sampler]
    # Lhotse visits the buckets in the same order in every epoch, and its smallest batches come last. sync_buckets=False
    # would change the former, but in 1.32 it loses utterances at the end of an epoch.
    random.Random(order).shuffle(plan)
    return _shuffle_steps(plan, step_batches, order) if step_batches > 1 else plan


def _shuffle_steps(plan: list[list[Cut]], size: int, seed: int) -> list[list[Cut]]:
    """Group batches of similar padded duration into steps; return them in a random order of the steps."""
    plan = sorted(plan, key=lambda batch: len(batch) * max(cut.duration for cut in batch))
    steps = [plan[first : first + size] for first in range(0, len(plan) - size + 1, size)]
    random.Random(seed).shuffle(steps)
    rest = plan[len(steps) * size :]  # an incomplete step comes last
    return [batch for step in steps for batch in step] + rest


class _Batches(Dataset):
    """Batches by number, each with its own random states for augmentation."""

    def __init__(self, plan: list[list[Cut]] | list[list[LaneCut]], config: BatchConfig, epoch: int) -> None:
        self.plan, self.config, self.epoch = plan, config, epoch

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int) -> Batch:
        planned = self.plan[number]
        in_lanes = [item for item in planned if isinstance(item, LaneCut)]
        cuts = [item.cut for item in in_lanes] or planned
        with random_state(self.config.seed, self.epoch, number, 1):
            features = [load_features(cut, self.config) for cut in cuts]
        if self.config.spec_augment.enabled:
            with random_state(self.config.seed, self.epoch, number):
                features = [
                    augment(matrix, self.config.spec_augment, cut.features.frame_shift)
                    for matrix, cut in zip(features, cuts, strict=True)
                ]
        return collate(cuts, features, in_lanes)


def load_features(cut: Cut, config: BatchConfig) -> Tensor:
    """Return features of a cut, with random reverberation and noise.

    Reverberation is applied to the speech only, since recorded noise has its own.

    Args:
        cut: cut loaded by `load_cuts`.
        config: augmentation; draws from the global random states.

    Returns:
        (T, F); the stored features if neither reverberation nor noise is drawn, unless `from_audio` is set.

    Raises:
        UserError: the audio cannot be decoded.
    """
    reverb, noise = draw(config.reverb.probability), draw(config.noise.probability if config.noise.source else 0)
    if not (reverb or noise or config.from_audio):
        return _load(cut)
    samples = read_samples(cut)
    if reverb:
        samples = add_reverberation(samples, cut.sampling_rate, config.reverb)
    if noise:
        samples = add_noise(samples, cut.sampling_rate, config.noise)
    return torch.from_numpy(extractor(cut.feature_config).extract(samples, cut.sampling_rate))


def draw(probability: float) -> bool:
    """Return True with the given probability, by Python's global random state."""
    return random.random() < probability


def augment(features: Tensor, config: SpecAugmentConfig, frame_shift: float) -> Tensor:
    """Apply Lhotse's SpecAugment to one utterance, with the global random states of Python, NumPy and torch.

    Args:
        features: (T, F).
        config: parameters.
        frame_shift: frame shift in seconds.

    Returns:
        (T, F), a new tensor.
    """
    masks, mask_frames, fraction = _time_masks(len(features), config, frame_shift)
    transform = SpecAugment(
        time_warp_factor=round(config.time_warp / frame_shift),
        num_feature_masks=config.frequency_masks,
        features_mask_size=min(config.frequency_mask_bins, features.shape[1]),
        num_frame_masks=masks,
        frames_mask_size=mask_frames,
        max_frames_mask_fraction=fraction,
        p=config.probability,
    )
    return transform(features.unsqueeze(0)).squeeze(0)


def _time_masks(frames: int, config: SpecAugmentConfig, frame_shift: float) -> tuple[int, int, float]:
    """Return number, maximum length in frames and maximum fraction of the time masks of `frames` frames."""
    most = int(frames * config.time_mask_fraction)
    if config.time_masks == 0 or most == 0:
        return 1, 1, 2 / frames  # Lhotse fails on zero or empty masks; a mask of less than one frame has no effect
    return min(config.time_masks, most), max(1, round(config.time_mask / frame_shift)), config.time_mask_fraction


@contextmanager
def random_state(*seeds: int) -> Iterator[None]:
    """Set the global random states from `seeds`; restore them afterwards."""
    words = _seed_words(*seeds)
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            random.seed(words[0])
            np.random.seed(words[1])
            torch.manual_seed(words[2])
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _seed_words(*seeds: int) -> list[int]:
    """Return three pseudorandom 32-bit numbers that depend on all of `seeds`."""
    return [int(word) for word in np.random.SeedSequence([seed % 2**64 for seed in seeds]).generate_state(3)]


def collate(cuts: Sequence[Cut], features: Sequence[Tensor], in_lanes: Sequence[LaneCut] = ()) -> Batch:
    """Make a batch: sort by decreasing length and pad.

    Args:
        cuts: cuts with one supervision each.
        features: (T, F) of each cut.
        in_lanes: the same cuts with their lanes; empty without sessions.
    """
    order = sorted(range(len(cuts)), key=lambda i: (-len(features[i]), cuts[i].id))
    return Batch(
        ids=[cuts[i].id for i in order],
        texts=[cuts[i].supervisions[0].text for i in order],
        features=pad_sequence([features[i] for i in order], batch_first=True),
        lengths=torch.tensor([len(features[i]) for i in order]),
        lanes=torch.tensor([in_lanes[i].lane for i in order]) if in_lanes else None,
        begins=torch.tensor([in_lanes[i].begins for i in order]) if in_lanes else None,
    )


def _load(cut: Cut) -> Tensor:
    """Return the stored features (T, F) of a cut."""
    return torch.from_numpy(np.array(stored_features(cut), dtype=np.float32))


def _identity(batch: Batch) -> Batch:
    return batch
