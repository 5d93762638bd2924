"""Stage features: log-mel features computed by Lhotse and stored with the cuts that they belong to."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from lhotse import CutSet, Features, RecordingSet, SupervisionSet
from lhotse.cut import Cut, MonoCut
from lhotse.features.base import StatsAccumulator
from lhotse.features.io import MemoryRawWriter
from lhotse.qa import validate_features
from lhotse.utils import fastcopy

from augmem.cluster import WorkerPool, connect_cluster, explain_killed_process
from augmem.corpus.audio import AudioError, read_recording, read_samples
from augmem.corpus.extractors import extract_batch, extractor
from augmem.corpus.manifests import RECORDINGS, SUPERVISIONS, load_manifest, read_cuts
from augmem.corpus.storage import StorageConfig, check_files, explain_damage, write_features
from augmem.corpus.telephone import choose_law, code_g711
from augmem.errors import UserError
from augmem.features import FeatureConfig
from augmem.files import read_json, write_json
from augmem.progress import Progress, track
from augmem.skipped import SKIPPED_FILE, SkipLog, SkippedUtterance

logger = logging.getLogger(__name__)

CUTS = "cuts.jsonl.gz"
FEATURE_CONFIG = "feature_config.json"
SPEEDS = (0.9, 1.1)
_MIN_CUTS_FOR_PROCESSES = 800  # with fewer, starting processes takes longer than it saves
_MEMORY_LIMIT = 2e9  # bytes of features held in memory
_BATCH_SECONDS = 20.0  # audio of which features are computed at once; more is slower on a CPU
_DEFAULT_STORAGE = StorageConfig()


def compute_features(
    config: FeatureConfig,
    manifests: Path,
    output: Path,
    jobs: int = 1,
    perturb: bool = False,
    scheduler: str | None = None,
    storage: StorageConfig = _DEFAULT_STORAGE,
    telephone: bool = False,
) -> None:
    """Store the features of one part: cuts.jsonl.gz, feats-*.lca (or shar/), skipped.tsv and feature_config.json.

    Paths in the output are relative, so that the folder can be moved.

    Args:
        config: parameters of the features.
        manifests: folder of the part's recordings and supervisions.
        output: folder to fill.
        jobs: number of processes; the result does not depend on it.
        perturb: also store every cut at 0.9 and 1.1 times its speed (Ko et al., Interspeech 2015).
        scheduler: address of a Dask scheduler whose workers are used instead of `jobs`.
        storage: file format.
        telephone: code half of the cuts by G.711; see `augmem.corpus.telephone`.

    Raises:
        FileNotFoundError: the part has not been prepared.
        UserError: no cut has usable audio, or the extractor is not installed.
    """
    part = manifests.name
    extractor(config)  # fails early if it is not installed
    cuts = list(_perturb_speed(read_cuts(manifests), config.sampling_rate, perturb))
    lowest = int(2 * config.band) or config.sampling_rate
    _warn_of_low_rates(part, load_manifest(RecordingSet, manifests / RECORDINGS), lowest)
    jobs_to_do = [
        FeatureJob(config, storage, cuts[start : start + storage.file_cuts], output, number, telephone)
        for number, start in enumerate(range(0, len(cuts), storage.file_cuts))
    ]
    output.mkdir(parents=True, exist_ok=True)
    done, skipped = _run_jobs(jobs_to_do, f"features of {part}", jobs, scheduler)
    if not done:
        raise UserError(f"part {part}: no usable audio; {skipped.counts()}, e.g. {skipped.items[0].detail}")
    CutSet.from_cuts(done).to_file(output / CUTS)
    skipped.write(output / SKIPPED_FILE)
    write_json(output / FEATURE_CONFIG, asdict(config))
    logger.info("features of %s: %d cuts, %.2f h", part, len(done), sum(cut.duration for cut in done) / 3600)
    skipped.log(f"features of {part}", len(done), output / SKIPPED_FILE)


def _perturb_speed(cuts: CutSet, rate: int, perturb: bool) -> Iterator[MonoCut]:
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


class FeatureJob(NamedTuple):
    """The cuts of one output file; their number does not depend on the number of processes."""

    config: FeatureConfig
    storage: StorageConfig
    cuts: list[MonoCut]
    folder: Path
    number: int
    telephone: bool = False


Result = tuple[list[MonoCut], list[SkippedUtterance]]


def _run_jobs(
    feature_jobs: list[FeatureJob], name: str, processes: int, scheduler: str | None
) -> tuple[list[MonoCut], SkipLog]:
    """Run all jobs; return the cuts with features, and the skipped ones."""
    done: list[MonoCut] = []
    skipped = SkipLog()
    with Progress(name, total=sum(len(job.cuts) for job in feature_jobs), unit="cuts") as progress:
        for cuts, left_out in _map_jobs(feature_jobs, processes, scheduler):
            done.extend(cuts)
            skipped.extend(left_out)
            progress.advance(len(cuts) + len(left_out))
    return done, skipped


def _map_jobs(feature_jobs: list[FeatureJob], processes: int, scheduler: str | None) -> Iterator[Result]:
    """Yield the results in order, computed in this process, in others, or on other machines."""
    if scheduler:
        with connect_cluster(scheduler, _use_single_thread) as pool:
            yield from pool.map(_store_features, feature_jobs)
        return
    if processes <= 1 or sum(len(job.cuts) for job in feature_jobs) < _MIN_CUTS_FOR_PROCESSES:
        yield from map(_store_features, feature_jobs)
        return
    # A fork of this process would inherit locked thread pools. A fork server has none, and imports modules only once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with (
        explain_killed_process("use fewer processes (--nj)"),
        WorkerPool(min(processes, len(feature_jobs)), context, _use_single_thread) as pool,
    ):
        yield from pool.map(_store_features, feature_jobs)


def _use_single_thread() -> None:
    torch.set_num_threads(1)


def _store_features(job: FeatureJob) -> Result:
    """Compute the features of a job and store them in its file."""
    skipped: list[SkippedUtterance] = []
    computed = _with_features(_read_audio(job, skipped), job.config)
    return write_features(job.storage, computed, job.folder, job.number), skipped


Audio = tuple[MonoCut, np.ndarray]


def _read_audio(job: FeatureJob, skipped: list[SkippedUtterance]) -> Iterator[Audio]:
    """Yield cuts and their samples (1, n); add the cuts without usable audio to `skipped`."""
    for cut in job.cuts:
        if cut.duration < job.config.frame_length / 2:  # no frame, or too few samples to mirror at the edges
            path = cut.recording.sources[0].source
            detail = f"{path}: {cut.duration:.4f} s are shorter than a frame"
            skipped.append(SkippedUtterance(cut.id, "too short", detail))
            continue
        try:
            yield cut, _samples(cut, job.telephone)
        except AudioError as error:
            skipped.append(SkippedUtterance(cut.id, error.reason, str(error)))


def _with_features(audio_of_cuts: Iterable[Audio], config: FeatureConfig) -> Iterator[MonoCut]:
    """Yield the cuts with features in memory."""
    for batch in _batches(audio_of_cuts):
        found = extract_batch(config, [samples for _, samples in batch])
        yield from (_attach(*audio, features, config) for audio, features in zip(batch, found, strict=True))


def _batches(audio_of_cuts: Iterable[Audio]) -> Iterator[list[Audio]]:
    """Divide cuts into batches of 20 s; the last cut of a batch may exceed it."""
    batch: list[Audio] = []
    for audio in audio_of_cuts:
        batch.append(audio)
        if sum(cut.duration for cut, _ in batch) >= _BATCH_SECONDS:
            yield batch
            batch = []
    if batch:
        yield batch


def _attach(cut: MonoCut, samples: np.ndarray, features: np.ndarray, config: FeatureConfig) -> MonoCut:
    """Return a cut with the features (T, F) of its samples (1, n) in memory."""
    memory = MemoryRawWriter()
    stored = Features(
        type=extractor(config).name,
        num_frames=len(features),
        num_features=features.shape[1],
        frame_shift=config.frame_shift,
        sampling_rate=cut.sampling_rate,
        start=cut.start,
        duration=round(samples.shape[1] / cut.sampling_rate, ndigits=8),
        storage_type=memory.name,
        storage_path=str(memory.storage_path),
        storage_key=memory.write(cut.id, features),
        recording_id=cut.recording_id,
        channels=cut.channel,
    )
    validate_features(stored, feats_data=features)
    return fastcopy(cut, features=stored)


def _samples(cut: MonoCut, telephone: bool) -> np.ndarray:
    """Read the samples of a cut; some are coded as by a telephone network."""
    samples, law = read_samples(cut), choose_law(cut.id)
    return code_g711(samples, cut.sampling_rate, law) if telephone and law else samples


def features_of_file(path: Path, config: FeatureConfig) -> torch.Tensor:
    """Compute features (T, F) of an audio file, its channels averaged, by Lhotse's extractor.

    All extractors give equal features, so a package can be used where that of its training is not installed.

    Raises:
        UserError: the file cannot be decoded, or is shorter than one window.

    Example:
        >>> import soundfile
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     soundfile.write(f"{folder}/noise.wav", np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
        ...     features = features_of_file(Path(folder, "noise.wav"), FeatureConfig())
        >>> features.shape
        torch.Size([100, 80])
    """
    samples = read_recording(path, config.sampling_rate)
    if len(samples) < config.frame_length * config.sampling_rate:
        raise UserError(
            f"{path}: {len(samples) / config.sampling_rate:.3f} s, at least {config.frame_length} s are needed"
        )
    fbank = extractor(replace(config, extractor="fbank"))
    return torch.from_numpy(fbank.extract(samples, config.sampling_rate))


def load_cuts(features: Path, parts: Sequence[str], in_memory: bool | None = None) -> CutSet:
    """Load the cuts of several parts, with features and the custom field `feature_config`.

    Args:
        features: folder with one subfolder per part, as filled by `compute_features`.
        parts: names of the parts.
        in_memory: decompress all features into memory, which makes batches cheaper; None: if they take less than 2 GB.

    Raises:
        FileNotFoundError: a part has no features, or a file is missing.
        UserError: a file is truncated.
    """
    cuts = [cut for part in parts for cut in _load_part(features / part)]
    size = sum(cut.num_frames * cut.num_features * 4 for cut in cuts)
    if in_memory if in_memory is not None else size < _MEMORY_LIMIT:
        cuts = [_move_to_memory(cut) for cut in track(cuts, "loading features", total=len(cuts), unit="cuts")]
    return CutSet.from_cuts(cuts)


def _move_to_memory(cut: MonoCut) -> MonoCut:
    """Load the features of a cut; unlike Lhotse's method, keep their start, which is that of the audio."""
    with explain_damage(cut):
        features = cut.features.move_to_memory(start=cut.start, duration=cut.duration)
    return fastcopy(cut, features=fastcopy(features, start=cut.start))


def stored_features(cut: Cut) -> np.ndarray:
    """Read the features (T, F) of a cut, as stored by `compute_features`.

    Raises:
        UserError: their file is damaged.
    """
    with explain_damage(cut):
        return np.asarray(cut.load_features())


def _load_part(folder: Path) -> CutSet:
    if not (folder / CUTS).is_file():
        raise FileNotFoundError(
            f"{folder / CUTS}: part {folder.name} has no features yet; compute them (stage features)"
        )
    config = FeatureConfig(**read_json(folder / FEATURE_CONFIG))
    cuts = load_manifest(CutSet, folder / CUTS).with_features_path_prefix(folder)
    check_files(cuts, folder)
    return cuts.map(partial(_with_config, config=config))


def _with_config(cut: MonoCut, config: FeatureConfig) -> MonoCut:
    return fastcopy(cut, custom={**(cut.custom or {}), "feature_config": config})


def transcripts(manifests: Path, parts: Sequence[str]) -> list[tuple[str, str]]:
    """Return (id, normalised text) of every utterance of several parts.

    Args:
        manifests: folder with one subfolder per part, as filled by `prepare_corpus`.
        parts: names of the parts.
    """
    return [(id, text) for id, _, text in normalised_texts(manifests, parts)]


def normalised_texts(manifests: Path, parts: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return (id, text as written, normalised text) of every utterance of several parts.

    Args:
        manifests: folder with one subfolder per part, as filled by `prepare_corpus`.
        parts: names of the parts.
    """
    return [
        (supervision.id, (supervision.custom or {}).get("original_text", supervision.text), supervision.text)
        for part in parts
        for supervision in load_manifest(SupervisionSet, manifests / part / SUPERVISIONS)
    ]


def feature_statistics(cuts: CutSet) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute mean and standard deviation of each mel bin over all frames.

    Returns:
        two float64 tensors (F,).
    """
    accumulator = StatsAccumulator(next(iter(cuts)).num_features)
    for cut in cuts:
        accumulator.update(stored_features(cut))
    statistics = accumulator.get()
    mean, std = statistics["norm_means"], statistics["norm_stds"]
    return torch.as_tensor(mean, dtype=torch.float64), torch.as_tensor(std, dtype=torch.float64)
