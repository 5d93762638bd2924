"""Telephone speech: G.711 coding of training audio.

A telephone network transmits 8,000 samples per second in 8 bits each: mu-law in North America and Japan, A-law
elsewhere (ITU-T G.711).
"""

from __future__ import annotations

import io
from math import gcd
from typing import Literal
from zlib import crc32

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

Samples = NDArray[np.float32]
Law = Literal["ULAW", "ALAW"]

TELEPHONE_RATE = 8000  # Hz
_LAWS: tuple[Law | None, ...] = ("ULAW", None, "ALAW", None)


def choose_law(name: str) -> Law | None:
    """Choose the coding of an utterance by its name: a quarter mu-law, a quarter A-law, half none."""
    return _LAWS[crc32(name.encode()) % len(_LAWS)]


def code_g711(samples: Samples, rate: int, law: Law) -> Samples:
    """Encode and decode samples as a telephone network does.

    Args:
        samples: (n,) or (channels, n) in [-1, 1].
        rate: their sampling rate, Hz.
        law: the coding.

    Returns:
        samples of the same shape.
    """
    factor = gcd(rate, TELEPHONE_RATE)
    narrow = resample_poly(samples, TELEPHONE_RATE // factor, rate // factor, axis=-1)
    wide = resample_poly(_code(narrow, law), rate // factor, TELEPHONE_RATE // factor, axis=-1)
    missing = samples.shape[-1] - wide.shape[-1]
    padded = np.pad(wide, [(0, 0)] * (wide.ndim - 1) + [(0, max(0, missing))])
    return padded[..., : samples.shape[-1]].astype(np.float32)


def _code(samples: NDArray[np.floating], law: Law) -> NDArray[np.float64]:
    """Encode and decode by libsndfile."""
    stream = io.BytesIO()
    soundfile.write(stream, np.clip(samples, -1, 1).T, TELEPHONE_RATE, format="WAV", subtype=law)
    stream.seek(0)
    decoded, _ = soundfile.read(stream, dtype="float64")
    return decoded.T
