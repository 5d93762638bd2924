"""Decode whole parts with worker processes: k2 on a CPU has one thread and holds the interpreter's lock."""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from augmem.cluster import cluster, explain_killed_process
from augmem.decoding.config import DecodingConfig
from augmem.decoding.kaldi import as_kaldi_text
from augmem.decoding.lattice import Lattice, pruned
from augmem.decoding.nbest import WordSequence, best_word_sequences
from augmem.decoding.oracle import lattice_oracle_errors, nbest_oracle_errors
from augmem.decoding.records import (
    FIRST_PASS,
    NEURAL,
    RESCORED,
    Hypothesis,
    NbestEntry,
    Utterance,
    write_nbest,
    write_text_gz,
)
from augmem.decoding.rescoring import Exchange, NgramModel, TooLarge, rescored
from augmem.decoding.search import DecodingGraph, Found, Search, find_lattices
from augmem.files import write_json
from augmem.graph import HLG_FILE, Origin
from augmem.lang import SILENCE, NeuralLm, read_symbols

logger = logging.getLogger(__name__)

SUMMARY_FILE = "summary.json"
LATTICE_FILE = "lattices.txt.gz"
NO_WORD = -2  # id of a reference's word that is not in the vocabulary: no arc has it


class Acoustics(Protocol):
    """Where the scores come from. It travels to the worker processes: picklable, and loading lazily."""

    def __call__(self, utterances: Sequence[Utterance]) -> tuple[Tensor, Tensor]:
        """Log-probabilities (B, T, V) and lengths (B,) of these utterances, in this order."""


@dataclass(frozen=True)
class Room:
    """What a worker process is furnished with.

    Args:
        config: beams and limits.
        acoustics: gives the scores of some utterances.
        words: word id -> word.
        graph: HLG.safetensors.
        origin: the model's lang folder and topology, which must be the graph's.
        language_models: ARPA files of the graph's language model and of the larger one; None: no rescoring.
        neural_lm: a neural model for the rescored lists.
        silent: units that are no sound: blank and silence.
        time_of: seconds at which a frame of scores begins.
    """

    config: DecodingConfig
    acoustics: Acoustics
    words: Mapping[int, str]
    graph: Path
    origin: Origin | None
    language_models: tuple[Path, Path] | None
    neural_lm: Path | None
    silent: tuple[int, ...]
    time_of: Callable[[int], float]


@dataclass(frozen=True)
class Answer:
    """What a worker found out about one utterance.

    Args:
        too_large: why its lattice could not be rescored; empty if it was, or was not to be.
        unseen: its words that the larger language model does not know.
        lattice: in Kaldi's text form, if lattices are to be kept.
    """

    entry: NbestEntry
    too_large: str = ""
    unseen: frozenset[str] = frozenset()
    lattice: str = ""


def decode(
    config: DecodingConfig,
    acoustics: Acoustics,
    parts: Mapping[str, Sequence[Utterance]],
    lang_dir: Path,
    graph_dir: Path,
    output: Path,
    language_models: tuple[Path, Path] | None = None,
    jobs: int = 1,
    time_of: Callable[[int], float] = float,
    neural_lm: Path | None = None,
    origin: Origin | None = None,
    scheduler: str | None = None,
) -> None:
    """Make output/<part>/nbest.jsonl.gz and summary.json for every part; and lattices.txt.gz, if they are to be kept.

    The result does not depend on `jobs`.

    Args:
        acoustics: gives the scores of some utterances; called in the worker processes.
        parts: name -> utterances.
        lang_dir: holds words.txt and tokens.txt.
        graph_dir: holds HLG.safetensors.
        language_models: ARPA files of the graph's language model and of the larger one that is to take its place;
            without them nothing is rescored. Each worker process reads them.
        jobs: worker processes; with 1 everything happens in this one.
        time_of: seconds at which a frame of scores begins; picklable. By default times are frames.
        neural_lm: a neural language model whose opinion of the rescored lists is averaged with the larger model's.
        origin: the model's lang folder and topology; a graph of another origin is refused.
        scheduler: address of a Dask scheduler whose workers are used in the place of `jobs`.
    """
    words = {index: word for word, index in read_symbols(lang_dir / "words.txt").items()}
    silence = read_symbols(lang_dir / "tokens.txt").get(SILENCE)
    silent = (0,) if silence is None else (0, silence)
    room = Room(config, acoustics, words, graph_dir / HLG_FILE, origin, language_models, neural_lm, silent, time_of)
    with Workers(room, jobs, scheduler) as workers:
        for part, utterances in parts.items():
            started = time.time()
            answers = {answer.entry.utterance.id: answer for answer in workers.decode(part, utterances)}
            write_part(output / part, [answers[u.id] for u in utterances], time.time() - started)


def write_part(folder: Path, answers: Sequence[Answer], seconds: float) -> None:
    """Write one part's files, and say how it went."""
    entries = [answer.entry for answer in answers]
    write_nbest(folder, entries)
    if any(answer.lattice for answer in answers):
        write_text_gz(folder / LATTICE_FILE, [answer.lattice for answer in answers])
    summary = summarise(entries, seconds)
    write_json(folder / SUMMARY_FILE, summary)
    report(folder.name, summary)
    if too_large := [answer for answer in answers if answer.too_large]:
        first = too_large[0]
        logger.warning(
            "%s: %d of %d lattices were too large to rescore, their n-best lists had to do (the first, %s: %s); "
            "raise decoding.rescoring_arcs or lower decoding.rescoring_beam",
            folder.name, len(too_large), len(answers), first.entry.utterance.id, first.too_large,
        )  # fmt: skip
    if unseen := sorted(set().union(*(answer.unseen for answer in answers))):
        logger.warning("the rescoring LM lacks %d words of the hypotheses: %s", len(unseen), ", ".join(unseen[:10]))


class Workers:
    """A pool of decoders, or one in this process; `decode` hands it batch after batch."""

    def __init__(self, room: Room, jobs: int, scheduler: str | None = None) -> None:
        if not room.graph.exists():
            raise FileNotFoundError(f"{room.graph}: no decoding graph; run the stages lang to graphs first")
        self.config = room.config
        self.stack = ExitStack()
        self.pool: Executor | None = None
        if scheduler:
            self.pool = self.stack.enter_context(cluster(scheduler, set_up_worker, (room,)))
        elif jobs > 1:
            # spawn: a fork would inherit torch's and k2's thread pools in whatever state they are
            context = multiprocessing.get_context("spawn")
            self.pool = ProcessPoolExecutor(jobs, context, initializer=set_up_worker, initargs=(room,))
        else:
            self.worker = Worker(room)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: Any) -> None:
        if isinstance(self.pool, ProcessPoolExecutor):
            self.pool.shutdown(cancel_futures=True)
        self.stack.__exit__(*error)

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
        with explain_killed_process(
            "use fewer jobs (--nj), or a smaller decoding.max_duration, max_active or output_beam"
        ):
            for future in as_completed([self.pool.submit(decode_in_worker, batch) for batch in batches]):
                yield future.result()


class Worker:
    """Scores in, n-best lists out."""

    def __init__(self, room: Room) -> None:
        self.room, self.config = room, room.config
        self.graph = DecodingGraph.load(room.graph, room.origin)
        self.larger: NgramModel | None = None
        if room.language_models:
            smaller, self.larger = map(NgramModel, room.language_models)
            self.exchange = Exchange(smaller, self.larger)
        self.neural = NeuralLm.load(room.neural_lm) if room.neural_lm else None
        self.numbers = {word: index for index, word in room.words.items()}

    def __call__(self, utterances: Sequence[Utterance]) -> list[Answer]:
        with torch.no_grad():
            log_probs, lengths = self.room.acoustics(utterances)
        found = find_lattices(log_probs, lengths, self.graph, self.config, [u.id for u in utterances])
        return [self.answer(utterance, result) for utterance, result in zip(utterances, found, strict=True)]

    def answer(self, utterance: Utterance, found: Found) -> Answer:
        """One utterance's lists, and what else is to be known about its lattice."""
        lattice = found.lattice
        lists, too_large, unseen = {FIRST_PASS: self.listed(lattice)}, "", frozenset[str]()
        if self.larger:
            self.larger.unseen.clear()
            lists[RESCORED], too_large = self.rescored(lattice, lists[FIRST_PASS])
            unseen = frozenset(self.larger.unseen)
        if self.larger and self.neural:
            lists[NEURAL] = averaged(lists[RESCORED], self.larger, self.neural)
        errors = lattice_oracle_errors(lattice, [self.numbers.get(word, NO_WORD) for word in utterance.reference])
        entry = NbestEntry(utterance, found.search.value, lattice.density, errors, lists)
        text = as_kaldi_text(utterance.id, lattice) if self.config.write_lattices else ""
        return Answer(entry, too_large, unseen, text)

    def listed(self, lattice: Lattice) -> tuple[Hypothesis, ...]:
        """The best hypotheses of a lattice."""
        scale = self.config.acoustic_scale
        return tuple(self.spelt(path, (path.total - path.graph) / scale) for path in self.paths(lattice))

    def rescored(self, lattice: Lattice, first: Sequence[Hypothesis]) -> tuple[tuple[Hypothesis, ...], str]:
        """The larger model's list of the whole lattice; or, and then why, its scores of the first pass's list."""
        if self.config.rescoring == "lattice" and not lattice.is_empty:
            try:
                narrow = pruned(lattice, self.config.rescoring_beam)
                return self.listed(rescored(narrow, self.exchange, self.room.words, self.config.rescoring_arcs)), ""
            except TooLarge as reason:
                return self.rescored_list(first), str(reason)
        return self.rescored_list(first), ""

    def rescored_list(self, first: Sequence[Hypothesis]) -> tuple[Hypothesis, ...]:
        """The first pass's list with the larger model's scores."""
        return tuple(replace(h, lm=round(h.lm + self.exchange.sentence(h.words), 4)) for h in first)

    def paths(self, lattice: Lattice) -> list[WordSequence]:
        """The best word sequences, within the configured limits."""
        return best_word_sequences(lattice, self.config, self.room.silent)

    def spelt(self, path: WordSequence, am: float) -> Hypothesis:
        """A path in words and seconds."""
        words = tuple(self.room.words[word] for word in path.words)
        times = tuple((self.room.time_of(time.begin), self.room.time_of(time.end)) for time in path.times)
        return Hypothesis(words, round(am, 4), round(path.graph, 4), times)


def averaged(listed: Sequence[Hypothesis], larger: NgramModel, neural: NeuralLm) -> tuple[Hypothesis, ...]:
    """A rescored list with the mean of both models' log-probabilities in the place of the larger model's."""
    scores = neural.log_probabilities([hypothesis.words for hypothesis in listed])
    gains = [(score - larger.sentence(h.words)) / 2 for h, score in zip(listed, scores, strict=True)]
    return tuple(replace(h, lm=round(h.lm + gain, 4)) for h, gain in zip(listed, gains, strict=True))


_worker: Callable[[], Worker] | None = None  # of this process; the pool's initialiser sets it


def set_up_worker(room: Room) -> None:
    """Prepare a worker process; one thread, since there is a process for every core.

    The worker is made with the first batch: an error here would break the pool, which does not say why.
    """
    global _worker
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    _worker = cache(partial(Worker, room))


def decode_in_worker(utterances: Sequence[Utterance]) -> list[Answer]:
    """Decode a batch in a worker process."""
    if _worker is None:
        raise RuntimeError("set_up_worker has not run in this process")
    return _worker()(utterances)


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


def summarise(entries: Sequence[NbestEntry], seconds: float) -> dict[str, object]:
    """Figures of one part: speed, density of the lattices, and how many searches needed a rescue."""
    speech = sum(e.utterance.duration for e in entries)
    count, words = max(1, len(entries)), max(1, sum(len(e.utterance.reference) for e in entries))
    listed = (nbest_oracle_errors([h.words for h in e.lists[FIRST_PASS]], e.utterance.reference) for e in entries)
    return {
        "utterances": len(entries),
        "speech_seconds": round(speech, 2),
        "wall_seconds": round(seconds, 2),
        "real_time_factor": round(seconds / max(speech, 1e-9), 4),
        "mean_density": round(sum(e.density for e in entries) / count, 1),
        "mean_hypotheses": round(sum(len(e.lists[FIRST_PASS]) for e in entries) / count, 1),
        "lattice_oracle_wer": round(sum(e.oracle_errors for e in entries) / words, 4),
        "nbest_oracle_wer": round(sum(listed) / words, 4),
        "searches": dict(Counter(e.search for e in entries)),
        "rescued": [e.utterance.id for e in entries if e.search not in (Search.NORMAL, Search.FAILED)],
        "failed": [e.utterance.id for e in entries if e.search == Search.FAILED],
    }


def report(part: str, summary: Mapping[str, object]) -> None:
    """Say how it went; failures are named, never swallowed."""
    logger.info(
        "%s: %s utterances, %s s of speech in %s s (RTF %s), %s arcs per frame, %s hypotheses each; "
        "a perfect choice: WER %.2f %% from the lattices, %.2f %% from the lists",
        part,
        *(summary[key] for key in ("utterances", "speech_seconds", "wall_seconds", "real_time_factor")),
        *(summary[key] for key in ("mean_density", "mean_hypotheses")),
        *(100 * float(str(summary[key])) for key in ("lattice_oracle_wer", "nbest_oracle_wer")),
    )
    for key, meaning in {"rescued": "needed a second search", "failed": "have no hypothesis at all"}.items():
        ids = summary[key]
        if isinstance(ids, list) and ids:
            logger.warning("%s: %d utterances %s: %s", part, len(ids), meaning, " ".join(ids[:20]))
