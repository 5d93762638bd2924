"""Training processes on one machine, and settings of the launcher in old and new releases of torch."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pytest
from torch.distributed.elastic.multiprocessing.api import Std

from augmem.training.launch import RESTARTS, find_first_failure, read_launch_options, set_redirects


@dataclass
class OldConfig:
    """LaunchConfig until torch 2.2, as far as output is concerned."""

    redirects: Std | None = Std.NONE
    tee: Std | None = Std.NONE


@dataclass
class NewConfig:
    """LaunchConfig since torch 2.3."""

    logs_specs: dict[str, Std] = field(default_factory=lambda: {"redirects": Std.NONE, "tee": Std.NONE})


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (OldConfig(None, None), OldConfig(Std.NONE, Std.NONE)),
        (OldConfig(Std.ALL, Std.ERR), OldConfig(Std.ALL, Std.ERR)),
        (NewConfig(), NewConfig()),
    ],
)
def test_missing_redirects_become_none_where_the_configuration_has_them(
    config: OldConfig | NewConfig, expected: OldConfig | NewConfig
) -> None:
    assert asdict(set_redirects(config)) == asdict(expected)
    assert not hasattr(config, "redirects") or config.redirects is not None


def test_the_launcher_logs_nothing_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    config, _, words = read_launch_options(["--nproc_per_node", "2", "-m", "augmem.cli", "train"])
    assert config.max_nodes == 1 and words[-1] == "train"
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("statuses", "cause"),
    [
        ([1], 1),
        ([-signal.SIGTERM, 1], 1),  # torch 2 lists the processes that it ended
        ([1, -signal.SIGKILL], -signal.SIGKILL),
        ([-signal.SIGTERM, -signal.SIGKILL, 2], -signal.SIGKILL),
        ([-signal.SIGTERM], -signal.SIGTERM),
    ],
)
def test_cause_is_not_a_process_that_the_launcher_ended(statuses: list[int], cause: int) -> None:
    assert find_first_failure(statuses) == cause


PARENT = """
import sys
from augmem.training import launch_processes
import augmem.training.launch as launcher
launch = launcher.launch
launcher.launch = lambda arguments: launch([*arguments[:arguments.index("-m")], *sys.argv[1:]])
launch_processes(2, [])
"""
CHILD = """
import os, pathlib, signal, time
pathlib.Path({folder!r}, f"{{os.environ['RANK']}}-{{time.time()}}").touch()
{action}
"""


def start(folder: Path, action: str) -> subprocess.Popen[str]:
    """Start two processes with this action in place of `augmem`; each writes a file to `folder` first."""
    (folder / "child.py").write_text(CHILD.format(folder=str(folder / "runs"), action=action))
    (folder / "runs").mkdir()
    command = [sys.executable, "-c", PARENT, str(folder / "child.py")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize(
    ("action", "runs", "message"),
    [
        ("raise SystemExit(1)", 1, "a training process failed; its message is above"),
        ("os.kill(os.getpid(), signal.SIGKILL)", RESTARTS + 1, f"were killed {RESTARTS + 1} times"),
    ],
)
def test_only_killed_processes_are_restarted(action: str, runs: int, message: str, tmp_path: Path) -> None:
    output, _ = start(tmp_path, f"if os.environ['RANK'] == '1': {action}\ntime.sleep(60)").communicate(timeout=120)
    assert message in output
    assert "closing signal" not in output, "the launcher's own log"
    assert len(list((tmp_path / "runs").glob("1-*"))) == runs


def test_an_interrupt_ends_all_processes(tmp_path: Path) -> None:
    parent = start(tmp_path, "time.sleep(60)")
    while len(list((tmp_path / "runs").iterdir())) < 2:
        time.sleep(0.05)
    parent.send_signal(signal.SIGINT)
    output, _ = parent.communicate(timeout=30)
    assert output.rstrip().endswith("KeyboardInterrupt")
