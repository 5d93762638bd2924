"""The programs of examples/."""

from __future__ import annotations

import importlib.util
import io
import json
import runpy
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import augmem
from augmem.corpus import CorpusConfig
from tests.tiny import noise

FOLDER = Path(__file__).resolve().parents[1] / "examples"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import a program without running it."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "noise.wav", noise(3.0, 1), 16000)
    return tmp_path / "noise.wav"


def run(name: str, *words: object) -> None:
    """Run a program as a script, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *map(str, words)])
        runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")


def test_stream_prints_the_text_of_offline_recognition(
    package: Path, audio: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("stream", package, audio)
    lines = capsys.readouterr().out.splitlines()
    recognizer = augmem.Recognizer.load(package)
    events = recognizer.transcribe([soundfile.read(audio, dtype="float32")[0]], 16000)
    assert [line.split(" s  ")[1] for line in lines if line.startswith("final")] == [event.text for event in events]
    assert any(line.startswith("partial") for line in lines)


def test_align_prints_each_word_with_rising_times(
    package: Path, audio: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("align", package, audio, "one two, one")
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [word for _, _, word in rows] == ["ONE", "TWO", "ONE"]
    times = [float(time) for begin, end, _ in rows for time in (begin, end)]
    assert times == sorted(times) and times[-1] <= 3.0


def run_notebook(name: str, **parameters: object) -> dict[str, str]:
    """Execute the code cells of a notebook in order; return what each has printed, by its id.

    Args:
        name: name of the notebook.
        parameters: replace those of the cell with the tag "parameters", as in papermill.
    """
    names: dict[str, object] = {}
    printed = {}
    for cell in code_cells(name):
        with redirect_stdout(io.StringIO()) as out:
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
        names |= parameters if "parameters" in cell["metadata"].get("tags", ()) else {}
        printed[cell["id"]] = out.getvalue()
    return printed


def code_cells(name: str) -> list[dict[str, Any]]:
    cells = json.loads((FOLDER / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_prints_the_best_path_and_word_sequences_in_order(package: Path, audio: Path) -> None:
    printed = run_notebook("lattices", package_folder=package, audio=audio, reference="one two")
    totals = [float(line.split()[0]) for line in printed["nbest"].splitlines()]
    assert totals == sorted(totals, reverse=True) and len(totals) > 1
    confidences = [word.split(":") for word in printed["confidences"].split()]
    assert [word for word, _ in confidences] == printed["nbest"].splitlines()[0].split()[1:]
    assert all(0 < float(confidence) < 1 for _, confidence in confidences)
    assert set(printed["best-path"].split()) <= {"ONE", "TWO"}
    assert printed["posteriors"].startswith("sums of the frames: 1.000000 to 1.000000\n")
    best, oracle = (int(line.split()[-5]) for line in printed["oracle"].splitlines())
    assert 0 <= oracle <= best
    stored = {cell["id"] for cell in code_cells("lattices") if cell["outputs"]}
    assert stored == {cell for cell, text in printed.items() if text}


def test_the_custom_encoder_learns_and_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("custom_encoder", monkeypatch)
    torch.manual_seed(0)
    config = augmem.EncoderConfig(type="causal_gru", dim=16, layers=2, feedforward_dim=16, heads=2)
    encoder = augmem.build_encoder(config, feature_dim=80, frame_shift=0.01)
    assert type(encoder) is module.CausalGru
    losses = module.train(encoder, steps=12)
    assert losses[-1] < 0.8 * losses[0]
    encoder.double()
    assert all(module.streaming_difference(encoder, chunk) < 1e-10 for chunk in (7, 40, 150))


def test_a_folder_becomes_a_table_that_the_corpus_reader_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = load("own_folder", monkeypatch)
    for name in ("anna/1.wav", "ben/2.flac", "ben/without transcript.wav"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.zeros(100), 16000)
    (tmp_path / "anna" / "1.txt").write_text("good\n morning\t")
    (tmp_path / "ben" / "2.txt").write_text("hello")
    assert module.write_table(tmp_path) == 2
    from augmem.corpus.prepare import open_corpus
    from augmem.skipped import SkipLog

    reader = open_corpus(CorpusConfig(recipe="folder", source=str(tmp_path)), tmp_path)
    found = [(u.audio.name, u.speaker, u.text) for u in reader.utterances("train", SkipLog())]
    assert found == [("1.wav", "anna", "good morning"), ("2.flac", "ben", "hello")]
