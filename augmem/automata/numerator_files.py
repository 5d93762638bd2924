"""Compile the numerators of all transcripts in worker processes, and store them for training."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import AbstractContextManager
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import torch

from augmem.automata.fsa import load_fsa
from augmem.automata.numerator import NumeratorCompiler
from augmem.cluster import WorkerPool, connect_cluster, explain_killed_process
from augmem.graph import PHONE_LM_FILE, Biphones, Kind, numerator_definition, transcript_key, write_numerators
from augmem.lang import Lang
from augmem.progress import Progress

logger = logging.getLogger(__name__)

GRAPHS_PER_FILE = 500
_GRAPHS_PER_BATCH = 20


class NumeratorContext(NamedTuple):
    """Input of every worker process.

    Args:
        lang_dir: a lang folder.
        folder: folder of the files; contains P.
        kinds: kinds of numerators to compile.
        topology: name of H.
        biphones: context of H.
    """

    lang_dir: Path
    folder: Path
    kinds: Sequence[Kind]
    topology: str
    biphones: Biphones


def prepare_numerators(
    context: NumeratorContext, texts: Sequence[str], jobs: int = 1, scheduler: str | None = None
) -> None:
    """Write the numerators of transcripts; transcripts with equal pronunciations have one graph.

    The files do not depend on `jobs`.

    Args:
        context: lang folder, P and topology.
        texts: normalised transcripts.
        jobs: number of worker processes; 1: compile in this process.
        scheduler: address of a Dask scheduler whose workers are used instead of `jobs` processes.

    Raises:
        OSError: a worker process was killed.
    """
    lang = Lang.load(context.lang_dir)
    distinct = {transcript_key(lang, text): text for text in reversed(texts)}
    keys = sorted(distinct)
    files = [keys[first : first + GRAPHS_PER_FILE] for first in range(0, len(keys), GRAPHS_PER_FILE)]
    tasks = [(number, part, [distinct[key] for key in part]) for number, part in enumerate(files)]
    with Progress("numerators", total=len(keys), unit="transcripts") as progress:
        for done in run_tasks(context, tasks, jobs, scheduler):
            progress.advance(done)
    logger.info("numerators: %d graphs of %d transcripts", len(keys), len(texts))


Task = tuple[int, Sequence[int], Sequence[str]]  # number of the file; keys and transcripts


def run_tasks(context: NumeratorContext, tasks: Sequence[Task], jobs: int, scheduler: str | None) -> Iterator[int]:
    """Write the files and yield the number of graphs of each.

    Args:
        context: lang folder, P and topology.
        tasks: number, keys and texts of each file.
        jobs: number of processes; 1: this one.
        scheduler: address of a Dask scheduler whose workers are used instead.
    """
    jobs = min(jobs, len(tasks))
    if jobs <= 1 and scheduler is None:
        compiler = FileCompiler(context)
        yield from (compiler(*task) for task in tasks)
        return
    with explain_killed_process("use fewer jobs (--nj)"), start_workers(context, jobs, scheduler) as pool:
        for future in as_completed([pool.submit(compile_in_worker, *task) for task in tasks]):
            yield future.result()


def start_workers(context: NumeratorContext, jobs: int, scheduler: str | None) -> AbstractContextManager[Executor]:
    """Return a pool of processes with a compiler each.

    Args:
        context: lang folder, P and topology.
        jobs: number of processes.
        scheduler: address of a Dask scheduler whose workers are used instead.
    """
    if scheduler is not None:
        return connect_cluster(scheduler, init_compiler_process, (context,))
    # spawn: fork would copy the thread pools of torch and k2 in an undefined state
    spawn = multiprocessing.get_context("spawn")
    return WorkerPool(jobs, spawn, init_compiler_process, (context,))


class FileCompiler:
    """Compiles the graphs of a file.

    Args:
        context: lang folder, P and topology.
    """

    def __init__(self, context: NumeratorContext) -> None:
        self.folder = context.folder
        lang, topology, biphones = Lang.load(context.lang_dir), context.topology, context.biphones
        self.compilers = {}
        for kind in context.kinds:
            path = context.folder / PHONE_LM_FILE if kind == "mmi" else None
            phone_lm = load_fsa(path) if path else None
            definition = numerator_definition(lang.units_hash, topology, biphones, path)
            self.compilers[kind] = NumeratorCompiler(lang, topology, phone_lm, biphones), definition

    def __call__(self, number: int, keys: Sequence[int], texts: Sequence[str]) -> int:
        """Write file `number` of each kind; return the number of graphs."""
        for kind, (compiler, definition) in self.compilers.items():
            starts = range(0, len(texts), _GRAPHS_PER_BATCH)
            graphs = [graph for first in starts for graph in compiler.compile(texts[first : first + _GRAPHS_PER_BATCH])]
            write_numerators(self.folder / f"{kind}-{number:04d}.safetensors", keys, graphs, definition)
        return len(keys)


_compiler: Callable[[], FileCompiler] | None = None  # of this process; set by the initialiser of the pool


def init_compiler_process(context: NumeratorContext) -> None:
    """Prepare a worker process; one thread, since there is one process for each core.

    The compiler is made with the first task: an exception here would break the pool, and its message would be lost.
    """
    global _compiler
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    _compiler = cache(partial(FileCompiler, context))


def compile_in_worker(number: int, keys: Sequence[int], texts: Sequence[str]) -> int:
    """Write a file in a worker process.

    Args:
        number: number of the file.
        keys: keys of the transcripts.
        texts: normalised transcripts.

    Returns:
        the number of graphs written.
    """
    assert _compiler is not None, "init_compiler_process has not run in this process"
    return _compiler()(number, keys, texts)
