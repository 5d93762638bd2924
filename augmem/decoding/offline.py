"""Decoding of whole parts in worker processes. k2 on a CPU uses one thread and holds the GIL."""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, as_completed, wait
from contextlib import ExitStack
from functools import cache, partial
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import torch

from augmem.cluster import WorkerPool, connect_cluster, explain_killed_process
from augmem.decoding.config import DecodingConfig
from augmem.decoding.records import NBEST_FILE, UtteranceKey, write_blocks
from augmem.decoding.search import Search
from augmem.decoding.shared_scores import SharedScores, release, share_scores
from augmem.decoding.worker import (
    Acoustics,
    DecodedBatch,
    DecodedUtterance,
    DecodingFiles,
    DeviceAcoustics,
    UtteranceDecoder,
    WorkerContext,
)
from augmem.errors import UserError
from augmem.files import write_json
from augmem.progress import Progress

logger = logging.getLogger(__name__)

SUMMARY_FILE = "summary.json"
LATTICE_FILE = "lattices.txt.gz"
REMEDY = "use fewer jobs (--nj), or a smaller decoding.max_duration, max_active or output_beam"
Durations = Mapping[UtteranceKey, float]
UtteranceBatch = tuple[Sequence[UtteranceKey], Sequence[float]]


def decode_parts(
    config: DecodingConfig,
    acoustics: DeviceAcoustics,
    durations: Durations,
    files: DecodingFiles,
    output: Path,
    jobs: int = 1,
    scheduler: str | None = None,
    device: torch.device | None = None,
) -> None:
    """Write output/<part>/nbest.jsonl.gz and summary.json of every part; also lattices.txt.gz if configured.

    The results do not depend on `jobs`.

    Args:
        acoustics: acoustic scores; called in the worker processes, or in this one if `device` is given.
        durations: the utterances to decode, with their durations in seconds.
        files: lang folder, decoding graph and language models; each worker process reads them.
        output: folder of the results.
        jobs: number of worker processes; 1: decode in this process.
        scheduler: address of a Dask scheduler whose workers are used instead of `jobs` processes.
        device: where this process computes the scores, batch by batch, which the worker processes read from shared
            memory. None: each worker computes its own.

    Raises:
        FileNotFoundError: a file is missing.
        UserError: graph and model do not match, or a file is damaged.
        OSError: a worker process was killed.
    """
    context = WorkerContext(config, acoustics, files)
    if not context.graph.exists():
        raise FileNotFoundError(f"{context.graph}: no decoding graph; run stage graphs first")
    decoded: dict[UtteranceKey, DecodedUtterance] = {}
    seconds: dict[str, float] = defaultdict(float)
    batches = make_batches(durations, config.max_duration)
    with Workers(context, jobs, scheduler, acoustics.on(device) if device else None) as workers:
        for batch in track_speech(
            workers.decode([(keys, [durations[k] for k in keys]) for keys in batches]), durations
        ):
            decoded.update({utterance.key: utterance for utterance in batch.utterances})
            seconds[batch.utterances[0].key.part] += batch.seconds
    for part in dict.fromkeys(key.part for key in durations):
        of_part = {key: decoded[key] for key in durations if key.part == part}
        write_decoded_part(output / part, list(of_part.values()), sum(durations[key] for key in of_part), seconds[part])


def track_speech(batches: Iterator[DecodedBatch], durations: Durations) -> Iterator[DecodedBatch]:
    """Yield batches and report progress, in seconds of speech, since the longest utterances come first."""
    done = 0.0
    with Progress("decoding", total=round(sum(durations.values())), unit="s of speech") as progress:
        for batch in batches:
            done += sum(durations[utterance.key] for utterance in batch.utterances)
            progress.advance(round(done) - progress.done)
            yield batch


def write_decoded_part(folder: Path, decoded: Sequence[DecodedUtterance], speech: float, seconds: float) -> None:
    """Write the files of a part and log a summary.

    Args:
        folder: folder to write.
        decoded: results of all utterances.
        speech: seconds of speech.
        seconds: processor time.
    """
    write_blocks(folder / NBEST_FILE, (utterance.nbest for utterance in decoded))
    if any(utterance.lattice for utterance in decoded):
        write_blocks(folder / LATTICE_FILE, (utterance.lattice for utterance in decoded))
    summary = summarise(decoded, speech, seconds)
    write_json(folder / SUMMARY_FILE, summary)
    log_summary(folder.name, summary)
    if too_large := [utterance for utterance in decoded if utterance.too_large]:
        first = too_large[0]
        logger.warning(
            "%s: %d of %d lattices were too large to rescore; their n-best lists were rescored (first: %s, %s). Raise "
            "decoding.rescoring_arcs or lower decoding.rescoring_beam",
            folder.name, len(too_large), len(decoded), first.key.id, first.too_large,
        )  # fmt: skip
    if unseen := sorted(set().union(*(utterance.unseen for utterance in decoded))):
        logger.warning(
            "%s: the rescoring LM lacks %d words of the hypotheses: %s",
            folder.name,
            len(unseen),
            ", ".join(unseen[:10]),
        )


class Workers:
    """A pool of decoding processes, or one worker in this process.

    Args:
        context: arguments of each worker.
        jobs: number of processes.
        scheduler: address of a Dask scheduler.
        acoustics: scores that this process computes; None: each worker computes its own.

    Raises:
        UserError: scores of this process for the workers of a scheduler, which may be on other machines.
    """

    def __init__(
        self, context: WorkerContext, jobs: int, scheduler: str | None = None, acoustics: Acoustics | None = None
    ) -> None:
        if scheduler and acoustics:
            raise UserError("decoding.device must be cpu with --scheduler: its workers compute the scores themselves")
        self.acoustics, self.limit = acoustics, 2 * jobs
        self.stack = ExitStack()
        self.pool: Executor | None = None
        if scheduler:
            self.pool = self.stack.enter_context(connect_cluster(scheduler, init_decoding_process, (context,)))
        elif jobs > 1 or acoustics:
            # spawn: fork would copy the thread pools of torch and k2 in an undefined state
            spawn = multiprocessing.get_context("spawn")
            self.pool = self.stack.enter_context(WorkerPool(jobs, spawn, init_decoding_process, (context,)))
        else:
            self.worker = UtteranceDecoder(context)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.__exit__(*error)

    def decode(self, batches: Sequence[UtteranceBatch]) -> Iterator[DecodedBatch]:
        """Decode batches of (keys, durations) and yield results in the order of completion."""
        if self.acoustics:
            yield from self._search(batches, self.acoustics)
            return
        if self.pool is None:
            yield from (self.worker(*batch) for batch in batches)
            return
        with explain_killed_process(REMEDY):
            for future in as_completed([self.pool.submit(decode_in_worker, *batch) for batch in batches]):
                yield future.result()

    def _search(self, batches: Sequence[UtteranceBatch], acoustics: Acoustics) -> Iterator[DecodedBatch]:
        """Compute the scores of batches in this process; the workers search meanwhile."""
        assert self.pool is not None
        blocks: dict[Future[DecodedBatch], SharedMemory] = {}
        try:
            with explain_killed_process(REMEDY):
                for keys, durations in batches:
                    with torch.no_grad():
                        block, scores = share_scores(*acoustics(keys))
                    blocks[self.pool.submit(search_in_worker, keys, durations, scores)] = block
                    while len(blocks) >= self.limit:
                        yield from take_finished(blocks)
                while blocks:
                    yield from take_finished(blocks)
        finally:
            for block in blocks.values():
                release(block)


def take_finished(blocks: dict[Future[DecodedBatch], SharedMemory]) -> Iterator[DecodedBatch]:
    """Wait until a batch is finished; release the scores of those that are, and yield their results.

    Args:
        blocks: shared memory of each batch in work; finished ones are removed.
    """
    for future in wait(blocks, return_when=FIRST_COMPLETED).done:
        release(blocks.pop(future))
        yield future.result()


_worker: Callable[[], UtteranceDecoder] | None = None  # of this process; set by the initialiser of the pool


def init_decoding_process(context: WorkerContext) -> None:
    """Prepare a worker process; one thread, since there is one process for each core.

    The worker is made with the first batch: an exception here would break the pool, and its message would be lost.
    """
    global _worker
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    _worker = cache(partial(UtteranceDecoder, context))


def decode_in_worker(keys: Sequence[UtteranceKey], durations: Sequence[float]) -> DecodedBatch:
    """Decode a batch in a worker process."""
    assert _worker is not None, "init_decoding_process has not run in this process"
    return _worker()(keys, durations)


def search_in_worker(keys: Sequence[UtteranceKey], durations: Sequence[float], scores: SharedScores) -> DecodedBatch:
    """Decode a batch in a worker process, with scores from shared memory."""
    assert _worker is not None, "init_decoding_process has not run in this process"
    started = time.process_time()
    return _worker().search(keys, durations, scores.read(), started)


def make_batches(durations: Durations, max_duration: float) -> list[list[UtteranceKey]]:
    """Group utterances of one part into batches of at most `max_duration` seconds, padding included.

    Batches are sorted by decreasing length, so that the last ones to finish are short. An utterance longer than
    `max_duration` is a batch of its own.
    """
    batches: list[list[UtteranceKey]] = []
    for key in sorted(durations, key=lambda key: (key.part, -durations[key], key.id)):
        last = batches[-1] if batches else []
        fits = last and last[0].part == key.part and durations[last[0]] * (len(last) + 1) <= max_duration
        if not fits:
            batches.append([])
        batches[-1].append(key)
    return sorted(batches, key=lambda batch: -durations[batch[0]])


def consecutive_batches(durations: Durations, max_duration: float) -> list[list[UtteranceKey]]:
    """Group utterances in their order into batches of at most `max_duration` seconds, padding included.

    Example:
        >>> keys = [UtteranceKey("dev", name) for name in "abc"]
        >>> [len(batch) for batch in consecutive_batches(dict(zip(keys, (2.0, 3.0, 9.0))), 6.0)]
        [2, 1]
    """
    batches: list[list[UtteranceKey]] = []
    longest = 0.0
    for key, seconds in durations.items():
        longest = max(longest, seconds)
        if not batches or longest * (len(batches[-1]) + 1) > max_duration:
            batches.append([])
            longest = seconds
        batches[-1].append(key)
    return batches


def summarise(decoded: Sequence[DecodedUtterance], speech: float, seconds: float) -> dict[str, Any]:
    """Summarise a part: speed, density of the lattices, and repeated and failed searches.

    Args:
        decoded: results of all utterances.
        speech: seconds of speech.
        seconds: processor time in seconds.
    """
    count = max(1, len(decoded))
    return {
        "utterances": len(decoded),
        "speech_seconds": round(speech, 2),
        "processor_seconds": round(seconds, 2),
        "real_time_factor": round(seconds / max(speech, 1e-9), 4),
        "mean_density": round(sum(utterance.density for utterance in decoded) / count, 1),
        "mean_hypotheses": round(sum(utterance.hypotheses for utterance in decoded) / count, 1),
        "searches": dict(Counter(utterance.search for utterance in decoded)),
        "repeated": [u.key.id for u in decoded if u.search not in (Search.NORMAL.value, Search.FAILED.value)],
        "failed": [u.key.id for u in decoded if u.search == Search.FAILED.value],
    }


def log_summary(part: str, summary: Mapping[str, Any]) -> None:
    """Log the summary of a part, with the ids of repeated and failed searches."""
    logger.info(
        "%s: %d utterances, %.0f s of speech decoded at a real-time factor of %.3f per core; %.1f arcs per frame, %.1f "
        "hypotheses per utterance",
        part,
        *(summary[key] for key in ("utterances", "speech_seconds", "real_time_factor")),
        *(summary[key] for key in ("mean_density", "mean_hypotheses")),
    )
    for key, meaning in {"repeated": "needed a second search", "failed": "have no hypothesis"}.items():
        if ids := summary[key]:
            logger.warning("%s: %d utterances %s: %s", part, len(ids), meaning, " ".join(ids[:20]))
