"""Start distributed training: `python -m augmem.training.launch OPTIONS -m augmem.cli train --exp DIR`.

Takes torchrun's options. Works around a bug of torch 1.13 under Python 3.11, where torchrun fails because the default
of `--redirects` is parsed as None. With later releases use torchrun itself.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from augmem.errors import UserError

if TYPE_CHECKING:
    from torch.distributed.launcher.api import LaunchConfig

logger = logging.getLogger(__name__)

RESTARTS = 3


def default_processes(accumulate: int) -> int:
    """Return the number of training processes that a machine can use: one per GPU, or one per core without a GPU.

    Args:
        accumulate: batches per step, which the processes share equally.
    """
    devices = torch.cuda.device_count() or len(os.sched_getaffinity(0))
    return max(number for number in range(1, accumulate + 1) if accumulate % number == 0 and number <= devices)


def launch_processes(processes: int, command: Sequence[str]) -> None:
    """Run `augmem` in several processes on this machine; if one is killed, restart all from the latest checkpoint.

    Args:
        processes: number of processes; the cores are divided among them.
        command: arguments of `augmem`.

    Raises:
        UserError: a process failed, or processes were killed repeatedly.
        KeyboardInterrupt: this process was interrupted; the others have ended.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // processes)))
    silence_launcher()
    options = [
        "--rdzv_backend",
        "c10d",
        "--rdzv_endpoint",
        "localhost:0",
        "--max_restarts",
        "0",
        "--monitor_interval",
        "1",
    ]
    for _ in range(RESTARTS + 1):
        status = run_once([*options, "--nproc_per_node", str(processes), "-m", "augmem.cli", *command])
        if status == 0:
            return
        if status > 0:
            raise UserError("a training process failed; its message is above")
        logger.warning("a training process was killed by signal %d", -status)
    raise UserError(f"training processes were killed {RESTARTS + 1} times, probably because memory ran out")


def silence_launcher() -> None:
    """Drop the log of torch's launcher, whose loggers set their own levels; the processes print their own messages."""
    launcher = logging.getLogger("torch.distributed")
    launcher.handlers = [logging.NullHandler()]
    launcher.propagate = False


def run_once(arguments: Sequence[str]) -> int:
    """Run `launch`; return 0, or the exit status of a process that failed; negative: the signal that killed it."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        launch(arguments)
    except ChildFailedError as error:
        return find_first_failure([failure.exitcode for failure in error.failures.values()])
    except SignalException as error:
        if error.sigval is signal.SIGINT:
            raise KeyboardInterrupt from error
        raise SystemExit(128 + error.sigval) from error
    return 0


def find_first_failure(statuses: Sequence[int]) -> int:
    """Return the exit status that ended all processes; negative: a signal.

    The launcher ends the remaining processes by SIGTERM, and torch 2 lists them as failed. A process that loses its
    connection to a killed one fails with a positive status.
    """
    return min((status for status in statuses if status != -signal.SIGTERM), default=-signal.SIGTERM)


def launch(arguments: Sequence[str]) -> None:
    """Start the processes that torchrun's options describe."""
    from torch.distributed.launcher.api import elastic_launch

    config, command, command_arguments = read_launch_options(arguments)
    elastic_launch(set_redirects(config), command)(*command_arguments)


def read_launch_options(arguments: Sequence[str]) -> tuple[LaunchConfig, Any, list[str]]:
    """Parse torchrun's options: configuration, command and its arguments."""
    from torch.distributed.run import config_from_args, parse_args

    logging.disable(logging.INFO)  # torch logs the number of processes by the root logger
    try:
        return config_from_args(parse_args(list(arguments)))
    finally:
        logging.disable(logging.NOTSET)


def set_redirects(config: LaunchConfig) -> LaunchConfig:
    """Replace None by "no redirection"; in torch 2 the settings are part of `logs_specs` and never None."""
    from torch.distributed.elastic.multiprocessing.api import Std

    for name in ("redirects", "tee"):
        if getattr(config, name, Std.NONE) is None:
            setattr(config, name, Std.NONE)
    return config


if __name__ == "__main__":
    launch(sys.argv[1:])
