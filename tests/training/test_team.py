"""Several processes that train one model: torchrun starts them, gloo adds up, and one of them may be killed."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from augmem.model import AcousticModel
from augmem.training import MODEL_FILE, Team, Trainer, TrainingConfig, read_log
from augmem.training.checkpoint import checkpoints
from augmem.training.team import check_team
from tests.tiny import make_lang_and_graphs
from tests.training.test_trainer import trainer

Folders = tuple[Path, Path]
SETTINGS = {"accumulate": 2, "epochs": 4, "log_every": 1, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return make_lang_and_graphs(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def alone(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of one process that adds up two batches an update."""
    output = tmp_path_factory.mktemp("alone")
    assert member(folders, output).run()
    return output


def member(folders: Folders, output: Path, **changes: object) -> Trainer:
    return trainer(folders, output, **(SETTINGS | changes))


def torchrun(folders: Folders, output: Path, processes: int, **options: float) -> subprocess.Popen[str]:
    """`processes` of this file's main, restarted up to three times."""
    output.mkdir(exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "augmem.training.launch",
        "--rdzv_backend",
        "c10d",
        "--rdzv_endpoint",
        "localhost:0",
    ]
    command += ["--nproc_per_node", str(processes), "--max_restarts", "3", "--monitor_interval", "0.2"]
    command += ["-m", "tests.training.test_team"]
    arguments = [*map(str, folders), str(output), *(f"{name}={value}" for name, value in options.items())]
    return subprocess.Popen([*command, *arguments], env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip


def finish(team: subprocess.Popen[str]) -> str:
    text, _ = team.communicate(timeout=240)
    assert team.returncode == 0, text
    return text


def losses(output: Path) -> list[float]:
    return [line["loss"] for line in read_log(output / "log.jsonl") if line["kind"] == "step"]


def assert_same_weights(one: Path, other: Path) -> None:
    mine, theirs = (AcousticModel.load(folder / MODEL_FILE).state_dict() for folder in (one, other))
    for name, value in mine.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-5, atol=1e-6, msg=name)


def test_two_processes_train_as_one_with_twice_the_batches(folders: Folders, alone: Path, tmp_path: Path) -> None:
    """Dropout is on: random numbers belong to batches, not to processes."""
    finish(torchrun(folders, tmp_path, 2))
    assert len(losses(alone)) == 8 and losses(tmp_path) == pytest.approx(losses(alone), rel=1e-5)
    assert_same_weights(tmp_path, alone)


def test_processes_without_a_batch_hold_up_nobody(folders: Folders, tmp_path: Path) -> None:
    """Four batches an epoch, three an update; and layers are dropped here and there, so that not all have gradients."""
    settings = {"accumulate": 3, "layers": 3, "layer_drop": 0.5}
    finish(torchrun(folders, tmp_path / "three", 3, **settings))
    assert member(folders, tmp_path / "one", **settings).run()
    assert losses(tmp_path / "three") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


def test_a_run_may_go_on_with_another_number_of_processes(folders: Folders, alone: Path, tmp_path: Path) -> None:
    finish(torchrun(folders, tmp_path, 2, checkpoint_every=1, updates=3))
    assert len(losses(tmp_path)) == 3
    assert member(folders, tmp_path).run()
    assert losses(tmp_path) == pytest.approx(losses(alone), rel=1e-5)
    assert_same_weights(tmp_path, alone)


def test_a_killed_process_is_started_again_and_the_run_goes_on(folders: Folders, alone: Path, tmp_path: Path) -> None:
    team = torchrun(folders, tmp_path, 2, checkpoint_every=1, pause=0.3)
    while len(checkpoints(tmp_path)) < 2 and team.poll() is None:
        time.sleep(0.05)
    victim = int((tmp_path / "rank-1.pid").read_text())
    os.kill(victim, signal.SIGKILL)
    text = finish(team)
    assert f"{victim}" in text and "resuming from" in text
    assert losses(tmp_path) == pytest.approx(losses(alone), rel=1e-5)
    assert_same_weights(tmp_path, alone)


def test_a_team_must_be_able_to_share_an_update() -> None:
    with pytest.raises(ValueError, match=r"training.accumulate is 3, which 2 processes cannot share evenly"):
        check_team(TrainingConfig(accumulate=3), Team(size=2))
    with pytest.raises(ValueError, match="float16, which needs a GPU"):
        check_team(TrainingConfig(precision="float16"), Team())


def main(lang: str, graphs: str, output: str, *options: str) -> None:
    """One process of a team; it rests `pause` seconds before each update, and is gone after so many `updates`."""
    logging.basicConfig(level=logging.INFO)
    given = {name: json.loads(value) for name, value in (option.split("=") for option in options)}
    updates, pause = given.pop("updates", None), given.pop("pause", 0)
    (Path(output) / f"rank-{os.environ['RANK']}.pid").write_text(str(os.getpid()))
    run = member((Path(lang), Path(graphs)), Path(output), **given)
    update = run._update

    def watched(*arguments: Any) -> Any:
        if run.at.step == updates:
            os._exit(0)
        time.sleep(pause)
        return update(*arguments)

    run._update = watched  # type: ignore[method-assign]
    run.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
