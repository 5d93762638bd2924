"""kaldi-decoder finds the best path of k2 in the OpenFst file of a graph."""

from __future__ import annotations

from pathlib import Path

import k2
import kaldi_decoder
import kaldifst
import numpy as np
import pytest
import torch

from augmem.automata import to_openfst
from augmem.automata.openfst import OPEN_END_COST
from augmem.openfst import OpenFstGraph, write_openfst

# Words 5 and 6 are on one arc, word 8 on a final arc.
TEXT = "0 1 1 -0.5\n1 1 0 0\n1 2 2 -0.25\n1 3 -1 -4\n2 3 -1 -0.125\n3"
WORDS = [[5, 6], [], [7], [-1], [8, -1]]
SCORES = torch.tensor([[0.1, 0.8, 0.1], [0.7, 0.1, 0.2], [0.2, 0.2, 0.6]]).log()


def graph() -> k2.Fsa:
    fsa = k2.Fsa.from_str(TEXT)
    fsa.aux_labels = k2.RaggedTensor(WORDS)
    return fsa


def decode(found: OpenFstGraph, scores: torch.Tensor, path: Path) -> tuple[float, list[int]]:
    write_openfst(path, found)
    fst = kaldifst.StdConstFst.read(str(path))
    decoder = kaldi_decoder.FasterDecoder(fst, kaldi_decoder.FasterDecoderOptions(beam=1e6))
    decoder.decode(kaldi_decoder.DecodableCtc(scores.numpy()))
    success, best = decoder.get_best_path()
    assert success
    _, _, words, weight = kaldifst.get_linear_symbol_sequence(best)
    return weight.value1 + weight.value2, [word for word in words if word]


def test_words_on_one_arc_and_on_final_arcs(tmp_path: Path) -> None:
    cost, words = decode(to_openfst(graph()), SCORES, tmp_path / "HLG.fst")
    assert words == [5, 6, 7, 8]
    acoustic = SCORES[0, 1] + SCORES[1, 0] + SCORES[2, 2]
    assert cost == pytest.approx(-float(acoustic) + 0.5 + 0.25 + 0.125)


def test_scales_are_applied(tmp_path: Path) -> None:
    cost, words = decode(to_openfst(graph(), lm_scale=2.0, word_bonus=0.75), SCORES, tmp_path / "HLG.fst")
    acoustic = SCORES[0, 1] + SCORES[1, 0] + SCORES[2, 2]
    assert len(words) == 4 and cost == pytest.approx(-float(acoustic) + 2 * 0.875 - 4 * 0.75)


def test_open_ends_are_used_without_a_complete_path_only(tmp_path: Path) -> None:
    open_ended = to_openfst(graph(), open_ends=True)
    assert decode(open_ended, SCORES, tmp_path / "HLG.fst")[1] == [5, 6, 7, 8]
    fsa = k2.Fsa.from_str("0 1 1 0\n1 2 1 0\n2 3 -1 0\n3")
    fsa.aux_labels = torch.tensor([5, 6, -1], dtype=torch.int32)
    cost, words = decode(to_openfst(fsa, open_ends=True), SCORES[:1], tmp_path / "HLG.fst")
    assert words == [5] and cost == pytest.approx(OPEN_END_COST - float(SCORES[0, 1]), rel=1e-5)


def test_arcs_in_any_order(tmp_path: Path) -> None:
    columns = (np.array(values, np.int32) for values in ([1, 0], [2, 1], [3, 2], [8, 7]))
    found = OpenFstGraph(*columns, np.array([0.5, 0.25], np.float32), np.array([np.inf, np.inf, 1], np.float32))
    assert decode(found, SCORES[:2], tmp_path / "HLG.fst")[1] == [7, 8]
