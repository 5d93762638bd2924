"""Executors on a Dask cluster, and their errors."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor

import dask.config
import pytest
from distributed import Client, LocalCluster

from augmem.cluster import cluster
from augmem.errors import UserError


def work(address: str, task: Callable[[Executor], object] = lambda pool: None) -> object:
    with cluster(address, os.getpid) as pool:
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
