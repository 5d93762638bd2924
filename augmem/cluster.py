"""Worker processes of this machine or of a Dask scheduler; their failures are explained."""

from __future__ import annotations

import pickle
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any
from uuid import uuid4

from augmem.errors import UserError
from augmem.machine import prepare_libraries

CONNECT_TIMEOUT = 10  # seconds
WORKER_COMMAND = "dask worker SCHEDULER --nworkers N --nthreads 1"


class WorkerPool(ProcessPoolExecutor):
    """Worker processes that Ctrl-C ends without a message; only the main process reports it.

    The signal is blocked while a process starts, since it can arrive during imports, which would print a traceback.

    Args:
        jobs: number of processes.
        context: multiprocessing context that starts them.
        initializer: called in each before its first task.
        initargs: arguments of `initializer`.
    """

    def __init__(
        self,
        jobs: int,
        context: BaseContext,
        initializer: Callable[..., None] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        super().__init__(jobs, context, _start_worker, (initializer, initargs))
        self.started: set[BaseProcess] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Schedule a task; starts a process if there are fewer than `jobs`, which inherits the blocked signal."""
        mask, others = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}), set(active_children())
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            self.started |= set(active_children()) - others
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        """Wait for all tasks; after an error, end the processes at once."""
        for process in self.started if kind else ():
            process.terminate()
        self.shutdown(cancel_futures=bool(kind))


def _start_worker(initializer: Callable[..., None] | None, initargs: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if initializer:
        initializer(*initargs)


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
def connect_cluster(
    scheduler: str, initializer: Callable[..., None], initargs: tuple[Any, ...] = ()
) -> Iterator[Executor]:
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
