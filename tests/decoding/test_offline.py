"""Decoding whole parts and tuning on dev."""

from __future__ import annotations

import gzip
import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from augmem.automata import save_fsa, set_origin
from augmem.decoding import (
    DecodingConfig,
    DecodingFiles,
    Scales,
    System,
    UtteranceKey,
    best_word_sequences,
    decode_parts,
    load_systems,
    read_system_outputs,
    tune,
)
from augmem.decoding.offline import make_batches, track_speech
from augmem.decoding.records import read_nbest
from augmem.decoding.worker import DecodedBatch, DecodedUtterance
from augmem.errors import UserError
from augmem.graph import HLG_FILE, Origin
from augmem.lang import NeuralLmConfig
from augmem.lang.neural import train_neural
from tests.decoding import toys
from tests.decoding.kaldi_text import read_kaldi_text

CONFIG = DecodingConfig(
    nbest=8, max_duration=3.0, acoustic_scale=1.0, output_beam=10.0, nbest_beam=10.0, nbest_tokens=2000
)
SHARED_MEMORY = Path("/dev/shm")
WORDS = ["<eps>", "ONE", "TWO", "TO", "TOO"]


@dataclass(frozen=True)
class ToyAcoustics:
    """Return random scores that depend on the utterance id, which ends with the number of frames: 3-25."""

    kill: bool = False
    parent: int | None = None  # the only process that may compute scores
    origin: Origin | None = None

    def __call__(self, keys: Sequence[UtteranceKey]) -> tuple[torch.Tensor, torch.Tensor]:
        if self.kill:
            os._exit(9)
        assert self.parent in (None, os.getpid())
        seeds, frames = zip(*(map(int, key.id.split("-")) for key in keys), strict=True)
        scores = torch.zeros(len(keys), max(frames), toys.NUM_UNITS)
        for row, (seed, length) in enumerate(zip(seeds, frames, strict=True)):
            scores[row, :length] = toys.random_scores(seed, length)[0] if length else 0.0
        return scores, torch.tensor(frames)

    def on(self, device: torch.device) -> ToyAcoustics:
        return replace(self, parent=os.getpid())

    def time_of(self, frame: int) -> float:
        return frame / 100


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Folder with words.txt and HLG.safetensors of the toy language."""
    lines = [f"{word} {number}" for number, word in enumerate(WORDS)]
    (tmp_path / "words.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "tokens.txt").write_text("<eps> 0\nA 1\nB 2\nC 3\n")
    save_fsa(toys.toy_graph(), tmp_path / HLG_FILE)
    return tmp_path


def toy_utterances(part: str, first: int, count: int) -> dict[UtteranceKey, float]:
    """Return utterances of several lengths with their durations."""
    frames = {n: n * 7 % 30 + 4 for n in range(first, first + count)}
    return {UtteranceKey(part, f"{n}-{length}"): length / 100 for n, length in frames.items()}


def one(seed: int, frames: int = 6) -> dict[UtteranceKey, float]:
    """Return one utterance of part dev."""
    return {UtteranceKey("dev", f"{seed}-{frames}"): frames / 100}


# log10 of each word; in effect unigram models: the score of a sentence is the sum over its words and its end
SMALL = {"</s>": -0.4, "ONE": -0.8, "TWO": -0.7, "TO": -0.6, "TOO": -1.5}
LARGE = {"</s>": -0.3, "ONE": -0.5, "TWO": -0.9, "TO": -1.1, "TOO": -1.3}


def language_models(folder: Path) -> tuple[Path, Path]:
    """ARPA files of SMALL and LARGE."""
    paths = folder / "small.arpa", folder / "large.arpa"
    for path, scores in zip(paths, (SMALL, LARGE), strict=True):
        lines = [f"{score}\t{word}" for word, score in scores.items()]
        head = ["\\data\\", f"ngram 1={len(lines) + 1}", "ngram 2=1", "", "\\1-grams:", "-99\t<s>\t0"]
        bigram = ["", "\\2-grams:", f"{scores['TO']}\tONE TO"]  # KenLM refuses files without bigrams
        path.write_text("\n".join([*head, *(f"{line}\t0" for line in lines), *bigram, "", "\\end\\", ""]))
    return paths


def sentence(scores: Mapping[str, float], words: Sequence[str]) -> float:
    """Return the score of a sentence."""
    return math.log(10) * sum(scores[word] for word in (*words, "</s>"))


def exchange(words: Sequence[str]) -> float:
    """Return the difference of the scores of the larger and the smaller model."""
    return sentence(LARGE, words) - sentence(SMALL, words)


def test_result_is_independent_of_jobs_and_scheduler(graph: Path, scheduler: str) -> None:
    durations = {**toy_utterances("dev", 1, 9), **toy_utterances("test", 20, 4)}
    files = DecodingFiles(graph, graph, language_models(graph))
    cpu, blocks = torch.device("cpu"), set(SHARED_MEMORY.glob("psm_*"))
    ways = {"alone": (1,), "together": (2,), "remote": (1, scheduler), "shared scores": (1, None, cpu)}
    for name, way in ways.items():
        decode_parts(CONFIG, ToyAcoustics(), durations, files, graph / name, *way)
    for part in ("dev", "test"):
        results = {(graph / name / part / "nbest.jsonl.gz").read_bytes() for name in ways}
        assert len(results) == 1
    assert set(SHARED_MEMORY.glob("psm_*")) <= blocks
    entries = list(read_nbest(graph / "alone", "dev"))
    assert {e.key: e.duration for e in entries} == toy_utterances("dev", 1, 9)
    assert all(1 <= len(listed) <= 8 for e in entries for listed in e.lists.values())
    summary = json.loads((graph / "alone" / "dev" / "summary.json").read_text())
    assert summary["utterances"] == 9 and summary["searches"] == {"normal": 9} and summary["real_time_factor"] > 0


WIDE = replace(
    CONFIG, search_beam=1000, output_beam=1000, nbest_beam=1000, rescoring_beam=1000, acoustic_scale=0.5, nbest=1000
)


def test_scores_are_separate(graph: Path) -> None:
    """am + lm is the log-sum over all alignments; in rescored lists lm has the score of the other model."""
    files = DecodingFiles(graph, graph, language_models(graph))
    decode_parts(WIDE, ToyAcoustics(), one(3), files, graph / "out")
    (entry,) = read_nbest(graph / "out", "dev")
    truth = toys.all_sentences(toys.random_scores(3, 6)[0], 0.5)
    assert set(entry.lists) == {"first_pass", "rescored"}
    for system, listed in entry.lists.items():
        assert len(listed) == len(truth)
        for hypothesis in listed:
            words = tuple(WORDS.index(word) for word in hypothesis.words)
            total, grammar = truth[words][0], max(toys.grammar_paths(words))
            gain = exchange(hypothesis.words) if system == "rescored" else 0
            assert len(hypothesis.times) == len(words)
            assert 0.5 * hypothesis.am + hypothesis.lm == pytest.approx(total + gain, abs=1e-3)
            assert hypothesis.lm == pytest.approx(grammar + gain, abs=1e-3)


def test_the_list_is_rescored_if_the_lattice_is_too_large(graph: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = DecodingFiles(graph, graph, language_models(graph))
    with caplog.at_level(logging.WARNING):
        decode_parts(replace(WIDE, rescoring_arcs=20), ToyAcoustics(), one(3) | one(4), files, graph / "out")
    (warning,) = [record.getMessage() for record in caplog.records if "n-best list" in record.getMessage()]
    assert warning.startswith("dev: 2 of 2 lattices were too large") and "(first: 3-6, more than 20 arcs" in warning
    for entry in read_nbest(graph / "out", "dev"):
        for first, again in zip(entry.lists["first_pass"], entry.lists["rescored"], strict=True):
            assert replace(again, lm=first.lm) == first
            assert again.lm == pytest.approx(first.lm + exchange(first.words), abs=1e-3)


def test_a_neural_model_adds_a_list_with_the_mean_of_both_models(graph: Path) -> None:
    neural = train_neural(NeuralLmConfig(epochs=1, dim=8), ["ONE TO", "TWO"], [], ["<UNK>", *WORDS[1:]])
    neural.save(graph / "neural.safetensors")
    files = DecodingFiles(graph, graph, language_models(graph), graph / "neural.safetensors")
    decode_parts(WIDE, ToyAcoustics(), one(3), files, graph / "out")
    (entry,) = read_nbest(graph / "out", "dev")
    assert list(entry.lists) == ["first_pass", "rescored", "neural"]
    for hypothesis, rescored in zip(entry.lists["neural"], entry.lists["rescored"], strict=True):
        (score,) = neural.log_probabilities([hypothesis.words])
        assert replace(hypothesis, lm=rescored.lm) == rescored
        larger = sentence(LARGE, hypothesis.words)
        assert hypothesis.lm == pytest.approx(rescored.lm - larger + (larger + score) / 2, abs=1e-3)
    systems = load_systems(tune(graph / "out", ["dev"], dict.fromkeys(one(3), ("ONE",)), WIDE))
    assert list(systems) == ["first_pass", "rescored", "neural", "mbr"]
    assert systems["mbr"] == replace(systems["neural"], minimum_risk=True)


def test_words_that_the_rescoring_lm_lacks_are_logged(graph: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, arpa = models = language_models(graph)
    arpa.write_text(arpa.read_text().replace("\tTOO\t", "\tELSE\t"))
    with caplog.at_level(logging.WARNING):
        decode_parts(WIDE, ToyAcoustics(), one(3), DecodingFiles(graph, graph, models), graph / "out")
    assert "the rescoring LM lacks 1 words of the hypotheses: TOO" in caplog.text


def test_lattices_are_written_in_kaldis_format(graph: Path) -> None:
    durations = toy_utterances("dev", 1, 3)
    decode_parts(
        replace(CONFIG, write_lattices=True), ToyAcoustics(), durations, DecodingFiles(graph, graph), graph / "out"
    )
    with gzip.open(graph / "out" / "dev" / "lattices.txt.gz", "rt") as lines:
        found = dict(read_kaldi_text(lines))
    assert list(found) == [key.id for key in durations]
    entries = {entry.key.id: entry for entry in read_nbest(graph / "out", "dev")}
    for name, lattice in found.items():
        best = best_word_sequences(lattice, toys.limits(1, 10.0, 2000))[0]
        first = entries[name].lists["first_pass"][0]
        assert tuple(WORDS[word] for word in best.words) == first.words
        assert best.total == pytest.approx(first.am + first.lm, abs=1e-2)


def test_a_failed_utterance_is_logged(graph: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        decode_parts(CONFIG, ToyAcoustics(), one(5) | one(6, 0), DecodingFiles(graph, graph), graph / "out")
    assert "dev: 1 utterances have no hypothesis: 6-0" in caplog.text
    summary = json.loads((graph / "out" / "dev" / "summary.json").read_text())
    assert summary["failed"] == ["6-0"] and summary["repeated"] == []
    assert read_system_outputs(graph / "out", "dev", System("first_pass", Scales()))[1].words == ()


def test_a_killed_worker_is_reported(graph: Path) -> None:
    files = DecodingFiles(graph, graph)
    with pytest.raises(OSError, match=r"killed, probably .* memory ran out: use fewer jobs"):
        decode_parts(CONFIG, ToyAcoustics(kill=True), toy_utterances("dev", 1, 3), files, graph / "out", jobs=2)


def test_scores_are_not_shared_with_other_machines(graph: Path) -> None:
    with pytest.raises(UserError, match=r"decoding\.device must be cpu with --scheduler"):
        decode_parts(
            CONFIG, ToyAcoustics(), one(1), DecodingFiles(graph, graph), graph, 1, "tcp://x", torch.device("cpu")
        )


def test_the_error_of_a_worker_that_cannot_start_is_reported(graph: Path) -> None:
    damaged = graph / "damaged.arpa"
    damaged.write_text("not a model\n")
    files = DecodingFiles(graph, graph, (damaged, damaged))
    with pytest.raises(UserError, match=r"damaged\.arpa: not an n-gram model"):
        decode_parts(CONFIG, ToyAcoustics(), toy_utterances("dev", 1, 1), files, graph, jobs=2)


@dataclass(frozen=True)
class FewUnits(ToyAcoustics):
    """Scores of three units."""

    def __call__(self, keys: Sequence[UtteranceKey]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(len(keys), 5, 3), torch.full((len(keys),), 5)


def test_missing_graphs_other_units_and_other_origins_are_refused(graph: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere/HLG\.safetensors: no decoding graph"):
        decode_parts(CONFIG, ToyAcoustics(), {}, DecodingFiles(graph, graph / "nowhere"), graph / "out")
    save_fsa(set_origin(toys.toy_graph(), Origin("ours", "ctc")), graph / HLG_FILE)
    files = DecodingFiles(graph, graph)
    with pytest.raises(UserError, match=r"HLG\.safetensors: the topology of the graph is ctc, expected hmm"):
        decode_parts(CONFIG, ToyAcoustics(origin=Origin("ours", "hmm")), {}, files, graph / "out")
    with pytest.raises(UserError, match="uses 4 units but the model scores 3"):
        decode_parts(CONFIG, FewUnits(), one(1), files, graph / "out")


def test_batches_hold_every_utterance_once_and_respect_the_limit() -> None:
    long = UtteranceKey("dev", "long")
    durations = toy_utterances("dev", 0, 50) | {long: 9.0} | toy_utterances("test", 0, 50)
    batches = make_batches(durations, 0.8)
    assert sorted(key for batch in batches for key in batch) == sorted(durations)
    assert batches[0] == [long]
    assert all(durations[batch[0]] * len(batch) <= 0.8 + 1e-9 for batch in batches[1:])
    assert all(len({key.part for key in batch}) == 1 for batch in batches)
    lengths = [durations[batch[0]] for batch in batches]
    assert lengths == sorted(lengths, reverse=True)
    assert make_batches(dict(reversed(durations.items())), 0.8) == batches


def test_progress_is_logged_with_the_time_left(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augmem.progress.FIRST_LINE_DELAY", 0.0)
    monkeypatch.setattr("augmem.progress.on_terminal", lambda: False)
    durations = {UtteranceKey("dev", str(n)): 2.5 for n in range(4)}
    batches = [DecodedBatch([DecodedUtterance(key, "normal", 1.0, 1, b"")], 0.1) for key in durations]
    with caplog.at_level(logging.INFO):
        assert list(track_speech(iter(batches), durations)) == batches
    assert "decoding: 2 of 10 s of speech, 0.0 s left" in caplog.text
