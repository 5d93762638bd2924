"""kill -9 in the middle of a stage, run it again: the result is that of an undisturbed run."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from augmem.cli import PARALLEL
from augmem.corpus import load_cuts
from augmem.features import FeatureConfig
from augmem.files import read_json
from augmem.graph import HLG_FILE
from augmem.stage_runner import DONE
from tests.shell.roads import AUGMEM, PART, ROOT, augmem, fixture_road, run_here

FEATURES = Path("data", "features", FeatureConfig().name + "-shar")
SHAR = ["--storage.form", "shar", "--storage.file_cuts", "10"]
SHORT = ["--training.epochs", "6", "--training.ctc_epochs", "3", "--training.checkpoint_every", "1"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment that nothing has disturbed, decoded; its features are Lhotse Shar, those of test_run.py are not."""
    folder = tmp_path_factory.mktemp("undisturbed")
    result = run_here(*fixture_road(folder), *SHAR, *SHORT, "--stop-stage", "graphs")
    assert result.returncode == 0, result.stderr[-3000:]
    for stage in ("train", "decode"):  # from a start as cold as that of those to be killed, whose end they foretell
        subprocess.run(command(stage, folder), cwd=ROOT, check=True, capture_output=True, timeout=600)
    return folder


def command(stage: str, folder: Path) -> list[str]:
    """A stage of the experiment in `folder`, in one process."""
    return [AUGMEM, stage, "--exp", str(folder / "exp"), *(["--nj", "2"] if stage in PARALLEL else [])]


@pytest.fixture
def folder(undisturbed: Path) -> Iterator[Path]:
    """The undisturbed run, to be redone in part; what it made is aside in `before`."""
    aside = undisturbed / "before"
    shutil.copytree(undisturbed / "exp", aside / "exp")
    shutil.copytree(undisturbed / "data", aside / "data")
    yield undisturbed
    for name in ("exp", "data"):
        shutil.rmtree(undisturbed / name)
        shutil.move(aside / name, undisturbed / name)


def redo_with_kills(stage: str, folder: Path, output: Path, seed: int, kills: int = 2) -> None:
    """Remove a stage's result, kill its making at random moments, and let the last attempt come to its end.

    On a machine whose speed changes a kill may come after the end; then all of them are tried again, sooner.
    """
    seconds = read_json(output / DONE)["seconds"]
    chance = random.Random(seed)
    for patience in (0.8, 0.4, 0.2, 0.1):
        shutil.rmtree(output)
        for _ in range(kills):
            kill_at_work(command(stage, folder), chance.uniform(0, patience * seconds / kills))
            if (output / DONE).exists():
                break
        else:
            assert augmem(*command(stage, folder)[1:]).returncode == 0
            return
    raise AssertionError(f"{stage}: every kill came too late to prove anything")


def kill_at_work(command: list[str], delay: float) -> None:
    """Start a stage, wait until it says that it begins, then so many seconds, and kill it."""
    process = subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    wait_for_begin(process, command[1])
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def wait_for_begin(process: subprocess.Popen[bytes], stage: str) -> None:
    """Until the stage says that it begins: kills before that would prove nothing."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(stage.encode()) and b"; writes " in line:
            return
    raise AssertionError(f"{stage} ended before it began")


def test_features(folder: Path) -> None:
    redo_with_kills("features", folder, folder / FEATURES / PART, seed=1)
    before, after = (
        {cut.id: cut.load_features() for cut in load_cuts(root / FEATURES, [PART])}
        for root in (folder / "before", folder)
    )
    assert before.keys() == after.keys() and len(after) == 29
    for name, matrix in before.items():
        np.testing.assert_array_equal(matrix, after[name])


def test_graphs(folder: Path) -> None:
    redo_with_kills("graphs", folder, folder / "exp" / "graphs", seed=2)
    before, after = (load_file(root / "exp" / "graphs" / HLG_FILE) for root in (folder / "before", folder))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name


def test_training(folder: Path) -> None:
    redo_with_kills("train", folder, folder / "exp" / "train", seed=3, kills=3)
    before, after = (torch.load(root / "exp" / "train" / "model.pt") for root in (folder / "before", folder))
    assert before["description"] == after["description"]
    for name, value in before["weights"].items():
        assert torch.equal(value, after["weights"][name]), f"{name} differs after a resume"


def test_decoding(folder: Path) -> None:
    redo_with_kills("decode", folder, folder / "exp" / "decode", seed=4)
    lists = [root / "exp" / "decode" / PART / "nbest.jsonl.gz" for root in (folder / "before", folder)]
    before, after = (gzip.decompress(path.read_bytes()) for path in lists)
    assert before == after
