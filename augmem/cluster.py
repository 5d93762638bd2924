"""Many machines in the place of a process pool, through Dask's scheduler; and what is said of a pool that broke."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

WORKER_COMMAND = "dask worker SCHEDULER --nworkers N --nthreads 1"


@contextmanager
def explain_killed_process(remedy: str) -> Iterator[None]:
    """Have the loss of a pool's process say what most likely took it.

    Raises:
        OSError: a process of the pool was killed.
    """
    try:
        yield
    except BrokenProcessPool as error:
        raise OSError(f"a worker process was killed, most likely for want of memory: {remedy}") from error


@contextmanager
def cluster(scheduler: str, initializer: Callable[..., None], initargs: tuple[Any, ...] = ()) -> Iterator[Executor]:
    """An executor whose tasks run in the workers of a Dask scheduler; a lost worker's tasks are done by another.

    The workers need this package and are begun in the same folder, on a file system that all machines share.

    Args:
        scheduler: its address, tcp://HOST:PORT.
        initializer: called in every worker before its first task, also in those that join later.
        initargs: its arguments.

    Raises:
        ValueError: Dask is not installed, or a worker has several threads.
        OSError: no scheduler answers, it has no workers, or one task has killed several of them.
    """
    try:
        from distributed import Client, KilledWorker, WorkerPlugin
    except ImportError as error:
        raise ValueError("--scheduler needs Dask: pip install distributed") from error

    class Furnish(WorkerPlugin):
        def setup(self, worker: object) -> None:
            initializer(*initargs)

    try:
        client = Client(scheduler, timeout="10s")
    except (OSError, ValueError) as error:
        raise OSError(f"{scheduler}: no Dask scheduler answers ({error}); begin one with: dask scheduler") from error
    with client:
        threads = client.nthreads()
        if not threads:
            raise OSError(f"{scheduler}: the scheduler has no workers; begin some with: {WORKER_COMMAND}")
        if set(threads.values()) != {1}:
            raise ValueError(f"{scheduler}: a worker has several threads, which k2 cannot use: {WORKER_COMMAND}")
        name = f"augmem-{uuid4()}"
        client.register_plugin(Furnish(), name=name)
        try:
            yield client.get_executor()
        except KilledWorker as error:
            raise OSError(f"{scheduler}: workers died, most likely for want of memory: begin fewer") from error
        finally:
            client.unregister_worker_plugin(name)
