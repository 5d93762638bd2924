"""Executors on a Dask cluster, and their errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

import dask.config
import pytest
from distributed import Client, LocalCluster

from augmem.cluster import connect_cluster
from augmem.errors import UserError


def work(address: str, task: Callable[[Executor], object] = lambda pool: None) -> object:
    with connect_cluster(address, os.getpid) as pool:
        return task(pool)


def test_a_missing_scheduler_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("augmem.cluster.CONNECT_TIMEOUT", 1)
    with pytest.raises(
        OSError, match=r"tcp://127\.0\.0\.1:9: no Dask scheduler answers .*start one with: dask scheduler"
    ):
        work("tcp://127.0.0.1:9")


@pytest.mark.parametrize(
    ("workers", "threads", "message"), [(0, 1, "the scheduler has no workers"), (1, 2, "a worker has several threads")]
)
def test_unusable_workers_are_refused(workers: int, threads: int, message: str) -> None:
    options = {"processes": False, "dashboard_address": None}
    refused = pytest.raises((OSError, UserError), match=f"{message}.*dask worker SCHEDULER")
    with LocalCluster(n_workers=workers, threads_per_worker=threads, **options) as made, refused:
        work(made.scheduler_address)


def test_tasks_use_both_workers(scheduler: str) -> None:
    processes = set(work(scheduler, lambda pool: list(pool.map(process_of, range(20)))))  # type: ignore[call-overload]
    assert os.getpid() not in processes
    assert len(processes) == 2


def test_a_task_that_kills_its_workers_is_reported() -> None:
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),  # fail after two attempts
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as made,
    ):
        with pytest.raises(OSError, match="workers were killed, probably because memory ran out: start fewer"):
            work(made.scheduler_address, lambda pool: pool.submit(os._exit, 9).result())
        with Client(made) as client:  # Dask cannot close a cluster while it restarts a worker
            client.wait_for_workers(1, timeout=60)


def process_of(_: int) -> int:
    return os.getpid()


INTERRUPTED = """
import multiprocessing, sys, time
from augmem.cluster import WorkerPool

if __name__ == "__main__":
    try:
        with WorkerPool(2, multiprocessing.get_context("spawn")) as pool:
            tasks = [pool.submit(time.sleep, 60) for _ in range(4)]
            print("started", flush=True)
            tasks[0].result()
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize("delay", [0.0, 1.0])  # while the processes start, and while they work
def test_an_interrupt_ends_all_processes_without_a_message(tmp_path: Path, delay: float) -> None:
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, str(script)], start_new_session=True, text=True, **pipes)
    assert process.stdout is not None and process.stdout.readline() == "started\n"
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGINT)
    output = process.communicate(timeout=30)  # returns when all processes have closed their ends of the pipes
    assert (output, process.returncode) == (("", ""), 130)
