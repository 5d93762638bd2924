"""sherpa-onnx, unmodified, finds the words that this project finds in the same graph."""

from __future__ import annotations

import re
import subprocess
import sys
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sherpa_onnx
import torch

from augmem.cli import command_parser, run
from augmem.decoding import DecodingConfig, DecodingGraph, best_path, find_lattices, path_word_ids
from augmem.errors import UserError
from augmem.features import FeatureConfig
from augmem.sherpa import export_sherpa
from augmem.streaming import OnlineFeatures, Package, open_package
from tests.tiny import RATE, noise

SIGNALS = [noise(seconds, seed) for seed, seconds in enumerate((0.3, 1.1, 2.0, 2.9, 3.7, 5.3))]


@pytest.fixture(scope="module")
def content(package: Path) -> Package:
    return open_package(package)


@pytest.fixture(scope="module")
def exported(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export by the command line."""
    folder = tmp_path_factory.mktemp("sherpa") / "out"
    words = ["export", "--package", str(package), "--format", "sherpa-onnx", str(folder)]
    assert run(command_parser("export").parse_args(words)) == 0
    return folder


@pytest.fixture(scope="module")
def recognizer(exported: Path) -> sherpa_onnx.OnlineRecognizer:
    return sherpa_onnx.OnlineRecognizer.from_zipformer2_ctc(
        tokens=str(exported / "tokens.txt"), model=str(exported / "model.onnx"), ctc_graph=str(exported / "HLG.fst"),
        num_threads=1,
    )  # fmt: skip


def with_silence(samples: np.ndarray, length: int = RATE) -> np.ndarray:
    return np.append(samples, np.zeros(length, np.float32))


def project_words(content: Package, samples: np.ndarray) -> list[int]:
    """Return the words of the best path for the frames that sherpa-onnx decodes: whole windows.

    The beam is wide, so that neither search loses the best path.
    """
    features = OnlineFeatures(content.features)
    features.accept(samples, RATE)
    features.finish()
    frames = torch.from_numpy(features.take())
    encoder = content.model.encoder
    window, shift = (encoder.centre + encoder.right) * encoder.subsampling, encoder.chunk_frames
    windows = (len(frames) - window - 1) // shift + 1
    with torch.no_grad():
        scores, _ = content.model(frames[None], torch.tensor([len(frames)]))
    scores = scores[:, : windows * encoder.centre]
    config = DecodingConfig(search_beam=100.0, output_beam=8.0, max_active=100_000, acoustic_scale=1.0)
    found = find_lattices(scores, torch.tensor([scores.size(1)]), DecodingGraph.load(content.graph), config)[0]
    return path_word_ids(found.lattice, best_path(found.lattice))


def decode(recognizer: sherpa_onnx.OnlineRecognizer, signals: list[np.ndarray]) -> list[list[int]]:
    """Return the words of several streams, decoded in batches of those that are ready."""
    streams = [recognizer.create_stream() for _ in signals]
    for stream, samples in zip(streams, signals, strict=True):
        stream.accept_waveform(RATE, samples)
        stream.input_finished()
    while ready := [stream for stream in streams if recognizer.is_ready(stream)]:
        recognizer.decode_streams(ready)
    return [list(recognizer.get_result_all(stream).words) for stream in streams]


def test_words_equal_those_of_this_project(content: Package, recognizer: sherpa_onnx.OnlineRecognizer) -> None:
    signals = [with_silence(samples) for samples in SIGNALS]
    expected = [project_words(content, samples) for samples in signals]
    assert max(map(len, expected)) > 3
    assert [decode(recognizer, [samples])[0] for samples in signals] == expected
    assert decode(recognizer, signals) == expected, "all streams in one batch"


def test_the_program_transcribes_a_file(
    content: Package, exported: Path, recognizer: sherpa_onnx.OnlineRecognizer, tmp_path: Path
) -> None:
    samples = (SIGNALS[-1] * 32767).astype(np.int16)
    with wave.open(str(tmp_path / "speech.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    program = [sys.executable, str(exported / "transcribe.py"), str(tmp_path / "speech.wav")]
    printed = subprocess.run(program, capture_output=True, text=True, check=True).stdout.split()
    silence = re.search(r"zeros\((\d+)", (exported / "transcribe.py").read_text())
    assert silence
    words = decode(recognizer, [with_silence(samples.astype(np.float32) / 32768, int(silence[1]))])[0]
    assert printed == [content.lang.word_of[word] for word in words] and printed


def test_the_int8_model_runs(exported: Path) -> None:
    small = sherpa_onnx.OnlineRecognizer.from_zipformer2_ctc(
        tokens=str(exported / "tokens.txt"), model=str(exported / "model.int8.onnx"), num_threads=1,
        ctc_graph=str(exported / "HLG.fst"),
    )  # fmt: skip
    assert decode(small, [with_silence(SIGNALS[-1])])[0]


@pytest.mark.parametrize(("name", "value", "fixed"), [("low_freq", 50.0, "20.0"), ("band", 4000.0, "0.0")])
def test_features_that_sherpa_onnx_does_not_have_are_refused(
    content: Package, tmp_path: Path, name: str, value: float, fixed: str
) -> None:
    other = content._replace(features=replace(FeatureConfig(), **{name: value}))
    with pytest.raises(UserError, match=rf"features\.{name} is {value}, and sherpa-onnx has {fixed} only"):
        export_sherpa(other, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_another_folder_is_not_replaced(content: Package, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(UserError, match="not an earlier export"):
        export_sherpa(content, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give either --exp or --package"),
        (["--exp", "a", "--package", "b"], "give either --exp or --package"),
        (["--exp", "a"], "without --format, give --exp EXP --output"),
        (["--package", "a", "--format", "sherpa-onnx"], "takes a folder"),
    ],
)
def test_options_that_do_not_go_together(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(command_parser("export").parse_args(["export", *words]))
