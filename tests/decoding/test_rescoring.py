"""Lattices rescored by a larger n-gram model and lattices in Kaldi's format, compared with enumeration and KenLM."""

from __future__ import annotations

from pathlib import Path

import kaldifst
import kenlm
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from augmem.decoding import DecodingConfig, Lattice, best_path, find_lattices, path_word_ids
from augmem.decoding.kaldi import as_kaldi_text
from augmem.decoding.lattice import backward_best, forward_best, prune_lattice
from augmem.decoding.rescoring import ModelExchange, NgramModel, TooLarge, rescore_lattice
from augmem.decoding.search import DecodingGraph, empty_lattice
from augmem.errors import UserError
from tests.decoding import toys
from tests.decoding.kaldi_text import read_kaldi_text

GRAPH = DecodingGraph(toys.toy_graph())
WIDE = DecodingConfig(search_beam=1000, output_beam=1000, min_active=0, max_active=100000, acoustic_scale=1.0)
WORDS = {0: "<eps>", 1: "ONE", 2: "TWO", 3: "TO", 4: "TOO"}
TRIGRAM = """\\data\\
ngram 1=6
ngram 2=4
ngram 3=2

\\1-grams:
-99\t<s>\t-0.3
-0.9\t</s>
-0.7\tONE\t-0.2
-0.8\tTWO\t-0.5
-0.6\tTO\t-0.1
-1.2\tTOO

\\2-grams:
-0.2\t<s> ONE\t-0.4
-0.3\tONE TO\t-0.1
-0.5\tTO TWO
-0.4\tTO </s>

\\3-grams:
-0.1\t<s> ONE TO
-0.15\tONE TO </s>

\\end\\
"""

BIGRAM = """\\data\\
ngram 1=6
ngram 2=1

\\1-grams:
-99\t<s>\t-0.4
-0.5\t</s>
-0.4\tONE\t-0.3
-0.9\tTWO
-0.7\tTO
-1.1\tTOO

\\2-grams:
-0.6\tONE TWO

\\end\\
"""


@pytest.fixture(scope="module")
def arpa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lm") / "trigram.arpa"
    path.write_text(TRIGRAM)
    return path


@pytest.fixture(scope="module")
def bigram(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lm") / "bigram.arpa"
    path.write_text(BIGRAM)
    return path


def toy_lattice(seed: int, frames: int, config: DecodingConfig = WIDE) -> Lattice:
    return find_lattices(toys.random_scores(seed, frames), torch.tensor([frames]), GRAPH, config)[0].lattice


def profile(lattice: Lattice) -> list[tuple[tuple[int, ...], tuple[int, ...], float, float]]:
    """Return all paths as words, units, acoustic and graph score, sorted."""
    paths = [np.array(path) for path in toys.all_paths(lattice)]
    rows = [
        (
            tuple(path_word_ids(lattice, path)),
            tuple(lattice.unit[path].tolist()),
            round(float(lattice.acoustic[path].sum()), 3),
            round(float(lattice.graph[path].sum()), 3),
        )
        for path in paths
    ]
    return sorted(rows)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_rescoring_replaces_the_lm_score_of_every_path(arpa: Path, bigram: Path, seed: int, frames: int) -> None:
    lattice, oracles = toy_lattice(seed, frames), [kenlm.Model(str(path)) for path in (bigram, arpa)]
    larger = rescore_lattice(lattice, ModelExchange(NgramModel(bigram), NgramModel(arpa)), WORDS, 10**6)
    before, after = profile(lattice), profile(larger)
    assert [row[:3] for row in before] == [row[:3] for row in after]
    for (words, _, _, old), (_, _, _, new) in zip(before, after, strict=True):
        smaller, bigger = (oracle.score(" ".join(WORDS[word] for word in words)) * np.log(10) for oracle in oracles)
        assert new == pytest.approx(old - smaller + bigger, abs=2e-3)
    frames_of = [larger.frame[larger.arcs_of(frame)] for frame in larger.frames()]
    assert all((found == frame).all() and len(found) for frame, found in enumerate(frames_of))


def test_empty_sentences_and_words_outside_the_model(arpa: Path) -> None:
    model = NgramModel(arpa)
    assert model.sentence(["ONE", "TO"]) == pytest.approx(np.log(10) * (-0.2 - 0.1 - 0.15))
    assert not model.unseen
    assert model.sentence(["ELSE"]) == pytest.approx(np.log(10) * (-7.0 - 0.9), abs=0.8)
    assert set(model.unseen) == {"ELSE"}
    with pytest.raises(UserError, match="not an n-gram model"):
        NgramModel(arpa.with_name("none.arpa"))
    with pytest.raises(TooLarge, match="more than 5 arcs"):
        rescore_lattice(toy_lattice(1, 6), model, WORDS, 5)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 6), st.floats(0, 12))
def test_pruning_keeps_exactly_the_paths_within_the_beam(seed: int, frames: int, beam: float) -> None:
    lattice = toy_lattice(seed, frames)
    best = float(lattice.scores[best_path(lattice)].sum())
    narrow = prune_lattice(lattice, beam)
    assert profile(prune_lattice(lattice, 1000.0)) == profile(lattice)
    kept = profile(narrow)
    within = [row for row in profile(lattice) if row[2] + row[3] >= best - beam + 1e-2]
    assert set(within) <= set(kept) <= set(profile(lattice))
    assert np.isfinite(forward_best(narrow)).all() and np.isfinite(backward_best(narrow)).all()
    assert set(narrow.source) | {narrow.num_states - 1} == set(range(narrow.num_states))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_kaldi_text_is_read_back(seed: int, frames: int) -> None:
    lattices = {"one": toy_lattice(seed, frames), "none": empty_lattice(), "two": toy_lattice(seed + 1, frames)}
    text = "".join(as_kaldi_text(name, lattice) for name, lattice in lattices.items())
    found = dict(read_kaldi_text(text.splitlines()))
    assert list(found) == ["one", "none", "two"] and found["none"].is_empty
    for name in ("one", "two"):
        assert profile(found[name]) == profile(lattices[name])
        assert found[name].num_frames == frames


def test_an_arc_of_two_words_becomes_a_chain() -> None:
    arcs = (np.array([0, 1]), np.array([1, 2]), np.array([0, 1]), np.array([3, -1]), np.array([[1, 2], [0, 0]]))
    lattice = Lattice(*arcs, np.array([2, 0]), np.array([-1.5, 0.0]), np.array([-0.25, -0.5]), 1)
    text = as_kaldi_text("u", lattice)
    assert text == "u\n0 2 4 1 0.25,1.5\n2 1 0 2 0,0\n1 0.5,0\n\n"
    ((_, again),) = read_kaldi_text(text.splitlines())
    assert profile(again) == profile(lattice)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("u\n0 1 2 3\n\n", "line 2: expected"),
        ("u\n0 1 2 ONE 1,1\n\n", "line 2: expected"),
        ("u\n0 1 2 3 1,one\n\n", "line 2: expected"),
        ("u\n0 1 2 3 1,1\n", "the lattice of u is cut short"),
    ],
)
def test_errors_in_archives_name_the_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(read_kaldi_text(text.splitlines()))


def test_openfst_finds_the_same_best_path_in_kaldi_text() -> None:
    """Integer labels, as Kaldi reads them; the weight is the sum of both costs; shortest path by OpenFst."""
    lattice = toy_lattice(7, 6)
    fst = kaldifst.StdVectorFst()
    lines = as_kaldi_text("u", lattice).splitlines()[1:-1]
    rows = [line.split() for line in lines]
    for _ in range(1 + max(int(state) for row in rows for state in (row[:2] if len(row) == 5 else row[:1]))):
        fst.add_state()
    fst.start = 0
    for row in rows:
        weight = sum(map(float, row[-1].split(",")))
        if len(row) == 2:
            fst.set_final(int(row[0]), weight)
        else:
            fst.add_arc(int(row[0]), kaldifst.StdArc(int(row[2]), int(row[3]), weight, int(row[1])))
    found = kaldifst.shortest_path(fst)
    _, _, words, cost = kaldifst.get_linear_symbol_sequence(found)
    path = best_path(lattice)
    assert [word for word in words if word] == path_word_ids(lattice, path)
    assert cost.value == pytest.approx(-lattice.scores[path].sum(), abs=1e-3)
