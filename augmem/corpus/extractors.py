"""Extractors of log-mel features, through Lhotse: its own, or kaldifeat for whole batches, on a GPU if there is one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from lhotse import Fbank, FbankConfig
from lhotse.features import KaldifeatFbank, KaldifeatFbankConfig
from lhotse.features.base import FeatureExtractor
from lhotse.features.kaldifeat import KaldifeatFrameOptions, KaldifeatMelOptions

from augmem.errors import UserError
from augmem.features import FeatureConfig


@lru_cache
def extractor(config: FeatureConfig, device: str = "cpu") -> FeatureExtractor:
    """Return Lhotse's extractor with `snip_edges` off: T frame shifts of audio have T frames.

    Args:
        config: parameters of the features.
        device: where kaldifeat computes; its input may be on any device.

    Raises:
        UserError: kaldifeat is chosen, and cannot be imported.
    """
    return _kaldifeat(config, device) if config.extractor == "kaldifeat" else _fbank(config)


def extract_batch(config: FeatureConfig, samples: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Compute the features of several signals; kaldifeat computes all of them at once.

    Args:
        config: parameters of the features.
        samples: signals (1, n) of one channel, in [-1, 1].

    Returns:
        one array (T, F) per signal.
    """
    rate = config.sampling_rate
    if config.extractor == "fbank":
        return [extractor(config).extract(signal, rate) for signal in samples]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # Tensors, not arrays: Lhotse cannot convert features on a GPU to arrays.
    found = extractor(config, device).extract([torch.from_numpy(signal[0]) for signal in samples], rate)
    return [features.cpu().numpy() for features in found]


def _fbank(config: FeatureConfig) -> Fbank:
    return Fbank(
        FbankConfig(
            sampling_rate=config.sampling_rate,
            num_filters=config.num_mel_bins,
            frame_length=config.frame_length,
            frame_shift=config.frame_shift,
            low_freq=config.low_freq,
            high_freq=config.upper_edge,
            dither=config.dither,
            snip_edges=False,
        )
    )


def _kaldifeat(config: FeatureConfig, device: str) -> KaldifeatFbank:
    try:
        import kaldifeat  # noqa: F401
    except ImportError as error:  # also if it was built for another torch
        raise UserError(
            f"features.extractor=kaldifeat: kaldifeat cannot be imported ({error}); run local/install_kaldifeat.sh, or "
            "use --features.extractor fbank"
        ) from error
    return KaldifeatFbank(
        KaldifeatFbankConfig(
            KaldifeatFrameOptions(
                sampling_rate=config.sampling_rate,
                frame_length=config.frame_length,
                frame_shift=config.frame_shift,
                dither=config.dither,
            ),
            KaldifeatMelOptions(num_bins=config.num_mel_bins, low_freq=config.low_freq, high_freq=config.upper_edge),
            device=device,
        )
    )
