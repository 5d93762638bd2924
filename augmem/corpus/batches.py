"""Batches for training and evaluation, through Lhotse's samplers.

The batches of an epoch are a pure function of the cuts, the configuration and the epoch: which utterances
meet, in which order, what noise is mixed in and what SpecAugment masks. No state survives from one batch to the
next, so a run that resumes at batch n sees exactly what it would have seen, however many workers load the data.

Shapes: B batch, T frames, F mel bins.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset import SpecAugment
from lhotse.dataset.sampling import DynamicBucketingSampler, DynamicCutSampler
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from augmem.corpus.augmentation import NoiseConfig, ReverbConfig, with_noise, with_reverberation
from augmem.corpus.features import extractor, read_samples, stored_features
from augmem.corpus.sessions import Turn, plan_sessions


@dataclass(frozen=True)
class SpecAugmentConfig:
    """What is hidden from the model so that it learns to do without (Park et al., arXiv 1904.08779).

    Args:
        enabled: off: the features as they are.
        probability: that an utterance is augmented at all.
        time_warp: seconds by which a point in time may move; 0: no warping. Utterances shorter than about
            twice that are not warped.
        frequency_masks: bands hidden per utterance.
        frequency_mask_bins: their greatest width, in mel bins.
        time_masks: stretches hidden per utterance, at most.
        time_mask: their greatest length, in seconds.
        time_mask_fraction: of an utterance that all time masks together may hide, at most.
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
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"spec_augment.{name}={getattr(self, name)}: must lie between 0 and 1")
        for name in ("time_warp", "frequency_masks", "time_masks"):
            if getattr(self, name) < 0:
                raise ValueError(f"spec_augment.{name}={getattr(self, name)}: must not be negative")
        for name in ("frequency_mask_bins", "time_mask"):
            if getattr(self, name) <= 0:
                raise ValueError(f"spec_augment.{name}={getattr(self, name)}: must be positive")


@dataclass(frozen=True)
class BatchConfig:
    """How utterances are put together.

    Args:
        max_duration: seconds in a batch, padding included; a longer utterance makes a batch of its own.
        num_buckets: groups of like duration from which batches are drawn; more: less padding, less mixing.
        seed: of the order and the masks.
        session_cuts: with more than 1, so many consecutive utterances of a recording (or of a speaker, where each is a
            recording) form a session, in which an augmented-memory encoder keeps its memory from one to the next; a
            batch then holds one utterance of each of several sessions, `max_duration` long on average.
        workers: processes that load batches ahead of training; 0: none, each is loaded when it is asked for.
        from_audio: compute the features of every utterance from its audio; otherwise stored ones are used for all that
            neither noise nor reverberation changes.
        reverb: rooms to speak in.
        noise: noise to be mixed in.
        spec_augment: masks over time and frequency.
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
        if self.max_duration <= 0:
            raise ValueError(f"batches.max_duration={self.max_duration}: must be positive")
        if self.num_buckets < 1:
            raise ValueError(f"batches.num_buckets={self.num_buckets}: must be at least 1")
        if self.session_cuts < 1:
            raise ValueError(f"batches.session_cuts={self.session_cuts}: must be at least 1")
        if self.workers < 0:
            raise ValueError(f"batches.workers={self.workers}: must not be negative")


@dataclass
class Batch:
    """A few utterances, the longest first.

    Args:
        ids: of the cuts.
        texts: normalised transcripts.
        features: (B, T, F) float32, padded with zeros.
        lengths: (B,) int64, frames.
        lanes: (B,) int64, the lane of each utterance, and
        begins: (B,) bool, whether a session begins with it; none where utterances are on their own.
    """

    ids: list[str]
    texts: list[str]
    features: Tensor
    lengths: Tensor
    lanes: Tensor | None = None
    begins: Tensor | None = None


def training_batches(
    cuts: CutSet, config: BatchConfig, epoch: int, numbers: Sequence[int] | None = None
) -> Iterator[Batch]:
    """The batches of one epoch; with `numbers` only these, in this order, and no others are loaded.

    The global random states of this process are neither read nor changed.

    Args:
        cuts: with features and one supervision each, not empty.
        config: how to batch and augment.
        epoch: any two differ in order and masks.
        numbers: of the batches wanted, from 0.
    """
    dataset = _Batches(_plan(cuts, config, epoch), config, epoch)
    numbers = range(len(dataset)) if numbers is None else numbers
    if config.workers == 0:
        yield from map(dataset.__getitem__, numbers)
        return
    yield from DataLoader(
        dataset,
        batch_size=None,
        sampler=numbers,
        num_workers=config.workers,
        collate_fn=_as_it_is,
        generator=torch.Generator().manual_seed(0),  # else it would draw from the training's random state
    )


def num_batches(cuts: CutSet, config: BatchConfig, epoch: int) -> int:
    """How many batches `training_batches` gives in that epoch."""
    return len(_plan(cuts, config, epoch))


def evaluation_batches(cuts: CutSet, max_duration: float) -> Iterator[Batch]:
    """Every cut once, without augmentation, the longest first (what runs out of memory does so at once).

    Args:
        cuts: with features and one supervision each.
        max_duration: seconds in a batch, padding included.
    """
    ordered = sorted(cuts, key=lambda cut: (-cut.duration, cut.id))
    sampler = DynamicCutSampler(ordered, max_duration=max_duration, shuffle=False, world_size=1, rank=0)
    for batch in sampler:
        yield collate(list(batch), [_load(cut) for cut in batch])


def _plan(cuts: CutSet, config: BatchConfig, epoch: int) -> list[list[Cut]] | list[list[Turn]]:
    """All batches of an epoch, nothing loaded yet."""
    listed = list(cuts)  # as a plain list: samplers warn of a CutSet in memory
    order, sampling, _ = _words(config.seed, epoch)  # Lhotse's seed + epoch would have (0, 1) equal (1, 0)
    if config.session_cuts > 1:
        return plan_sessions(listed, config.session_cuts, config.max_duration, order)
    options = {"max_duration": config.max_duration, "shuffle": True, "seed": sampling, "world_size": 1, "rank": 0}
    buckets = min(config.num_buckets, len(listed))
    sampler = (
        DynamicBucketingSampler(listed, num_buckets=buckets, **options)
        if buckets > 1
        else DynamicCutSampler(listed, **options)
    )
    plan = [list(batch) for batch in sampler]
    # Lhotse visits the buckets in the same order in every epoch and has the odd small batches last; its option
    # sync_buckets=False would mend the first, but in 1.32 it loses utterances at the end of an epoch.
    random.Random(order).shuffle(plan)
    return plan


class _Batches(Dataset):
    """Batch by number; each draws its rooms, noise and masks from random states of its own."""

    def __init__(self, plan: list[list[Cut]] | list[list[Turn]], config: BatchConfig, epoch: int) -> None:
        self.plan, self.config, self.epoch = plan, config, epoch

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, number: int) -> Batch:
        planned = self.plan[number]
        turns = [item for item in planned if isinstance(item, Turn)]
        cuts = [turn.cut for turn in turns] or planned
        with random_state(self.config.seed, self.epoch, number, 1):
            features = [load_features(cut, self.config) for cut in cuts]
        if self.config.spec_augment.enabled:
            with random_state(self.config.seed, self.epoch, number):
                features = [
                    augment(matrix, self.config.spec_augment, cut.features.frame_shift)
                    for matrix, cut in zip(features, cuts, strict=True)
                ]
        return collate(cuts, features, turns)


def load_features(cut: Cut, config: BatchConfig) -> Tensor:
    """Features (T, F) of a cut as it sounds in some room and with some noise, if it is to; else the stored ones.

    Reverberation comes first: the noise is taken to be recorded where it is heard.

    Args:
        cut: with stored features; for anything else also with audio, and loaded by `load_cuts`.
        config: how to augment; draws from the global random states.

    Raises:
        ValueError: its audio cannot be decoded; names the file.
    """
    reverb, noise = chance(config.reverb.probability), chance(config.noise.probability if config.noise.source else 0)
    if not (reverb or noise or config.from_audio):
        return _load(cut)
    samples = read_samples(cut)
    if reverb:
        samples = with_reverberation(samples, cut.sampling_rate, config.reverb)
    if noise:
        samples = with_noise(samples, cut.sampling_rate, config.noise)
    return torch.from_numpy(extractor(cut.feature_config).extract(samples, cut.sampling_rate))


def chance(probability: float) -> bool:
    """Whether it happens, by Python's global random state."""
    return random.random() < probability


def augment(features: Tensor, config: SpecAugmentConfig, frame_shift: float) -> Tensor:
    """Lhotse's SpecAugment of one utterance.

    Args:
        features: (T, F).
        config: what to hide.
        frame_shift: seconds.

    Returns:
        (T, F), a new tensor; drawn from the global random states of Python, NumPy and torch.
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
    """Number, greatest length and greatest share of the time masks, for `frames` frames."""
    may_hide = int(frames * config.time_mask_fraction)
    if config.time_masks == 0 or may_hide == 0:
        return 1, 1, 2 / frames  # Lhotse fails on no masks and on empty ones; one of less than a frame hides nothing
    return min(config.time_masks, may_hide), max(1, round(config.time_mask / frame_shift)), config.time_mask_fraction


@contextmanager
def random_state(*seeds: int) -> Iterator[None]:
    """Have the global random states follow from `seeds` alone, and afterwards be what they were."""
    words = _words(*seeds)
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


def _words(*seeds: int) -> list[int]:
    """Three numbers of 32 bits that look random and depend on all of `seeds`."""
    return [int(word) for word in np.random.SeedSequence([seed % 2**64 for seed in seeds]).generate_state(3)]


def collate(cuts: Sequence[Cut], features: Sequence[Tensor], turns: Sequence[Turn] = ()) -> Batch:
    """Sort by decreasing length and pad."""
    order = sorted(range(len(cuts)), key=lambda i: (-len(features[i]), cuts[i].id))
    return Batch(
        ids=[cuts[i].id for i in order],
        texts=[cuts[i].supervisions[0].text for i in order],
        features=pad_sequence([features[i] for i in order], batch_first=True),
        lengths=torch.tensor([len(features[i]) for i in order]),
        lanes=torch.tensor([turns[i].lane for i in order]) if turns else None,
        begins=torch.tensor([turns[i].begins for i in order]) if turns else None,
    )


def _load(cut: Cut) -> Tensor:
    """Features (T, F) of a cut."""
    return torch.from_numpy(np.array(stored_features(cut), dtype=np.float32))


def _as_it_is(batch: Batch) -> Batch:
    return batch
