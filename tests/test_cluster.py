"""What can be wrong with a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor

import dask.config
import pytest
from distributed import Client, LocalCluster

from augmem.cluster import cluster


def work(address: str, task: Callable[[Executor], object] = lambda pool: None) -> object:
    with cluster(address, os.getpid) as pool:
        return task(pool)


def test_no_scheduler() -> None:
    with pytest.raises(
        OSError, match=r"tcp://127\.0\.0\.1:9: no Dask scheduler answers .*begin one with: dask scheduler"
    ):
        work("tcp://127.0.0.1:9")


@pytest.mark.parametrize(
    ("workers", "threads", "message"), [(0, 1, "the scheduler has no workers"), (1, 2, "a worker has several threads")]
)
def test_workers_of_no_use(workers: int, threads: int, message: str) -> None:
    options = {"processes": False, "dashboard_address": None}
    useless = pytest.raises((OSError, ValueError), match=f"{message}.*dask worker SCHEDULER")
    with LocalCluster(n_workers=workers, threads_per_worker=threads, **options) as made, useless:
        work(made.scheduler_address)


def test_both_workers_are_used(scheduler: str) -> None:
    processes = set(work(scheduler, lambda pool: list(pool.map(process_of, range(20)))))  # type: ignore[call-overload]
    assert os.getpid() not in processes
    assert len(processes) == 2


def test_a_task_that_kills_its_workers_ends_in_a_message() -> None:
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),  # two deaths tell as much as four
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as made,
    ):
        with pytest.raises(OSError, match="workers died, most likely for want of memory: begin fewer"):
            work(made.scheduler_address, lambda pool: pool.submit(os._exit, 9).result())
        with Client(made) as client:  # Dask cannot close a cluster that is beginning a worker anew
            client.wait_for_workers(1, timeout=60)


def process_of(_: int) -> int:
    return os.getpid()
