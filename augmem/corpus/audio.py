"""Recordings and samples of audio files, always decoded by libsndfile."""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from lhotse import Recording
from lhotse.audio import AudioLoadingError, AudioSource, DurationMismatchError, set_current_audio_backend
from lhotse.audio.backend import CompositeAudioBackend, LibsndfileBackend
from lhotse.cut import MonoCut
from lhotse.utils import compute_num_samples

from augmem.audio import MAX_PEAK, AudioFile
from augmem.errors import UserError

logger = logging.getLogger(__name__)

_BLOCK = 1 << 16  # samples


class AudioError(UserError):
    """Audio that cannot be used.

    Args:
        message: file, fault and remedy.
        reason: a few words for skipped.tsv.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class CachingBackend(LibsndfileBackend):
    """Lhotse's libsndfile backend with a cache of one file, since speed perturbation reads each file three times."""

    def is_applicable(self, path_or_fd: Any) -> bool:
        return True  # libsndfile identifies the format by content, not by the file name

    def read_audio(
        self,
        path_or_fd: Any,
        offset: float = 0.0,
        duration: float | None = None,
        force_opus_sampling_rate: int | None = None,
    ) -> tuple[np.ndarray, int]:
        if not isinstance(path_or_fd, str):
            return super().read_audio(path_or_fd, offset, duration)
        status = Path(path_or_fd).stat()
        return _read_file(path_or_fd, offset, duration, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1)
def _read_file(path: str, offset: float, duration: float | None, *version: int) -> tuple[np.ndarray, int]:
    """Decode a file; `version` changes with its content."""
    with AudioFile(path) as audio:
        count = None if duration is None else compute_num_samples(duration, audio.rate)
        samples = audio.read(compute_num_samples(offset, audio.rate) if offset else 0, count).T
        samples.flags.writeable = False  # shared by all calls
        return samples, audio.rate


# Lhotse would choose among the decoders of a machine, which differ in the samples of compressed files, and run
# sph2pipe in a shell on names that end in .sph. A composite of one backend turns its errors into AudioLoadingError.
set_current_audio_backend(CompositeAudioBackend([CachingBackend()]))


def describe_audio(path: Path, id: str) -> Recording:
    """Read the header of an audio file, and compare it with the file.

    Args:
        path: the file.
        id: name of the recording.

    Raises:
        AudioError: libsndfile cannot read the file, it is truncated, or it has no samples.
    """
    recording, problem = _describe(path, id)
    if problem:
        raise AudioError(f"{path}: {problem}; fetch it again", "truncated audio")
    if recording.num_samples <= 0:
        raise AudioError(f"{path}: no samples in it. Fetch it again", "unreadable audio")
    return recording


def _describe(path: Path, id: str) -> tuple[Recording, str]:
    """Return a recording, and the problem of its file."""
    try:
        with AudioFile(path) as audio:
            frames = audio.frames
            if frames is None:
                frames = sum(map(len, audio.blocks(_BLOCK)))
            source = AudioSource(type="file", channels=list(range(audio.channels)), source=str(path.absolute()))
            return Recording(id, [source], audio.rate, frames, frames / audio.rate), audio.problem
    except UserError as error:
        raise AudioError(f"{path}: {error}. Fetch it again if it is damaged", "unreadable audio") from error


def read_samples(cut: MonoCut) -> np.ndarray:
    """Decode the audio of a cut.

    Returns:
        (1, samples) float32.

    Raises:
        AudioError: the audio cannot be decoded, is digital silence, or has samples that are not finite or far above
            full scale.
    """
    try:
        samples = cut.load_audio()
    except (AudioLoadingError, DurationMismatchError, ValueError) as error:
        raise AudioError(_explain(cut, error), "unreadable audio") from error
    if problem := _signal_problem(samples):
        raise AudioError(f"{cut.recording.sources[0].source}: {problem}", "unusable signal")
    return samples


def _signal_problem(samples: np.ndarray) -> str:
    if not np.isfinite(samples).all():
        return "its samples are not all finite numbers; convert it again"
    if samples.size and samples.max() == samples.min():
        return "digital silence: all samples are equal; record it again, or choose another channel"
    if (peak := np.abs(samples).max(initial=0.0)) > MAX_PEAK:
        return f"peak of {peak:g}, but full scale is 1.0; divide samples by 32768 if they were int16"
    return ""


def _explain(cut: MonoCut, error: Exception) -> str:
    path = cut.recording.sources[0].source
    if problem := _truncation(Path(path)):
        return f"{path}: cannot be decoded to its end: {problem}; fetch it again"
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"{path}: cannot be decoded ({reason}); fetch it again, or convert it to FLAC or WAV"


def _truncation(path: Path) -> str:
    """Decode a whole file; return how it is damaged, empty if it is not."""
    try:
        with AudioFile(path) as audio:
            for _ in audio.blocks(audio.rate // 10):
                pass
            return audio.problem
    except (UserError, OSError):
        return ""


def read_recording(path: Path, rate: int) -> np.ndarray:
    """Decode and resample an audio file; average its channels, with a warning if there are several.

    Args:
        path: the file.
        rate: sampling rate of the result, in Hz.

    Returns:
        (samples,) float32.

    Raises:
        UserError: the file cannot be decoded.
    """
    recording, problem = _describe(path, path.stem)
    if problem:
        logger.warning("%s: %s", path, problem)
    if recording.num_channels > 1:
        logger.warning("%s: %d channels, averaged", path, recording.num_channels)
    try:
        return np.asarray(recording.resample(rate).load_audio().mean(axis=0))
    except (AudioLoadingError, DurationMismatchError, RuntimeError, OSError) as error:
        reason = _truncation(path) or " ".join(str(error).split())[:200]
        raise UserError(f"{path}: audio cannot be decoded ({reason}); convert it to WAV or FLAC") from error
