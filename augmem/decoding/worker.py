"""Decoding of batches in one process: acoustic scores in, n-best lists out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from augmem.decoding.config import DecodingConfig
from augmem.decoding.kaldi import as_kaldi_text
from augmem.decoding.lattice import Lattice, prune_lattice
from augmem.decoding.nbest import WordSequence, best_word_sequences
from augmem.decoding.records import (
    FIRST_PASS,
    NEURAL,
    RESCORED,
    Hypothesis,
    NbestEntry,
    UtteranceKey,
    compress_text,
)
from augmem.decoding.rescoring import ModelExchange, NgramModel, TooLarge, rescore_lattice
from augmem.decoding.search import DecodingGraph, LatticeResult, find_lattices
from augmem.graph import HLG_FILE, Origin
from augmem.lang import NeuralLm, read_symbols, silent_ids


class Acoustics(Protocol):
    """Acoustic scores of utterances, with their times and origin. Picklable; loads lazily in each worker process."""

    def __call__(self, keys: Sequence[UtteranceKey]) -> tuple[Tensor, Tensor]:
        """Return log-probabilities (B, T, V) and lengths (B,) in frames, in the order of `keys`."""

    def time_of(self, frame: int) -> float:
        """Return the time in seconds at which a frame begins."""

    @property
    def origin(self) -> Origin | None:
        """Units and topology of the model; a decoding graph of another origin is refused. None: not checked."""


class DeviceAcoustics(Acoustics, Protocol):
    """Acoustic scores that can be computed on a GPU."""

    def on(self, device: torch.device) -> Acoustics:
        """Return the same scores, computed on another device."""


class DecodingFiles(NamedTuple):
    """Files that decoding reads.

    Args:
        lang: lang folder.
        graphs: folder with the decoding graph.
        language_models: ARPA files of the first-pass LM and of the rescoring LM that replaces it; None: no rescoring.
        neural_lm: neural LM for the rescored lists.
    """

    lang: Path
    graphs: Path
    language_models: tuple[Path, Path] | None = None
    neural_lm: Path | None = None


class WorkerContext(NamedTuple):
    """Arguments of a `UtteranceDecoder`; picklable."""

    config: DecodingConfig
    acoustics: Acoustics
    files: DecodingFiles

    @property
    def graph(self) -> Path:
        """Path of the decoding graph."""
        return self.files.graphs / HLG_FILE


@dataclass(frozen=True)
class DecodedUtterance:
    """Result of one utterance, as sent from a worker process.

    Args:
        key: the utterance.
        search: name of the search that found the lattice.
        density: lattice arcs per frame.
        hypotheses: length of the first-pass list.
        nbest: its line of the n-best file, compressed.
        too_large: why the lattice could not be rescored; "" if it was rescored or did not have to be.
        unseen: words that the rescoring LM does not have.
        lattice: the lattice in Kaldi's text format, compressed; b"" if lattices are not written.
    """

    key: UtteranceKey
    search: str
    density: float
    hypotheses: int
    nbest: bytes
    too_large: str = ""
    unseen: frozenset[str] = frozenset()
    lattice: bytes = b""


class DecodedBatch(NamedTuple):
    """Results of a batch, and the processor time they took in seconds."""

    utterances: list[DecodedUtterance]
    seconds: float


class UtteranceDecoder:
    """Decodes batches of utterances.

    Args:
        context: options, scores and files.

    Raises:
        FileNotFoundError: a file is missing.
        UserError: graph and model do not match, or a file is damaged.
    """

    def __init__(self, context: WorkerContext) -> None:
        self.config, self.acoustics = context.config, context.acoustics
        self.time_of = cache(context.acoustics.time_of)
        files = context.files
        self.words = {index: word for word, index in read_symbols(files.lang / "words.txt").items()}
        self.silent = silent_ids(read_symbols(files.lang / "tokens.txt"))
        self.graph = DecodingGraph.load(context.graph, context.acoustics.origin)
        self.rescoring_lm: NgramModel | None = None
        if files.language_models:
            first_pass_lm, self.rescoring_lm = map(NgramModel, files.language_models)
            self.exchange = ModelExchange(first_pass_lm, self.rescoring_lm)
        self.neural = NeuralLm.load(files.neural_lm) if files.neural_lm else None

    def __call__(self, keys: Sequence[UtteranceKey], durations: Sequence[float]) -> DecodedBatch:
        """Decode a batch.

        Args:
            keys: the utterances.
            durations: their durations in seconds.
        """
        started = time.process_time()
        with torch.no_grad():
            scores = self.acoustics(keys)
        return self.search(keys, durations, scores, started)

    def search(
        self, keys: Sequence[UtteranceKey], durations: Sequence[float], scores: tuple[Tensor, Tensor], started: float
    ) -> DecodedBatch:
        """Decode a batch whose scores have been computed.

        Args:
            keys: the utterances.
            durations: their durations in seconds.
            scores: log-probabilities (B, T, V) and lengths (B,) in frames.
            started: `time.process_time()` from which on the time counts.
        """
        log_probs, lengths = scores
        found = find_lattices(log_probs, lengths, self.graph, self.config, [key.id for key in keys])
        decoded = [self.decode(*item) for item in zip(keys, durations, found, strict=True)]
        return DecodedBatch(decoded, time.process_time() - started)

    def decode(self, key: UtteranceKey, duration: float, found: LatticeResult) -> DecodedUtterance:
        """Make the n-best lists of a lattice.

        Args:
            key: part and id of the utterance.
            duration: seconds.
            found: lattice and search.
        """
        lattice, search = found.lattice, found.search.value
        lists, too_large, unseen = {FIRST_PASS: self.list_best(lattice)}, "", frozenset[str]()
        if self.rescoring_lm:
            self.rescoring_lm.unseen.clear()
            lists[RESCORED], too_large = self.rescore(lattice, lists[FIRST_PASS])
            unseen = frozenset(self.rescoring_lm.unseen)
        if self.rescoring_lm and self.neural:
            lists[NEURAL] = average_language_models(lists[RESCORED], self.rescoring_lm, self.neural)
        if self.rescoring_lm:
            self.exchange.limit_cache()
        line = NbestEntry(key, duration, search, lattice.density, lists).to_json() + "\n"
        text = compress_text(as_kaldi_text(key.id, lattice)) if self.config.write_lattices else b""
        return DecodedUtterance(
            key, search, lattice.density, len(lists[FIRST_PASS]), compress_text(line), too_large, unseen, text
        )

    def list_best(self, lattice: Lattice) -> tuple[Hypothesis, ...]:
        """List the best hypotheses of a lattice."""
        scale = self.config.acoustic_scale
        sequences = best_word_sequences(lattice, self.config, self.silent)
        return tuple(self.hypothesis(found, (found.total - found.graph) / scale) for found in sequences)

    def rescore(self, lattice: Lattice, first: Sequence[Hypothesis]) -> tuple[tuple[Hypothesis, ...], str]:
        """Apply the rescoring LM to a lattice; to the first-pass list if the lattice is too large.

        Returns:
            the rescored list, and why the lattice was not rescored, or "".
        """
        if self.config.rescoring == "lattice" and not lattice.is_empty:
            try:
                narrow = prune_lattice(lattice, self.config.rescoring_beam)
                return self.list_best(
                    rescore_lattice(narrow, self.exchange, self.words, self.config.rescoring_arcs)
                ), ""
            except TooLarge as reason:
                return self.rescore_list(first), str(reason)
        return self.rescore_list(first), ""

    def rescore_list(self, first: Sequence[Hypothesis]) -> tuple[Hypothesis, ...]:
        """Replace the first-pass LM by the rescoring LM in a list."""
        return tuple(replace(h, lm=round(h.lm + self.exchange.sentence(h.words), 4)) for h in first)

    def hypothesis(self, sequence: WordSequence, am: float) -> Hypothesis:
        """Convert word ids to words and frames to seconds."""
        words = tuple(self.words[word] for word in sequence.words)
        times = tuple((self.time_of(word.begin), self.time_of(word.end)) for word in sequence.times)
        return Hypothesis(words, round(am, 4), round(sequence.graph, 4), times)


def average_language_models(
    listed: Sequence[Hypothesis], rescoring_lm: NgramModel, neural: NeuralLm
) -> tuple[Hypothesis, ...]:
    """Replace the rescoring LM of a rescored list by the mean of its log-probability and the neural LM's.

    Args:
        listed: hypotheses with scores of the rescoring LM.
        rescoring_lm: the n-gram model.
        neural: the recurrent model.
    """
    scores = neural.log_probabilities([hypothesis.words for hypothesis in listed])
    gains = [(score - rescoring_lm.sentence(h.words)) / 2 for h, score in zip(listed, scores, strict=True)]
    return tuple(replace(h, lm=round(h.lm + gain, 4)) for h, gain in zip(listed, gains, strict=True))
