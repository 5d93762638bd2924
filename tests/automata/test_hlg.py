"""HLG against a search over all word sequences; grammar files and graph files."""

from __future__ import annotations

import itertools
import math
import os
from collections import defaultdict
from pathlib import Path

import k2
import pytest
import torch
from torch import Tensor

from augmem.automata import SizeLog, build_hlg, load_fsa, read_grammar, save_fsa, to_decoding_graph
from augmem.automata.hlg import available_memory, warn_of_memory
from augmem.decoding import DecodingGraph
from augmem.errors import UserError
from augmem.graph import TOPOLOGIES, num_outputs
from tests.automata.brute_force import Units, total_score
from tests.automata.toy_lang import ToyLang

SILENCE = 0.3
LANG = ToyLang({"TOO": ["T U"], "TWO": ["T U"], "AT": ["A T", "T"], "A": ["A"]}, SILENCE)
WORDS = [word for word in LANG.words if word.isalpha()]
# state, next state, word (#0: back off), probability; 0 is the start, 1 the state without history
BIGRAMS = [(0, 2, "AT", 0.4), (0, 3, "A", 0.3), (0, 1, "#0", 0.35), (2, 4, "TOO", 0.5), (2, 1, "#0", 0.6)]
BIGRAMS += [(3, 4, "TWO", 0.7), (3, 1, "#0", 0.2), (4, 2, "AT", 0.25), (4, 1, "#0", 0.9)]
BIGRAMS += [(1, 2, "AT", 0.2), (1, 3, "A", 0.31), (1, 4, "TOO", 0.13), (1, 4, "TWO", 0.12)]
ENDS = {1: 0.15, 2: 0.35, 4: 0.45}


@pytest.fixture
def grammar_file(tmp_path: Path) -> Path:
    path = tmp_path / "first_pass.fst.txt"
    words = LANG.words
    arcs = [f"{a} {b} {words[w]} {0 if w == '#0' else words[w]} {-math.log(p)}" for a, b, w, p in sorted(BIGRAMS)]
    path.write_text("\n".join([*arcs, *(f"{state} {-math.log(p)}" for state, p in ENDS.items())]) + "\n")
    return path


def grammar_probability(words: tuple[str, ...]) -> float:
    """Return the probability of the best path, which may back off anywhere."""
    states = {0: 1.0}
    for word in (*words, None):
        for a, b, w, p in BIGRAMS:
            if w == "#0" and a in states:
                states[b] = max(states.get(b, 0.0), states[a] * p)
        if word is None:
            return max((p * ENDS.get(state, 0.0) for state, p in states.items()), default=0.0)
        after: dict[int, float] = defaultdict(float)
        for a, b, w, p in BIGRAMS:
            if w == word and a in states:
                after[b] = max(after[b], states[a] * p)
        states = after
    raise AssertionError


def sentences(most: int) -> dict[Units, tuple[float, tuple[str, ...]]]:
    """Return unit sequences of up to `most` units, with probability and words of their best path."""
    best: dict[Units, tuple[float, tuple[str, ...]]] = {}
    sil = LANG.tokens["SIL"]
    silences = [((), 1 - SILENCE), ((sil,), SILENCE)]
    for count in range(most + 1):
        for words in itertools.product(WORDS, repeat=count):
            prior = grammar_probability(words)
            spoken = [[(tuple(p), 1.0) for p in LANG.pronunciations[word]] for word in words]
            slots = [silences, *itertools.chain(*((word, silences) for word in spoken))]
            for choice in itertools.product(*slots):
                units = tuple(itertools.chain(*(part for part, _ in choice)))
                score = prior * math.prod(p for _, p in choice)
                if len(units) <= most and score > best.get(units, (0.0, ()))[0]:
                    best[units] = (score, words)
    return best


BIPHONES = ((LANG.tokens["A"], LANG.tokens["T"]), (LANG.tokens["SIL"], LANG.tokens["A"]))
CASES = [*((name, ()) for name in TOPOLOGIES), ("ctc", BIPHONES), ("chain", BIPHONES)]


@pytest.mark.parametrize(("name", "biphones"), CASES)
def test_best_path_is_the_best_of_all_sentences(name: str, biphones: tuple, grammar_file: Path) -> None:
    hlg = build_hlg(LANG, name, read_grammar(grammar_file), biphones=biphones)
    T = 4
    known = sentences(T)
    generator = torch.Generator().manual_seed(3)
    log_probs = (2 * torch.randn(6, T, num_outputs(name, LANG.num_units, biphones), generator=generator)).log_softmax(2)
    for frames in log_probs:
        expected = total_score(frames, name, LANG.num_units, lambda u: known.get(u, (0.0,))[0], True, biphones)
        score, words = decode(hlg, frames)
        assert score == pytest.approx(expected, abs=1e-4)
        # The words are right if the sentences with these words alone reach the same score.
        same_words = {u: p for u, (p, w) in known.items() if w == words}
        again = total_score(frames, name, LANG.num_units, lambda u: same_words.get(u, 0.0), True, biphones)  # noqa: B023
        assert again == pytest.approx(expected, abs=1e-4)


def test_word_starts_mark_the_first_units_of_words(grammar_file: Path) -> None:
    """Between two marks, the units of the best path, without silence, are a pronunciation of the word it emits."""
    hlg = build_hlg(LANG, "ctc", read_grammar(grammar_file))
    pronunciations, late = {LANG.words[word]: found for word, found in LANG.pronunciations.items()}, 0
    log_probs = (2 * torch.randn(40, 8, LANG.num_units, generator=torch.Generator().manual_seed(7))).log_softmax(2)
    for frames in log_probs:
        dense = k2.DenseFsaVec(frames[None], torch.tensor([[0, 0, len(frames)]], dtype=torch.int32))
        lattice = k2.intersect_dense_pruned(k2.create_fsa_vec([hlg]), dense, 100.0, 100.0, 1, 10000)
        best = k2.shortest_path(lattice, use_double_scores=True)[0]
        labels, marks, emitted = best.labels.tolist(), best.word_starts.tolist(), best.aux_labels.tolist()
        found_units: list[list[int]] = []
        for unit, before, mark in zip(labels, [0, *labels], marks, strict=False):
            found_units += [[]] * mark
            if unit not in (-1, 0, before, LANG.tokens["SIL"]):
                found_units[-1] = [*found_units[-1], unit]
        words = [word for word in itertools.chain(*emitted) if word > 0]
        assert all(units in pronunciations[word] for word, units in zip(words, found_units, strict=True))
        late += any(mark and not word for mark, word in zip(marks, emitted, strict=True))
    assert late  # an ambiguous word is emitted after its first unit


def decode(hlg: k2.Fsa, frames: Tensor) -> tuple[float, tuple[str, ...]]:
    """Return score and words of the best path for log_probs (T, V)."""
    dense = k2.DenseFsaVec(frames[None], torch.tensor([[0, 0, len(frames)]], dtype=torch.int32))
    lattice = k2.intersect_dense_pruned(k2.create_fsa_vec([hlg]), dense, 100.0, 100.0, 1, 10000)
    best = k2.shortest_path(lattice, use_double_scores=True)
    score = best.get_tot_scores(use_double_scores=True, log_semiring=False).item()
    names = {i: word for word, i in LANG.words.items()}
    words = tuple(names[i] for i in best.aux_labels.values.tolist() if i > 0)
    return score, words


def test_the_decoding_graph_keeps_its_scores_as_lm_scores(grammar_file: Path) -> None:
    """k2 replaces the scores of a lattice by scores that include the acoustic ones."""
    hlg = build_hlg(LANG, "ctc", read_grammar(grammar_file))
    graph = to_decoding_graph(hlg)
    assert len(graph.shape) == 3 and torch.equal(graph.lm_scores, hlg.scores)
    assert torch.equal(graph.word_starts, hlg.word_starts)


def test_graphs_have_no_disambiguation_symbols(grammar_file: Path) -> None:
    hlg = build_hlg(LANG, "ctc", read_grammar(grammar_file))
    assert hlg.labels.max() < LANG.num_units
    assert set(hlg.aux_labels.values.tolist()) == {LANG.words[word] for word in WORDS}


def test_sizes_of_all_steps_are_kept(grammar_file: Path) -> None:
    log = SizeLog()
    hlg = build_hlg(LANG, "ctc", read_grammar(grammar_file), log)
    assert list(log.sizes)[-1] == "HLG"
    assert log.sizes["HLG"]["arcs"] == hlg.num_arcs
    assert all(step["states"] > 0 and step["seconds"] >= 0 for step in log.sizes.values())


def test_saved_graphs_are_read_back_unchanged(grammar_file: Path, tmp_path: Path) -> None:
    hlg = build_hlg(LANG, "ctc", read_grammar(grammar_file))
    hlg.topology = "ctc"
    for name, graph in {"fsa": hlg, "vector": to_decoding_graph(hlg)}.items():
        save_fsa(graph, tmp_path / f"{name}.safetensors")
        again = load_fsa(tmp_path / f"{name}.safetensors")
        assert again.topology == "ctc" and again.shape == graph.shape
        assert torch.equal(again.arcs.values(), graph.arcs.values()) and again.properties == graph.properties
        for attribute, value in graph.named_tensor_attr(include_scores=False):
            found = getattr(again, attribute)
            assert torch.equal(found, value) if isinstance(value, Tensor) else found.tolist() == value.tolist()
    assert (tmp_path / "fsa.safetensors").stat().st_mode & 0o044 == 0o666 & ~current_umask() & 0o044


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_loaded_graph_lies_in_the_mapped_file(grammar_file: Path, tmp_path: Path) -> None:
    """So that processes share it: the addresses of arcs and words are in the mapping of the file."""
    path = tmp_path / "HLG.safetensors"
    save_fsa(to_decoding_graph(build_hlg(LANG, "ctc", read_grammar(grammar_file))), path)
    graph = DecodingGraph.load(path).fsa
    mapped = [
        line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines() if str(path) in line
    ]
    for tensor in (graph.arcs.values(), graph.aux_labels.values, graph.lm_scores, graph.word_starts):
        assert any(int(start, 16) <= tensor.data_ptr() < int(end, 16) for start, end in mapped)


def test_lack_of_memory_is_logged_before_determinisation(caplog: pytest.LogCaptureFixture) -> None:
    assert 0 < available_memory() < float("inf")
    warn_of_memory(1000, 1e12)
    assert not caplog.text
    warn_of_memory(10**9, 1e9)
    assert "prune the first-pass language model more" in caplog.text


def test_missing_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"G\.fst\.txt: no such grammar"):
        read_grammar(tmp_path / "G.fst.txt")
    (tmp_path / "G.fst.txt").write_text("not a grammar\n")
    with pytest.raises(UserError, match=r"G\.fst\.txt: not an FST"):
        read_grammar(tmp_path / "G.fst.txt")
    (tmp_path / "HLG.safetensors").write_bytes(b"truncated")
    with pytest.raises(UserError, match=r"HLG.safetensors: not a k2 graph"):
        load_fsa(tmp_path / "HLG.safetensors")


def test_a_grammar_without_words_of_the_lexicon_is_refused(tmp_path: Path) -> None:
    (tmp_path / "G.fst.txt").write_text("0 1 77 77 0.5\n1 0.1\n")
    with pytest.raises(UserError, match="share no word"):
        build_hlg(LANG, "ctc", read_grammar(tmp_path / "G.fst.txt"))
