"""Stage features: log-mel filter banks by Lhotse, stored beside the cuts that they belong to."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lhotse import CutSet, Fbank, FbankConfig, Recording, RecordingSet, SupervisionSet
from lhotse.audio import AudioLoadingError, DurationMismatchError
from lhotse.cut import Cut, MonoCut
from lhotse.features.base import StatsAccumulator
from lhotse.features.io import MemoryRawWriter
from lhotse.utils import fastcopy
from tqdm import tqdm

from augmem.cluster import cluster, explain_killed_process
from augmem.corpus.manifests import RECORDINGS, SUPERVISIONS, read_cuts
from augmem.corpus.skips import SKIPPED, Skip, SkipList
from augmem.corpus.storage import StorageConfig, check_files, naming_damage, write_features
from augmem.features import FeatureConfig
from augmem.files import read_json, write_json

logger = logging.getLogger(__name__)

CUTS = "cuts.jsonl.gz"
FEATURE_CONFIG = "feature_config.json"
SPEEDS = (0.9, 1.1)
_CUTS_WORTH_PROCESSES = 800  # a new process imports for as long as so many take
_MEMORY_LIMIT = 2e9  # bytes
_DEFAULT_STORAGE = StorageConfig()


@lru_cache
def extractor(config: FeatureConfig) -> Fbank:
    """Lhotse's extractor; `snip_edges` is off, so that T frames are T frame shifts of audio."""
    return Fbank(
        FbankConfig(
            sampling_rate=config.sampling_rate,
            num_filters=config.num_mel_bins,
            frame_length=config.frame_length,
            frame_shift=config.frame_shift,
            low_freq=config.low_freq,
            high_freq=config.high_freq,
            dither=config.dither,
            snip_edges=False,
        )
    )


def compute_features(
    config: FeatureConfig,
    manifests: Path,
    output: Path,
    jobs: int = 1,
    perturb: bool = False,
    scheduler: str | None = None,
    storage: StorageConfig = _DEFAULT_STORAGE,
) -> None:
    """Store the features of one part: cuts.jsonl.gz, feats-*.lca (or shar/), skipped.tsv and feature_config.json.

    Args:
        config: what to compute.
        manifests: folder of the part's recordings and supervisions.
        output: folder to fill; it may be moved afterwards, paths in it are relative.
        jobs: processes to use; the result does not depend on it.
        perturb: store every cut at 0.9 and 1.1 times its speed too.
        scheduler: address of a Dask scheduler whose workers are used in the place of `jobs`.
        storage: in what form.

    Raises:
        FileNotFoundError: the part has not been prepared.
        ValueError: not one of its cuts has usable audio.
    """
    part = manifests.name
    cuts = list(_perturbed(read_cuts(manifests), config.sampling_rate, perturb))
    _warn_of_low_rates(part, RecordingSet.from_file(manifests / RECORDINGS), config.sampling_rate)
    blocks = [
        Block(config, storage, cuts[start : start + storage.file_cuts], output, number)
        for number, start in enumerate(range(0, len(cuts), storage.file_cuts))
    ]
    done: list[MonoCut] = []
    skips = SkipList()
    output.mkdir(parents=True, exist_ok=True)
    with tqdm(total=len(cuts), desc=f"features of {part}", unit=" cuts") as progress:
        for kept, skipped in _map_blocks(blocks, jobs, scheduler):
            done.extend(kept)
            skips.extend(skipped)
            progress.update(len(kept) + len(skipped))
        if not done:
            raise ValueError(f"part {part}: no usable audio; {skips.counts()}, e.g. {skips.items[0].detail}")
        CutSet.from_cuts(done).to_file(output / CUTS)
        skips.write(output / SKIPPED)
        write_json(output / FEATURE_CONFIG, asdict(config))
    logger.info("features of %s: %d cuts, %.2f h", part, len(done), sum(cut.duration for cut in done) / 3600)
    skips.report(f"features of {part}", len(done), output / SKIPPED)


def _perturbed(cuts: CutSet, rate: int, perturb: bool) -> Iterator[MonoCut]:
    for cut in cuts:
        resampled = cut.resample(rate)
        yield resampled
        if perturb:
            yield from (resampled.perturb_speed(speed) for speed in SPEEDS)


def _warn_of_low_rates(part: str, recordings: RecordingSet, rate: int) -> None:
    low = [recording for recording in recordings if recording.sampling_rate < rate]
    if low:
        logger.warning(
            "part %s: %d of %d recordings have less than %d Hz (%s: %d Hz): their upper mel bins are empty",
            part, len(low), len(recordings), rate, low[0].id, low[0].sampling_rate,
        )  # fmt: skip


class Block(NamedTuple):
    """The cuts of one file, so chosen that the number of jobs does not change the result."""

    config: FeatureConfig
    storage: StorageConfig
    cuts: list[MonoCut]
    folder: Path
    number: int


Result = tuple[list[MonoCut], list[Skip]]


def _map_blocks(blocks: list[Block], jobs: int, scheduler: str | None) -> Iterator[Result]:
    """Work through the blocks in order, in this process, in `jobs` others, or on other machines."""
    if scheduler:
        with cluster(scheduler, _single_thread) as pool:
            yield from pool.map(_store_block, blocks)
        return
    if jobs <= 1 or sum(len(block.cuts) for block in blocks) < _CUTS_WORTH_PROCESSES:
        yield from map(_store_block, blocks)
        return
    # A fork of this process would inherit its thread pools, locked for ever; a fresh server has none, and imports once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with (
        explain_killed_process("use fewer jobs (--nj)"),
        ProcessPoolExecutor(min(jobs, len(blocks)), context, initializer=_single_thread) as pool,
    ):
        yield from pool.map(_store_block, blocks)


def _single_thread() -> None:
    torch.set_num_threads(1)


def _store_block(block: Block) -> Result:
    """Compute and store the features of a few cuts in one file; say which had no usable audio."""
    skipped: list[Skip] = []
    computed = _with_features(block.cuts, extractor(block.config), skipped)
    return write_features(block.storage, computed, block.folder, block.number), skipped


def _with_features(cuts: Sequence[MonoCut], fbank: Fbank, skipped: list[Skip]) -> Iterator[MonoCut]:
    """The cuts with features in memory; those whose audio cannot be decoded go to `skipped`."""
    memory = MemoryRawWriter()
    for cut in cuts:
        if cut.duration < fbank.config.frame_length / 2:  # less has no frame, or too little to mirror at its ends
            path = cut.recording.sources[0].source
            skipped.append(Skip(cut.id, "too short", f"{path}: {cut.duration:.4f} s of it are no frame of features"))
            continue
        try:
            features = fbank.extract_from_samples_and_store(
                read_samples(cut), memory, cut.sampling_rate, offset=cut.start, channel=cut.channel
            )
        except ValueError as error:
            skipped.append(Skip(cut.id, "unreadable audio", str(error)))
            continue
        yield fastcopy(cut, features=fastcopy(features, recording_id=cut.recording_id))


def read_samples(cut: MonoCut) -> np.ndarray:
    """Samples (1, samples) of a cut.

    Raises:
        ValueError: they cannot be decoded, or are not finite; names the file and says what to do.
    """
    try:
        samples = cut.load_audio()
        if not np.isfinite(samples).all():
            raise ValueError("its samples are not all finite numbers")
    except (AudioLoadingError, DurationMismatchError, ValueError) as error:
        raise ValueError(_explain_audio(cut, error)) from error
    return samples


def _explain_audio(cut: MonoCut, error: Exception) -> str:
    path = cut.recording.sources[0].source
    if isinstance(error, DurationMismatchError):
        return f"{path}: less audio than its header promises: truncated; fetch it again"
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"{path}: it can't be decoded ({reason}); fetch it again, or convert it to FLAC or WAV"


def features_of_file(path: Path, config: FeatureConfig) -> torch.Tensor:
    """Features (T, F) of the first channel of an audio file.

    Raises:
        ValueError: it cannot be read as audio.
    """
    try:
        samples = Recording.from_file(path).resample(config.sampling_rate).load_audio()[0]
    except (AudioLoadingError, RuntimeError, OSError) as error:
        raise ValueError(f"{path}: not audio that can be read ({error}); convert it to WAV or FLAC") from error
    return torch.from_numpy(extractor(config).extract(samples, config.sampling_rate))


def load_cuts(features: Path, parts: Sequence[str], in_memory: bool | None = None) -> CutSet:
    """The cuts of several parts, with their features; each also knows its `feature_config`.

    Args:
        features: folder with one subfolder per part, as `compute_features` filled it.
        parts: which of them.
        in_memory: hold all features in memory, which makes batches cheaper by the cost of decompression;
            none: if they take less than 2 GB.

    Raises:
        FileNotFoundError: a part has no features yet, or one of its files is missing.
        ValueError: a file has been cut short.
    """
    cuts = [cut for part in parts for cut in _load_part(features / part)]
    size = sum(cut.num_frames * cut.num_features * 4 for cut in cuts)
    if in_memory if in_memory is not None else size < _MEMORY_LIMIT:
        cuts = [_in_memory(cut) for cut in tqdm(cuts, desc="loading features", leave=False)]
    return CutSet.from_cuts(cuts)


def _in_memory(cut: MonoCut) -> MonoCut:
    """The cut with its features in memory. Lhotse's own would have it begin at 0, where its audio does not."""
    with naming_damage(cut):
        features = cut.features.move_to_memory(start=cut.start, duration=cut.duration)
    return fastcopy(cut, features=fastcopy(features, start=cut.start))


def stored_features(cut: Cut) -> np.ndarray:
    """Features (T, F) of a cut, as `compute_features` stored them.

    Raises:
        ValueError: their file is damaged; names it.
    """
    with naming_damage(cut):
        return np.asarray(cut.load_features())


def _load_part(folder: Path) -> CutSet:
    if not (folder / CUTS).is_file():
        raise FileNotFoundError(
            f"{folder / CUTS}: part {folder.name} has no features yet; compute them (stage features)"
        )
    config = FeatureConfig(**read_json(folder / FEATURE_CONFIG))
    cuts = CutSet.from_file(folder / CUTS).with_features_path_prefix(folder)
    check_files(cuts, folder)
    return cuts.map(partial(_with_config, config=config))


def _with_config(cut: MonoCut, config: FeatureConfig) -> MonoCut:
    return fastcopy(cut, custom={**(cut.custom or {}), "feature_config": config})


def transcripts(manifests: Path, parts: Sequence[str]) -> list[tuple[str, str]]:
    """(id, normalised text) of every utterance of several parts, from their manifests."""
    return [
        (supervision.id, supervision.text)
        for part in parts
        for supervision in SupervisionSet.from_file(manifests / part / SUPERVISIONS)
    ]


def normalised_texts(manifests: Path, parts: Sequence[str]) -> list[tuple[str, str, str]]:
    """(id, text as written, normalised text) of every utterance of several parts, from their manifests."""
    return [
        (supervision.id, (supervision.custom or {}).get("original_text", supervision.text), supervision.text)
        for part in parts
        for supervision in SupervisionSet.from_file(manifests / part / SUPERVISIONS)
    ]


def feature_statistics(cuts: CutSet) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each bin over all frames: two float64 tensors (F,)."""
    accumulator = StatsAccumulator(next(iter(cuts)).num_features)
    for cut in cuts:
        accumulator.update(stored_features(cut))
    statistics = accumulator.get()
    mean, std = statistics["norm_means"], statistics["norm_stds"]
    return torch.as_tensor(mean, dtype=torch.float64), torch.as_tensor(std, dtype=torch.float64)
