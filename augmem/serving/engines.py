"""The engines of decoding processes: torch with k2, or onnxruntime with kaldi-decoder, as the package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from augmem.onnx_package import is_onnx_package

if TYPE_CHECKING:
    from augmem.features import FeatureConfig
    from augmem.hotword_line import HotwordLine
    from augmem.onnx_engine import EngineOptions
    from augmem.streaming import RecognizerOptions

    EngineChoice = RecognizerOptions | EngineOptions | None


class LiveRecognizer(Protocol):
    """`augmem.streaming.Recognizer`, or `augmem.onnx_engine.OnnxRecognizer`."""

    def stream(self) -> Any:
        """Return a new stream."""

    def step(self, streams: Sequence[Any]) -> int:
        """Advance the streams that are ready; return their number."""

    @property
    def chunk_frames(self) -> int:
        """Feature frames that a running stream needs for a step."""

    @property
    def chunk_duration(self) -> float:
        """Their duration in seconds."""

    @property
    def feature_config(self) -> FeatureConfig:
        """Feature options of the model."""

    def make_hotwords(self, hotwords: tuple[HotwordLine, ...]) -> Any:
        """Check hotwords for the attribute `hotwords` of a stream."""


def load_engine(package: Path, options: EngineChoice, threads: int) -> LiveRecognizer:
    """Load the recognizer of a package, without torch and k2 if it is one for the onnx engine.

    Args:
        package: a package of either engine, which has been verified.
        options: options of its engine; None: the default.
        threads: number of threads.
    """
    if is_onnx_package(package):
        from augmem.onnx_engine import EngineOptions, OnnxRecognizer

        assert options is None or isinstance(options, EngineOptions)
        return OnnxRecognizer(package, options, threads)
    import torch

    from augmem.streaming import Recognizer, RecognizerOptions

    assert options is None or isinstance(options, RecognizerOptions)
    torch.set_num_threads(threads)
    return Recognizer.load(package, options, verify=False)
