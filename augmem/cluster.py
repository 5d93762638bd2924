"""Run tasks on the workers of a Dask scheduler, and explain failures of worker processes."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from augmem.errors import UserError
from augmem.machine import prepare_libraries

CONNECT_TIMEOUT = 10  # seconds
WORKER_COMMAND = "dask worker SCHEDULER --nworkers N --nthreads 1"


@contextmanager
def explain_killed_process(remedy: str) -> Iterator[None]:
    """Replace the error of a broken process pool by a message with the likely cause.

    Raises:
        OSError: a process of the pool was killed.
    """
    try:
        yield
    except BrokenProcessPool as error:
        raise OSError(f"a worker process was killed, probably because memory ran out: {remedy}") from error


@contextmanager
def cluster(scheduler: str, initializer: Callable[..., None], initargs: tuple[Any, ...] = ()) -> Iterator[Executor]:
    """Yield an executor whose tasks run on the workers of a Dask scheduler.

    Tasks of a lost worker are repeated by another. Workers need this package and are started in the same folder, on a
    file system shared by all machines.

    Args:
        scheduler: address, tcp://HOST:PORT.
        initializer: called in every worker before its first task, also in workers that join later.
        initargs: arguments of `initializer`.

    Raises:
        UserError: Dask is not installed, or a worker has several threads.
        OSError: no scheduler answers, it has no workers, or a task killed several workers.
    """
    try:
        from distributed import Client, KilledWorker, WorkerPlugin
    except ImportError as error:
        raise UserError("--scheduler needs Dask: pip install distributed") from error

    task = pickle.dumps((initializer, initargs))  # unpickling it imports torch

    class InitWorkerPlugin(WorkerPlugin):
        def setup(self, worker: object) -> None:
            prepare_libraries()
            function, arguments = pickle.loads(task)
            function(*arguments)

    try:
        client = Client(scheduler, timeout=CONNECT_TIMEOUT)
    except (OSError, ValueError) as error:
        raise OSError(f"{scheduler}: no Dask scheduler answers ({error}); start one with: dask scheduler") from error
    with client:
        threads = client.nthreads()
        if not threads:
            raise OSError(f"{scheduler}: the scheduler has no workers; start some with: {WORKER_COMMAND}")
        if set(threads.values()) != {1}:
            raise UserError(f"{scheduler}: a worker has several threads, which k2 does not support: {WORKER_COMMAND}")
        name = f"augmem-{uuid4()}"
        client.register_plugin(InitWorkerPlugin(), name=name)
        try:
            yield client.get_executor()
        except KilledWorker as error:
            raise OSError(f"{scheduler}: workers were killed, probably because memory ran out: start fewer") from error
        finally:
            client.unregister_worker_plugin(name)
