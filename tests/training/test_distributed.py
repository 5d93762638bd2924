"""Data-parallel training of several processes started by torchrun, with gloo."""

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

from augmem.errors import UserError
from augmem.model import AcousticModel
from augmem.training import MODEL_FILE, DistributedContext, Trainer, TrainingConfig, default_processes, read_log
from augmem.training.checkpoint import list_checkpoints
from augmem.training.distributed import check_distributed
from tests.tiny import make_lang_and_graphs
from tests.training.test_trainer import trainer

Folders = tuple[Path, Path]
SETTINGS = {"accumulate": 2, "epochs": 4, "log_every": 1, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return make_lang_and_graphs(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def single_process(folders: Folders, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of one process that accumulates two batches a step."""
    output = tmp_path_factory.mktemp("single")
    assert make_trainer(folders, output).run()
    return output


def make_trainer(folders: Folders, output: Path, **changes: object) -> Trainer:
    return trainer(folders, output, **(SETTINGS | changes))


def torchrun(folders: Folders, output: Path, processes: int, **options: float) -> subprocess.Popen[str]:
    """Start `processes` of this file's main, with up to three restarts."""
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
    command += ["-m", "tests.training.test_distributed"]
    arguments = [*map(str, folders), str(output), *(f"{name}={value}" for name, value in options.items())]
    return subprocess.Popen([*command, *arguments], env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip


def finish(launcher: subprocess.Popen[str]) -> str:
    text, _ = launcher.communicate(timeout=240)
    assert launcher.returncode == 0, text
    return text


def losses(output: Path) -> list[float]:
    return [line["loss"] for line in read_log(output / "log.jsonl") if line["kind"] == "step"]


def dev_figures(output: Path) -> list[list[float]]:
    epochs = [line for line in read_log(output / "log.jsonl") if line["kind"] == "epoch"]
    return [[line["dev_loss"], line["dev_unit_error_rate"]] for line in epochs]


def assert_same_weights(one: Path, other: Path) -> None:
    weights, others = (AcousticModel.load(folder / MODEL_FILE).state_dict() for folder in (one, other))
    for name, value in weights.items():
        torch.testing.assert_close(value, others[name], rtol=1e-5, atol=1e-6, msg=name)


def test_two_processes_equal_one_with_accumulation(folders: Folders, single_process: Path, tmp_path: Path) -> None:
    """With dropout: random numbers depend on the batch, not on the process."""
    finish(torchrun(folders, tmp_path, 2))
    assert len(losses(single_process)) == 8 and losses(tmp_path) == pytest.approx(losses(single_process), rel=1e-5)
    torch.testing.assert_close(dev_figures(tmp_path), dev_figures(single_process), rtol=1e-5, atol=1e-6)
    assert_same_weights(tmp_path, single_process)


def test_processes_without_a_batch_take_part_in_the_reduction(folders: Folders, tmp_path: Path) -> None:
    """Four batches per epoch, three per step; with layer drop, so that some layers have no gradient."""
    settings = {"accumulate": 3, "layers": 3, "layer_drop": 0.5}
    finish(torchrun(folders, tmp_path / "three", 3, **settings))
    assert make_trainer(folders, tmp_path / "one", **settings).run()
    assert losses(tmp_path / "three") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


def test_a_run_resumes_with_another_world_size(folders: Folders, single_process: Path, tmp_path: Path) -> None:
    finish(torchrun(folders, tmp_path, 2, checkpoint_every=1, steps=3))
    assert len(losses(tmp_path)) == 3
    assert make_trainer(folders, tmp_path).run()
    assert losses(tmp_path) == pytest.approx(losses(single_process), rel=1e-5)
    assert_same_weights(tmp_path, single_process)


def test_training_resumes_after_a_process_is_killed(folders: Folders, single_process: Path, tmp_path: Path) -> None:
    launcher = torchrun(folders, tmp_path, 2, checkpoint_every=1, pause=0.3)
    while len(list_checkpoints(tmp_path)) < 2 and launcher.poll() is None:
        time.sleep(0.05)
    victim = int((tmp_path / "rank-1.pid").read_text())
    os.kill(victim, signal.SIGKILL)
    text = finish(launcher)
    assert f"{victim}" in text and "resuming from" in text
    assert losses(tmp_path) == pytest.approx(losses(single_process), rel=1e-5)
    assert_same_weights(tmp_path, single_process)


@pytest.mark.parametrize(
    ("accumulate", "cores", "processes"), [(1, 8, 1), (2, 1, 1), (2, 2, 2), (4, 3, 2), (6, 64, 6), (3, 2, 1)]
)
def test_default_processes_share_a_step_equally(
    monkeypatch: pytest.MonkeyPatch, accumulate: int, cores: int, processes: int
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert default_processes(accumulate) == processes


def test_settings_that_do_not_fit_the_processes_are_refused() -> None:
    with pytest.raises(UserError, match=r"training.accumulate is 3, which 2 processes cannot share equally"):
        check_distributed(TrainingConfig(accumulate=3), DistributedContext(world_size=2))
    with pytest.raises(UserError, match="float16, which needs a GPU"):
        check_distributed(TrainingConfig(precision="float16"), DistributedContext())


def main(lang: str, graphs: str, output: str, *options: str) -> None:
    """Train as one rank, sleep `pause` seconds before each step, exit after `steps` steps."""
    logging.basicConfig(level=logging.INFO)
    given = {name: json.loads(value) for name, value in (option.split("=") for option in options)}
    steps, pause = given.pop("steps", None), given.pop("pause", 0)
    (Path(output) / f"rank-{os.environ['RANK']}.pid").write_text(str(os.getpid()))
    run = make_trainer((Path(lang), Path(graphs)), Path(output), **given)
    train_step = run.train_step

    def slow_train_step(*arguments: Any) -> Any:
        if run.position.step == steps:
            os._exit(0)
        time.sleep(pause)
        return train_step(*arguments)

    run.train_step = slow_train_step  # type: ignore[method-assign]
    run.run()


if __name__ == "__main__":
    main(*sys.argv[1:])


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_an_error_with_a_remedy() -> None:
    with pytest.raises(UserError, match=r"training\.device is cuda, but torch .* finds no GPU; set it to auto or cpu"):
        DistributedContext.from_environment("cuda")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "mps", ""])
def test_a_device_of_another_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=rf"training\.device is {name}; it must be auto, cpu, cuda, or one GPU"):
        DistributedContext.from_environment(name)
