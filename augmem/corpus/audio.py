"""Audio files, always decoded by libsndfile."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from lhotse import Recording
from lhotse.audio import AudioLoadingError, AudioSource, DurationMismatchError, set_current_audio_backend
from lhotse.audio.backend import CompositeAudioBackend, LibsndfileBackend
from lhotse.cut import MonoCut

from augmem.errors import UserError


class CachingBackend(LibsndfileBackend):
    """Lhotse's libsndfile backend with a cache of one file, since speed perturbation reads each file three times."""

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
    samples, rate = LibsndfileBackend().read_audio(path, offset, duration)
    samples.flags.writeable = False  # shared by all calls
    return samples, rate


# Lhotse would choose among the decoders of a machine, which differ in the samples of compressed files. A composite of
# one backend turns its errors into AudioLoadingError.
set_current_audio_backend(CompositeAudioBackend([CachingBackend()]))


def describe_audio(path: Path, id: str) -> Recording:
    """Read the header of an audio file.

    Args:
        path: the file.
        id: name of the recording.

    Raises:
        UserError: libsndfile cannot read the file, or it has no samples.
    """
    try:
        info = soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError) as error:
        reason = str(error).split(": ")[-1].strip()
        raise UserError(f"{path}: {reason} Fetch it again, or convert it to FLAC or WAV") from error
    if info.frames <= 0:
        raise UserError(f"{path}: no samples in it. Fetch it again")
    source = AudioSource(type="file", channels=list(range(info.channels)), source=str(path.absolute()))
    return Recording(id, [source], info.samplerate, info.frames, info.frames / info.samplerate)


def read_samples(cut: MonoCut) -> np.ndarray:
    """Decode the audio of a cut.

    Returns:
        (1, samples) float32.

    Raises:
        UserError: the audio cannot be decoded, or has samples that are not finite.
    """
    try:
        samples = cut.load_audio()
        if not np.isfinite(samples).all():
            raise ValueError("its samples are not all finite numbers")
    except (AudioLoadingError, DurationMismatchError, ValueError) as error:
        raise UserError(_explain(cut, error)) from error
    return samples


def _explain(cut: MonoCut, error: Exception) -> str:
    path = cut.recording.sources[0].source
    if isinstance(error, DurationMismatchError):
        return f"{path}: less audio than stated in its header: truncated; fetch it again"
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"{path}: cannot be decoded ({reason}); fetch it again, or convert it to FLAC or WAV"


def read_recording(path: Path, rate: int) -> np.ndarray:
    """Decode and resample the first channel of an audio file.

    Args:
        path: the file.
        rate: sampling rate of the result, in Hz.

    Returns:
        (samples,) float32.

    Raises:
        UserError: the file cannot be decoded.
    """
    try:
        return np.asarray(Recording.from_file(path).resample(rate).load_audio()[0])
    except (AudioLoadingError, RuntimeError, OSError) as error:
        raise UserError(f"{path}: audio cannot be decoded ({error}); convert it to WAV or FLAC") from error
