"""A stage that was killed and run again has the same results as one that was not."""

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
from tests.shell.experiments import AUGMEM, PART, ROOT, augmem, fixture_options, run_here

FEATURES = Path("data", "features", FeatureConfig().name + "-shar")
SHAR = ["--storage.form", "shar", "--storage.file_cuts", "10"]
SHORT = ["--training.epochs", "6", "--training.ctc_epochs", "3", "--training.checkpoint_every", "1"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run an experiment up to decoding; its features are Lhotse Shar, unlike those of test_run.py."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    result = run_here(*fixture_options(folder), *SHAR, *SHORT, "--stop-stage", "graphs")
    assert result.returncode == 0, result.stderr[-3000:]
    for stage in ("train", "decode"):  # in new processes like those to be killed, for comparable durations
        subprocess.run(command(stage, folder), cwd=ROOT, check=True, capture_output=True, timeout=600)
    return folder


def command(stage: str, folder: Path) -> list[str]:
    """Return the command of a stage of the experiment in `folder`."""
    return [AUGMEM, stage, "--exp", str(folder / "exp"), *(["--nj", "2"] if stage in PARALLEL else [])]


@pytest.fixture
def folder(uninterrupted: Path) -> Iterator[Path]:
    """The uninterrupted experiment, to be rerun in part, with a copy in `before`."""
    aside = uninterrupted / "before"
    shutil.copytree(uninterrupted / "exp", aside / "exp")
    shutil.copytree(uninterrupted / "data", aside / "data")
    yield uninterrupted
    for name in ("exp", "data"):
        shutil.rmtree(uninterrupted / name)
        shutil.move(aside / name, uninterrupted / name)


def rerun_with_kills(stage: str, folder: Path, output: Path, seed: int, kills: int = 2) -> None:
    """Remove the results of a stage, run it, kill it at random times, and finally run it to the end.

    If the machine is faster than before and a stage ends before it is killed, try again with earlier kills.
    """
    seconds = read_json(output / DONE)["seconds"]
    times = random.Random(seed)
    for share in (0.8, 0.4, 0.2, 0.1):
        shutil.rmtree(output)
        for _ in range(kills):
            kill_after_start(command(stage, folder), times.uniform(0, share * seconds / kills))
            if (output / DONE).exists():
                break
        else:
            assert augmem(*command(stage, folder)[1:]).returncode == 0
            return
    raise AssertionError(f"{stage}: ended before every kill")


def kill_after_start(command: list[str], delay: float) -> None:
    """Start a stage, wait for its first log line and `delay` seconds, and kill it."""
    process = subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    wait_for_begin(process, command[1])
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def wait_for_begin(process: subprocess.Popen[bytes], stage: str) -> None:
    """Wait for the first log line of a stage."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(stage.encode()) and b"; writes " in line:
            return
    raise AssertionError(f"{stage} ended without its first log line")


def test_killed_features_are_equal(folder: Path) -> None:
    rerun_with_kills("features", folder, folder / FEATURES / PART, seed=1)
    before, after = (
        {cut.id: cut.load_features() for cut in load_cuts(root / FEATURES, [PART])}
        for root in (folder / "before", folder)
    )
    assert before.keys() == after.keys() and len(after) == 29
    for name, matrix in before.items():
        np.testing.assert_array_equal(matrix, after[name])


def test_killed_graphs_are_equal(folder: Path) -> None:
    rerun_with_kills("graphs", folder, folder / "exp" / "graphs", seed=2)
    before, after = (load_file(root / "exp" / "graphs" / HLG_FILE) for root in (folder / "before", folder))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name


def test_killed_training_is_equal(folder: Path) -> None:
    rerun_with_kills("train", folder, folder / "exp" / "train", seed=3, kills=3)
    before, after = (root / "exp" / "train" / "model.safetensors" for root in (folder / "before", folder))
    assert before.read_bytes() == after.read_bytes(), "weights or description differ after a resume"


def test_killed_decoding_is_equal(folder: Path) -> None:
    rerun_with_kills("decode", folder, folder / "exp" / "decode", seed=4)
    lists = [root / "exp" / "decode" / PART / "nbest.jsonl.gz" for root in (folder / "before", folder)]
    before, after = (gzip.decompress(path.read_bytes()) for path in lists)
    assert before == after
