"""Decode whole parts with worker processes: k2 on a CPU has one thread and holds the interpreter's lock."""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import k2
import torch
from torch import Tensor
from tqdm import tqdm

from augmem.decoding.config import DecodingConfig
from augmem.decoding.nbest import Path as WordPath
from augmem.decoding.nbest import best_word_sequences
from augmem.decoding.records import Hypothesis, NbestEntry, Utterance, write_nbest
from augmem.decoding.rescoring import rescore_parts
from augmem.decoding.search import DecodingGraph, Search, find_lattices
from augmem.files import write_json

logger = logging.getLogger(__name__)

GRAPH_FILE = "HLG.pt"
SUMMARY_FILE = "summary.json"


class Acoustics(Protocol):
    """Where the scores come from. It travels to the worker processes: picklable, and loading lazily."""

    def __call__(self, utterances: Sequence[Utterance]) -> tuple[Tensor, Tensor]:
        """Log-probabilities (B, T, V) and lengths (B,) of these utterances, in this order."""


@dataclass(frozen=True)
class Answer:
    """What a worker found out about one utterance."""

    utterance: Utterance
    search: Search
    density: float
    paths: list[WordPath]


def decode(
    config: DecodingConfig,
    acoustics: Acoustics,
    parts: Mapping[str, Sequence[Utterance]],
    lang_dir: Path,
    graph_dir: Path,
    output: Path,
    rescoring_lm: Path | None = None,
    jobs: int = 1,
) -> None:
    """Make output/<part>/nbest.jsonl.gz and summary.json for every part.

    The result does not depend on `jobs`.

    Args:
        acoustics: gives the scores of some utterances; called in the worker processes.
        parts: name -> utterances.
        lang_dir: holds words.txt.
        graph_dir: holds HLG.pt.
        rescoring_lm: ARPA file of the larger language model; without it there is no lm_rescore.
        jobs: worker processes; with 1 everything happens in this one.
    """
    symbols = k2.SymbolTable.from_file(str(lang_dir / "words.txt"))
    with Workers(config, acoustics, graph_dir / GRAPH_FILE, jobs) as workers:
        for part, utterances in parts.items():
            started = time.time()
            answers = {answer.utterance.id: answer for answer in workers.decode(part, utterances)}
            entries = [entry(answers[u.id], symbols, config.acoustic_scale) for u in utterances]
            write_nbest(output / part, entries)
            summary = summarise(entries, time.time() - started)
            write_json(output / part / SUMMARY_FILE, summary)
            report(part, summary)
    if rescoring_lm is not None:
        rescore_parts(output, list(parts), rescoring_lm)


class Workers:
    """A pool of decoders, or one in this process; `decode` hands it batch after batch."""

    def __init__(self, config: DecodingConfig, acoustics: Acoustics, graph: Path, jobs: int) -> None:
        if not graph.exists():
            raise FileNotFoundError(f"{graph}: no decoding graph; run the graphs stage first")
        self.config = config
        self.pool: ProcessPoolExecutor | None = None
        if jobs > 1:
            # spawn: a fork would inherit torch's and k2's thread pools in whatever state they are
            context = multiprocessing.get_context("spawn")
            setup = (config, acoustics, graph)
            self.pool = ProcessPoolExecutor(jobs, context, initializer=set_up_worker, initargs=setup)
        else:
            self.worker = Worker(config, acoustics, graph)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *unused: object) -> None:
        if self.pool:
            self.pool.shutdown(cancel_futures=True)

    def decode(self, part: str, utterances: Sequence[Utterance]) -> Iterator[Answer]:
        """Decode one part, in any order, with a progress bar."""
        batches = make_batches(utterances, self.config.max_duration)
        with tqdm(total=len(utterances), desc=f"decoding {part}", unit="utt", mininterval=1) as bar:
            for answers in self.run(batches):
                bar.update(len(answers))
                yield from answers

    def run(self, batches: Sequence[Sequence[Utterance]]) -> Iterator[list[Answer]]:
        """Answers of each batch as they come."""
        if self.pool is None:
            yield from map(self.worker, batches)
            return
        try:
            for future in as_completed([self.pool.submit(decode_in_worker, batch) for batch in batches]):
                yield future.result()
        except BrokenProcessPool as error:
            raise OSError(
                "a decoding process was killed, most likely for want of memory: use fewer jobs (--nj), "
                "or a smaller decoding.max_duration, max_active or output_beam"
            ) from error


class Worker:
    """Scores in, n-best lists out."""

    def __init__(self, config: DecodingConfig, acoustics: Acoustics, graph: Path) -> None:
        self.config = config
        self.acoustics = acoustics
        self.graph = DecodingGraph.load(graph)

    def __call__(self, utterances: Sequence[Utterance]) -> list[Answer]:
        with torch.no_grad():
            log_probs, lengths = self.acoustics(utterances)
        found = find_lattices(log_probs, lengths, self.graph, self.config, [u.id for u in utterances])
        limits = (self.config.nbest, self.config.nbest_beam, self.config.nbest_tokens)
        return [
            Answer(utterance, result.search, result.lattice.density, best_word_sequences(result.lattice, *limits))
            for utterance, result in zip(utterances, found, strict=True)
        ]


_worker: Worker | None = None  # of this process; the pool's initialiser sets it


def set_up_worker(config: DecodingConfig, acoustics: Acoustics, graph: Path) -> None:
    """Prepare a worker process; one thread, since there is a process for every core."""
    global _worker
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    _worker = Worker(config, acoustics, graph)


def decode_in_worker(utterances: Sequence[Utterance]) -> list[Answer]:
    """Decode a batch in a worker process."""
    if _worker is None:
        raise RuntimeError("set_up_worker has not run in this process")
    return _worker(utterances)


def make_batches(utterances: Sequence[Utterance], max_duration: float) -> list[list[Utterance]]:
    """Longest first, so that the last batches to finish are short; padding included, `max_duration` seconds
    each.

    An utterance longer than that makes a batch of its own.
    """
    batches: list[list[Utterance]] = []
    for utterance in sorted(utterances, key=lambda u: (-u.duration, u.id)):
        if not batches or batches[-1][0].duration * (len(batches[-1]) + 1) > max_duration:
            batches.append([])
        batches[-1].append(utterance)
    return batches


def entry(answer: Answer, symbols: k2.SymbolTable, acoustic_scale: float) -> NbestEntry:
    """Spell the words out and take the scores apart."""
    hypotheses = []
    for path in answer.paths:
        words = tuple(symbols[word] for word in path.words)
        am = (path.total - path.graph) / acoustic_scale
        hypotheses.append(Hypothesis(words, round(am, 4), round(path.graph, 4)))
    return NbestEntry(answer.utterance, answer.search.value, answer.density, tuple(hypotheses))


def summarise(entries: Sequence[NbestEntry], seconds: float) -> dict[str, object]:
    """Figures of one part: speed, density of the lattices, and how many searches needed a rescue."""
    speech = sum(e.utterance.duration for e in entries)
    count = max(1, len(entries))
    return {
        "utterances": len(entries),
        "speech_seconds": round(speech, 2),
        "wall_seconds": round(seconds, 2),
        "real_time_factor": round(seconds / max(speech, 1e-9), 4),
        "mean_density": round(sum(e.density for e in entries) / count, 1),
        "mean_hypotheses": round(sum(len(e.hypotheses) for e in entries) / count, 1),
        "searches": dict(Counter(e.search for e in entries)),
        "rescued": [e.utterance.id for e in entries if e.search not in (Search.NORMAL, Search.FAILED)],
        "failed": [e.utterance.id for e in entries if e.search == Search.FAILED],
    }


def report(part: str, summary: Mapping[str, object]) -> None:
    """Say how it went; failures are named, never swallowed."""
    logger.info(
        "%s: %s utterances, %s s of speech in %s s (RTF %s), %s arcs per frame, %s hypotheses each",
        part,
        *(summary[key] for key in ("utterances", "speech_seconds", "wall_seconds", "real_time_factor")),
        *(summary[key] for key in ("mean_density", "mean_hypotheses")),
    )
    for key, meaning in {"rescued": "needed a second search", "failed": "have no hypothesis at all"}.items():
        ids = summary[key]
        if isinstance(ids, list) and ids:
            logger.warning("%s: %d utterances %s: %s", part, len(ids), meaning, " ".join(ids[:20]))
