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

import decoding_toys as toys
import jiwer
import pytest
import torch

from augmem.decoding import DecodingConfig, best_word_sequences, decode, hypotheses, load_scales, tune
from augmem.decoding.kaldi import read_kaldi_text
from augmem.decoding.offline import make_batches
from augmem.decoding.records import Hypothesis, NbestEntry, Utterance, read_nbest, write_nbest
from augmem.decoding.tuning import Scales
from augmem.errors import UserError
from augmem.graph import HLG_FILE, Origin, save_fsa, set_origin
from augmem.lang import NeuralLmConfig
from augmem.lang.neural import train_neural

CONFIG = DecodingConfig(nbest=8, max_duration=3.0)
WORDS = ["<eps>", "ONE", "TWO", "TO", "TOO"]


@dataclass(frozen=True)
class ToyAcoustics:
    """Random scores that depend on the utterance alone; a hundredth of a second a frame."""

    kill: bool = False

    def __call__(self, utterances: Sequence[Utterance]) -> tuple[torch.Tensor, torch.Tensor]:
        if self.kill:
            os._exit(9)
        lengths = torch.tensor([round(100 * u.duration) for u in utterances])
        scores = torch.zeros(len(utterances), int(lengths.max()), toys.NUM_UNITS)
        for row, utterance in enumerate(utterances):
            scores[row, : lengths[row]] = toys.random_scores(int(utterance.id), int(lengths[row]))[0]
        return scores, lengths


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A folder with the toy's words.txt and HLG.safetensors."""
    lines = [f"{word} {number}" for number, word in enumerate(WORDS)]
    (tmp_path / "words.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "tokens.txt").write_text("<eps> 0\nA 1\nB 2\nC 3\n")
    save_fsa(toys.toy_graph(), tmp_path / HLG_FILE)
    return tmp_path


def toy_utterances(first: int, count: int) -> list[Utterance]:
    return [Utterance(str(n), ("ONE", "TO"), f"S{n % 2}", (n * 7 % 30 + 4) / 100) for n in range(first, first + count)]


# log10 of each word; unigram models in effect, so that a sentence's score is the sum of its words' and its end's
SMALL = {"</s>": -0.4, "ONE": -0.8, "TWO": -0.7, "TO": -0.6, "TOO": -1.5}
LARGE = {"</s>": -0.3, "ONE": -0.5, "TWO": -0.9, "TO": -1.1, "TOO": -1.3}


def language_models(folder: Path) -> tuple[Path, Path]:
    """ARPA files of SMALL and LARGE."""
    paths = folder / "small.arpa", folder / "large.arpa"
    for path, scores in zip(paths, (SMALL, LARGE), strict=True):
        lines = [f"{score}\t{word}" for word, score in scores.items()]
        head = ["\\data\\", f"ngram 1={len(lines) + 1}", "ngram 2=1", "", "\\1-grams:", "-99\t<s>\t0"]
        bigram = ["", "\\2-grams:", f"{scores['TO']}\tONE TO"]  # KenLM reads no file without one
        path.write_text("\n".join([*head, *(f"{line}\t0" for line in lines), *bigram, "", "\\end\\", ""]))
    return paths


def sentence(scores: Mapping[str, float], words: Sequence[str]) -> float:
    """What a model says of a sentence."""
    return math.log(10) * sum(scores[word] for word in (*words, "</s>"))


def exchange(words: Sequence[str]) -> float:
    """What the larger model says of a sentence above the smaller one."""
    return sentence(LARGE, words) - sentence(SMALL, words)


def test_result_does_not_depend_on_the_number_of_jobs_nor_on_where_they_are(graph: Path, scheduler: str) -> None:
    parts = {"dev": toy_utterances(1, 9), "test": toy_utterances(20, 4)}
    for name, jobs, address in (("alone", 1, None), ("together", 2, None), ("far", 1, scheduler)):
        models, output = language_models(graph), graph / name
        decode(CONFIG, ToyAcoustics(), parts, graph, graph, output, models, jobs, scheduler=address)
    for part in parts:
        results = {(graph / name / part / "nbest.jsonl.gz").read_bytes() for name in ("alone", "together", "far")}
        assert len(results) == 1
    entries = list(read_nbest(graph / "alone" / "dev"))
    assert [e.utterance for e in entries] == parts["dev"]
    assert all(1 <= len(listed) <= 8 for e in entries for listed in e.lists.values())
    summary = json.loads((graph / "alone" / "dev" / "summary.json").read_text())
    assert summary["utterances"] == 9 and summary["searches"] == {"normal": 9} and summary["real_time_factor"] > 0


WIDE = replace(
    CONFIG, search_beam=1000, output_beam=1000, nbest_beam=1000, rescoring_beam=1000, acoustic_scale=0.5, nbest=1000
)


def test_scores_are_taken_apart(graph: Path) -> None:
    """am + lm is the log-sum over all alignments; rescored, lm has one model's score in the place of the other's."""
    utterance = Utterance("3", (), "S", 0.06)
    decode(WIDE, ToyAcoustics(), {"dev": [utterance]}, graph, graph, graph / "out", language_models(graph))
    (entry,) = read_nbest(graph / "out" / "dev")
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


def test_a_lattice_too_large_to_rescore_leaves_the_list(graph: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = {"dev": [Utterance(name, ("ONE",), "S", 0.06) for name in ("3", "4")]}
    with caplog.at_level(logging.WARNING):
        narrow, models = replace(WIDE, rescoring_arcs=20), language_models(graph)
        decode(narrow, ToyAcoustics(), parts, graph, graph, graph / "out", models)
    (warning,) = [record.getMessage() for record in caplog.records if "n-best list" in record.getMessage()]
    assert warning.startswith("dev: 2 of 2 lattices were too large") and "(the first, 3: more than 20 arcs" in warning
    for entry in read_nbest(graph / "out" / "dev"):
        for first, again in zip(entry.lists["first_pass"], entry.lists["rescored"], strict=True):
            assert replace(again, lm=first.lm) == first
            assert again.lm == pytest.approx(first.lm + exchange(first.words), abs=1e-3)


def test_a_neural_model_adds_a_list_with_the_mean_of_both_opinions(graph: Path) -> None:
    neural = train_neural(NeuralLmConfig(epochs=1, dim=8), ["ONE TO", "TWO"], [], ["<UNK>", *WORDS[1:]])
    neural.save(graph / "neural.pt")
    parts = {"dev": [Utterance("3", ("ONE",), "S", 0.06)]}
    models = language_models(graph)
    decode(WIDE, ToyAcoustics(), parts, graph, graph, graph / "out", models, neural_lm=graph / "neural.pt")
    (entry,) = read_nbest(graph / "out" / "dev")
    assert list(entry.lists) == ["first_pass", "rescored", "neural"]
    for hypothesis, rescored in zip(entry.lists["neural"], entry.lists["rescored"], strict=True):
        (score,) = neural.log_probabilities([hypothesis.words])
        assert replace(hypothesis, lm=rescored.lm) == rescored
        larger = sentence(LARGE, hypothesis.words)
        assert hypothesis.lm == pytest.approx(rescored.lm - larger + (larger + score) / 2, abs=1e-3)
    tuned = tune(graph / "out", ["dev"], WIDE)
    assert list(load_scales(tuned)) == ["first_pass", "rescored", "neural", "mbr"]
    assert load_scales(tuned)["mbr"] == load_scales(tuned)["neural"]


def test_words_that_the_larger_model_lacks_are_told(graph: Path, caplog: pytest.LogCaptureFixture) -> None:
    _, arpa = models = language_models(graph)
    arpa.write_text(arpa.read_text().replace("\tTOO\t", "\tELSE\t"))
    with caplog.at_level(logging.WARNING):
        decode(WIDE, ToyAcoustics(), {"dev": [Utterance("3", (), "S", 0.06)]}, graph, graph, graph / "out", models)
    assert "the rescoring LM lacks 1 words of the hypotheses: TOO" in caplog.text


def test_lattices_are_kept_in_kaldis_form_and_read_back(graph: Path) -> None:
    keeping = replace(CONFIG, write_lattices=True)
    utterances = toy_utterances(1, 3)
    decode(keeping, ToyAcoustics(), {"dev": utterances}, graph, graph, graph / "out")
    with gzip.open(graph / "out" / "dev" / "lattices.txt.gz", "rt") as lines:
        found = dict(read_kaldi_text(lines))
    assert list(found) == [u.id for u in utterances]
    entries = {entry.utterance.id: entry for entry in read_nbest(graph / "out" / "dev")}
    for name, lattice in found.items():
        best = best_word_sequences(lattice, toys.limits(1, 10.0, 2000))[0]
        first = entries[name].lists["first_pass"][0]
        assert tuple(WORDS[word] for word in best.words) == first.words
        assert best.total == pytest.approx(first.am + first.lm, abs=1e-2)


def test_an_utterance_that_fails_is_named(graph: Path, caplog: pytest.LogCaptureFixture) -> None:
    parts = {"dev": [Utterance("5", ("ONE",), "S", 0.1), Utterance("6", ("ONE",), "S", 0.001)]}
    with caplog.at_level(logging.WARNING):
        decode(CONFIG, ToyAcoustics(), parts, graph, graph, graph / "out")
    assert "dev: 1 utterances have no hypothesis at all: 6" in caplog.text
    summary = json.loads((graph / "out" / "dev" / "summary.json").read_text())
    assert summary["failed"] == ["6"] and summary["rescued"] == []
    assert hypotheses(graph / "out", "dev", "first_pass", Scales())[1].words == ()


def test_a_killed_worker_is_reported(graph: Path) -> None:
    with pytest.raises(OSError, match=r"killed, probably because memory ran out: use fewer jobs"):
        decode(
            CONFIG,
            ToyAcoustics(kill=True),
            {"dev": toy_utterances(1, 3)},
            graph,
            graph,
            graph / "out",
            jobs=2,
        )


def test_what_keeps_a_worker_from_beginning_is_told(graph: Path) -> None:
    torn = graph / "torn.arpa"
    torn.write_text("not a model\n")
    with pytest.raises(ValueError, match=r"torn\.arpa: not an n-gram model"):
        decode(CONFIG, ToyAcoustics(), {"dev": toy_utterances(1, 1)}, graph, graph, graph, (torn, torn), jobs=2)


def test_missing_graph_other_units_and_other_origins_are_named(graph: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere/HLG.safetensors: no decoding graph"):
        decode(CONFIG, ToyAcoustics(), {}, graph, graph / "nowhere", graph / "out")

    def few_units(utterances: Sequence[Utterance]) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(len(utterances), 5, 3), torch.full((len(utterances),), 5)

    save_fsa(set_origin(toys.toy_graph(), Origin("ours", "ctc")), graph / HLG_FILE)
    with pytest.raises(UserError, match=r"HLG\.safetensors: the topology of the graph is ctc, expected hmm"):
        decode(CONFIG, few_units, {}, graph, graph, graph / "out", origin=Origin("ours", "hmm"))
    with pytest.raises(ValueError, match="uses 4 units but the model scores 3"):
        decode(CONFIG, few_units, {"dev": toy_utterances(1, 1)}, graph, graph, graph / "out")


def test_batches_hold_every_utterance_once_and_respect_the_limit() -> None:
    utterances = [*toy_utterances(0, 50), Utterance("long", (), "S", 9.0)]
    batches = make_batches(utterances, 0.8)
    assert sorted(u.id for batch in batches for u in batch) == sorted(u.id for u in utterances)
    assert [u.id for u in batches[0]] == ["long"]
    assert all(batch[0].duration * len(batch) <= 0.8 for batch in batches[1:])
    assert make_batches(utterances[::-1], 0.8) == batches


def lists(folder: Path, *entries: tuple[str, list[tuple[str, float, float, float]]]) -> None:
    """An n-best file from (reference, [(words, am, first, rescore)])."""
    write_nbest(
        folder,
        [
            NbestEntry(
                Utterance(str(n), tuple(reference.split()), "S", 1.0),
                "normal",
                1.0,
                0,
                {
                    system: tuple(
                        Hypothesis(tuple(words.split()), am, scores[place], tuple((0.0, 1.0) for _ in words.split()))
                        for words, am, *scores in listed
                    )
                    for place, system in enumerate(("first_pass", "rescored"))
                },
            )
            for n, (reference, listed) in enumerate(entries)
        ],
    )


DEV = (
    ("A B", [("A", -10.1, -2.0, -9.0), ("A B", -9.0, -4.03, -1.0), ("C", -30.0, -1.0, -0.57)]),
    ("C", [("C D", -5.0, -5.0, -3.0), ("C", -6.47, -3.9, -3.1)]),
    ("D E F", []),
)


def test_tuning_finds_the_best_point_by_exhaustion(tmp_path: Path) -> None:
    lists(tmp_path / "dev", *DEV)
    config = DecodingConfig(lm_scales=(0.0, 0.5, 1.0, 2.0), word_insertion_bonuses=(-3.0, 0.0, 3.0))
    result = json.loads(tune(tmp_path, ["dev"], config).read_text())
    entries = list(read_nbest(tmp_path / "dev"))
    for system in ("first_pass", "rescored"):
        sweep = result["systems"][system]["sweep"]
        assert len(sweep) == 12
        for point in sweep:
            winners = []
            for entry in entries:
                scored = [
                    (
                        h.am + point["lm_scale"] * h.lm + point["word_insertion_bonus"] * len(h.words),
                        " ".join(h.words),
                    )
                    for h in entry.lists[system]
                ]
                winners.append(max(scored)[1] if scored else "")
            assert point["wer"] == pytest.approx(jiwer.wer([reference for reference, _ in DEV], winners))
        best = min(sweep, key=lambda point: point["wer"])
        assert result["systems"][system]["wer"] == best["wer"]
    assert result["words"] == 6 and result["oracle_wer"] == pytest.approx(3 / 6)  # the empty list misses all

    scales = load_scales(tmp_path / "tuned.json")
    answers = hypotheses(tmp_path, "dev", "rescored", scales["rescored"])
    assert [" ".join(answer.words) for answer in answers][2] == "" and answers[0].reference == ("A", "B")
    for system in ("first_pass", "rescored", "mbr"):
        answers = hypotheses(tmp_path, "dev", system, scales[system])
        errors = jiwer.wer([reference for reference, _ in DEV], [" ".join(answer.words) for answer in answers])
        assert errors == pytest.approx(result["systems"][system]["wer"])
        for answer in answers:
            assert len(answer.times) == len(answer.confidences) == len(answer.words)


def test_tuning_opens_dev_alone(tmp_path: Path) -> None:
    """A test part that cannot be read does no harm, and what stands in it changes nothing."""
    lists(tmp_path / "dev", *DEV)
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "nbest.jsonl.gz").write_bytes(b"not to be touched")
    (tmp_path / "test" / "nbest.jsonl.gz").chmod(0)
    tuned = json.loads(tune(tmp_path, ["dev"], DecodingConfig()).read_text())
    assert tuned["parts"] == ["dev"] and set(tuned["systems"]) == {"first_pass", "rescored", "mbr"}


def test_what_tuning_refuses(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no dev part to tune on"):
        tune(tmp_path, [], DecodingConfig())
    with pytest.raises(FileNotFoundError, match="has not been decoded"):
        tune(tmp_path, ["dev"], DecodingConfig())
    lists(tmp_path / "dev", ("", [("A", -1.0, -1.0, -1.0)]))
    with pytest.raises(ValueError, match="hold no word"):
        tune(tmp_path, ["dev"], DecodingConfig())
    with pytest.raises(FileNotFoundError, match="have not been tuned"):
        load_scales(tmp_path / "tuned.json")


def test_a_best_point_at_the_edge_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lists(tmp_path / "dev", ("A", [("B", 0.0, -5.0, -5.0), ("A", -9.0, 0.0, 0.0)]))
    with caplog.at_level(logging.WARNING):
        tune(tmp_path, ["dev"], DecodingConfig(lm_scales=(0.5, 1.0, 2.0), word_insertion_bonuses=(0.0,)))
    assert "the best lm_scale, 2, is at the edge of its grid: widen decoding.lm_scales" in caplog.text


def test_nbest_files_are_read_back_and_broken_lines_named(tmp_path: Path) -> None:
    lists(tmp_path, *DEV)
    entries = list(read_nbest(tmp_path))
    write_nbest(tmp_path / "again", entries)
    assert list(read_nbest(tmp_path / "again")) == entries
    assert (tmp_path / "again" / "nbest.jsonl.gz").read_bytes() == (tmp_path / "nbest.jsonl.gz").read_bytes()
    with gzip.open(tmp_path / "nbest.jsonl.gz", "at") as stream:
        stream.write('{"id": "x"}\n')
    with pytest.raises(ValueError, match=r"nbest.jsonl.gz:4: not an n-best line"):
        list(read_nbest(tmp_path))
