"""The onnx engine finds the words of the torch model and k2, without importing either."""

from __future__ import annotations

import asyncio
import json
import lzma
import os
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import torch

import augmem
from augmem.cli import command_parser, run
from augmem.decoding import DecodingConfig, DecodingGraph, SearchConfig, best_path, find_lattices, path_word_ids
from augmem.errors import UserError
from augmem.files import read_json
from augmem.onnx_engine import EngineOptions, OnnxRecognizer
from augmem.onnx_export import export_onnx_package
from augmem.onnx_package import FILES, write_onnx_package_file
from augmem.sherpa import write_onnx_model
from augmem.streaming import (
    EndpointRule,
    Event,
    OnlineFeatures,
    Package,
    Recognizer,
    RecognizerOptions,
    open_package,
)
from augmem.streaming.package import FORMAT, write_package_file
from tests.serving import clients
from tests.serving.processes import serving
from tests.tiny import RATE, noise, split_packets

SIGNALS = [noise(seconds, seed) for seed, seconds in enumerate((0.05, 0.3, 1.1, 2.0, 2.97, 3.7, 5.3))]
WIDE = EngineOptions(search_beam=100.0, max_active=100_000)
# A module of this content, which Python imports first, blocks the import of torch, k2 and Lhotse.
BLOCK = """
import sys

class Block:
    def find_spec(self, name, *others):
        if name.split(".")[0] in ("torch", "k2", "_k2", "lhotse"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Block())
"""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("AUGMEM_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def content(package: Path) -> Package:
    return open_package(package)


@pytest.fixture(scope="module")
def exported(content: Package, package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "package"
    export_onnx_package(content, package.parent / "lm" / "first_pass.arpa", folder)
    return folder


@pytest.fixture(scope="module")
def exact(content: Package, exported: Path) -> Path:
    """The same package with float32 weights."""
    folder = exported.parent / "float32"
    folder.mkdir()
    for file in exported.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    write_onnx_model(content.model, folder.parent / "float32.onnx")
    (folder / FILES.model).write_bytes(lzma.compress((folder.parent / "float32.onnx").read_bytes()))
    values = read_json(folder / "package.json")
    kept = {name: value for name, value in values.items() if name not in ("format", "hashes", "sha256")}
    write_onnx_package_file(folder, kept)
    return folder


@pytest.fixture(scope="module")
def recognizer(exact: Path) -> OnnxRecognizer:
    return OnnxRecognizer(exact, WIDE.one_segment())


def project_words(content: Package, samples: np.ndarray) -> str:
    """Return the words of the best path of this project's offline search."""
    features = OnlineFeatures(content.features)
    features.accept(samples, RATE)
    features.finish()
    frames = torch.from_numpy(features.take())
    with torch.no_grad():
        scores, lengths = content.model(frames[None], torch.tensor([len(frames)]))
    config = DecodingConfig(search_beam=100.0, output_beam=8.0, max_active=100_000, acoustic_scale=1.0)
    lattice = find_lattices(scores, lengths, DecodingGraph.load(content.graph), config)[0].lattice
    return " ".join(content.lang.word_of[word] for word in path_word_ids(lattice, best_path(lattice)))


def text_of(events: list[Event]) -> str:
    return " ".join(event.text for event in events if event.text)


def test_words_equal_those_of_this_project(content: Package, recognizer: OnnxRecognizer) -> None:
    for samples in SIGNALS:
        packets = split_packets(samples, [700, 16000, 1])
        assert text_of(recognizer.transcribe(packets, RATE)) == project_words(content, samples)
    assert recognizer.transcribe([], RATE) == []


def changed(package: Path, folder: Path, write: Callable[[Path, dict[str, Any]], None], **values: Any) -> Path:
    """Copy a package with other values in its package.json."""
    copytree(package, folder)
    hashes = ("format", "files", "hashes", "sha256")
    write(folder, {k: v for k, v in read_json(package / "package.json").items() if k not in hashes} | values)
    return folder


def test_tuned_scales_choose_the_words_of_the_torch_engine(exact: Path, package: Path, tmp_path: Path) -> None:
    """The torch engine weighs acoustic scores by 1.2 in its search, but by 1 when it chooses from the list."""
    scales = {"lm_scale": 2.5, "word_insertion_bonus": 2.0}
    written = {**read_json(package / "package.json")["scales"], **scales}
    for_torch = changed(package, tmp_path / "torch", write_package_file, scales=written, format=FORMAT)
    for_onnx = changed(exact, tmp_path / "onnx", write_onnx_package_file, **scales)
    search = SearchConfig(search_beam=100.0, output_beam=30.0, max_active=100_000, nbest=200, nbest_beam=30.0)
    wide = RecognizerOptions.one_segment(search)
    engines = (
        OnnxRecognizer(for_onnx, WIDE.one_segment()), Recognizer.load(for_torch, wide), Recognizer.load(package, wide)
    )  # fmt: skip
    found, expected, before = (
        [text_of(engine.transcribe([samples], RATE)) for samples in SIGNALS[:5]] for engine in engines
    )
    assert found == expected != before


def test_streams_in_one_batch_do_not_affect_each_other(recognizer: OnnxRecognizer) -> None:
    alone = [text_of(recognizer.transcribe([samples], RATE)) for samples in SIGNALS]
    streams = [recognizer.stream() for _ in SIGNALS]
    for stream, samples in zip(streams, SIGNALS, strict=True):
        stream.accept_waveform(samples, RATE)
        stream.finish()
    while recognizer.step(streams):
        pass
    found = [[event for event in stream.events() if event.kind == "final"] for stream in streams]
    assert [text_of(events) for events in found] == alone


def test_word_times_are_in_order_and_within_the_audio(recognizer: OnnxRecognizer) -> None:
    words = [word for event in recognizer.transcribe([SIGNALS[-1]], RATE) for word in event.words]
    times = [time for word in words for time in (word.start, word.end)]
    assert len(words) > 3 and times == sorted(times) and times[0] >= 0 and times[-1] <= 5.3
    assert all(0 < word.confidence <= 1 for word in words)


def test_endpoints_and_cuts_divide_a_stream(exact: Path) -> None:
    rules = (EndpointRule(after_words=False, length=1.0),)
    for options in (EngineOptions(rules=rules), EngineOptions(rules=(), max_segment=1.0)):
        events = OnnxRecognizer(exact, options).transcribe(split_packets(SIGNALS[-1], [1600]), RATE)
        assert [event.segment for event in events] == list(range(len(events))) and len(events) >= 3
        ends = [event.end for event in events]
        assert ends == sorted(ends) and events[0].end < 2.5


def test_partial_results_come_before_the_final_one(recognizer: OnnxRecognizer) -> None:
    stream = recognizer.stream()
    stream.accept_waveform(SIGNALS[-1], RATE)
    while recognizer.step([stream]):
        pass
    partial = stream.events()
    assert partial and {event.kind for event in partial} == {"partial"}
    assert len({event.text for event in partial}) == len(partial)


def write_wav(path: Path, samples: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype(np.int16).tobytes())
    return path


def without_torch(folder: Path) -> dict[str, str]:
    """Return environment variables of processes that cannot import torch, k2 and Lhotse, nor can their children."""
    (folder / "sitecustomize.py").write_text(BLOCK)
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(Path(augmem.__file__).parents[1])])}


def test_transcribe_needs_neither_torch_nor_k2(exported: Path, tmp_path: Path) -> None:
    """The graph is built there too: the cache is empty."""
    audio = write_wav(tmp_path / "speech.wav", SIGNALS[-1])
    command = [
        sys.executable,
        "-m",
        "augmem.cli",
        "transcribe",
        "--engine",
        "onnx",
        "--package",
        str(exported),
        str(audio),
    ]
    environment = {**os.environ, **without_torch(tmp_path), "AUGMEM_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    found = OnnxRecognizer(exported).transcribe([(SIGNALS[-1] * 32767).astype(np.int16)], RATE)
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == [event.text for event in found]
    assert "building the decoding graph" in done.stderr
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".fst", ".lock"]


def test_server_without_torch_and_k2_finds_the_words_of_the_torch_engine(
    exact: Path, package: Path, tmp_path: Path
) -> None:
    search = SearchConfig(search_beam=100.0, max_active=100_000)
    torch_engine = Recognizer.load(package, RecognizerOptions(search))
    expected = [text_of(torch_engine.transcribe([samples], RATE)) for samples in SIGNALS[2:]]
    assert all(expected)
    options = ["--engine", "onnx", "--search-beam", "100", "--max-active", "100000"]
    with serving(exact, *options, variables=without_torch(tmp_path)) as (_, address):
        server = address.replace("http", "ws")
        assert [asyncio.run(clients.transcribe(server, samples)) for samples in SIGNALS[2:]] == expected
        with pytest.raises(UserError, match="hotwords: the onnx engine has none"):
            asyncio.run(clients.transcribe(server, SIGNALS[2], [("ONE", 2.0)]))


def transcribe(*words: Any) -> int:
    return run(command_parser("transcribe").parse_args(["transcribe", *map(str, words)]))


def test_package_and_engine_must_fit(exported: Path, package: Path, tmp_path: Path) -> None:
    audio = write_wav(tmp_path / "speech.wav", SIGNALS[0])
    with pytest.raises(UserError, match="not a package for --engine torch; augmem package makes one"):
        transcribe("--package", exported, "--engine", "torch", audio)
    with pytest.raises(UserError, match="not a package for --engine onnx; augmem export --package"):
        transcribe("--package", package, "--engine", "onnx", audio)
    with pytest.raises(UserError, match="--output-beam: --engine onnx has no such option"):
        transcribe("--package", exported, "--output-beam", 3, audio)


def test_a_changed_file_is_refused(exported: Path, tmp_path: Path) -> None:
    for file in exported.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / FILES.tokens).write_text("<blk> 0\n")
    with pytest.raises(UserError, match=r"tokens\.txt: changed since it was written"):
        OnnxRecognizer(tmp_path)
    (tmp_path / "package.json").write_text("{}")
    with pytest.raises(UserError, match="not a package for the onnx engine"):
        OnnxRecognizer(tmp_path)
    with pytest.raises(FileNotFoundError, match="augmem export --package PACKAGE --format onnx"):
        OnnxRecognizer(tmp_path / "none")


def test_models_that_the_engine_cannot_run_are_refused(content: Package, package: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no n-gram model of its graph"):
        export_onnx_package(content, tmp_path / "none.arpa", tmp_path / "out")
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(UserError, match="not an earlier export"):
        export_onnx_package(content, package.parent / "lm" / "first_pass.arpa", tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"search_beam": 0.0}, "search_beam"), ({"max_active": 0}, "max_active"), ({"max_segment": 0.0}, "max_segment")],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        EngineOptions(**options)
