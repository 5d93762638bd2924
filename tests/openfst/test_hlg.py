"""HLG from arrays gives every word sequence the cost that H o L o G of k2 gives it."""

from __future__ import annotations

import lzma
from pathlib import Path

import kaldi_decoder
import kaldifst
import numpy as np
import pytest

from augmem.automata import build_hlg, read_grammar, to_openfst
from augmem.errors import UserError
from augmem.lang import Lang, LangConfig, LmConfig, prepare_lang, prepare_language_models
from augmem.openfst import IndexedLexicon, OpenFstGraph, build_openfst_hlg, read_arpa_grammar, write_openfst

# Homophones, words that begin longer ones, words of one unit, several pronunciations, and equal units at word ends.
LEXICON = """\
<UNK> SPN
!SIL SIL
A AH
A EY
TO T UW
TWO T UW
TOO T UW
TOOTH T UW TH
TUNA T UW N AH
AN AH N
NUN N AH N
"""
TEXTS = ["A TUNA TO TWO", "TWO TOO AN NUN", "NUN AN A TOOTH", "TO A TUNA", "TWO TUNA TOO", "A A AN", "TO TO TO TWO"]


@pytest.fixture(scope="module", params=[0.5, 0.0], ids=["silence", "no-silence"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("lang")
    (root / "lexicon.txt").write_text(LEXICON)
    config = LangConfig(lexicon=str(root / "lexicon.txt"), g2p="none", silence_probability=request.param)
    prepare_lang(config, TEXTS, root / "lang")
    prepare_language_models(LmConfig(first_pass_order=3), TEXTS, {"dev": TEXTS}, root / "lang", root / "lm")
    return root


def best(graph: OpenFstGraph, scores: np.ndarray, path: Path) -> tuple[float, list[int]]:
    """Return cost and words of the best path, without pruning."""
    write_openfst(path, graph)
    options = kaldi_decoder.FasterDecoderOptions(beam=1e5, max_active=1_000_000)
    fst = kaldifst.StdConstFst.read(str(path))  # the decoder does not keep it alive
    decoder = kaldi_decoder.FasterDecoder(fst, options)
    decoder.decode(kaldi_decoder.DecodableCtc(scores))
    found, lattice = decoder.get_best_path()
    assert found and decoder.reached_final()
    _, _, words, weight = kaldifst.get_linear_symbol_sequence(lattice)
    return weight.value1 + weight.value2, [word for word in words if word]


@pytest.mark.parametrize(("lm_scale", "bonus"), [(1.0, 0.0), (1.7, 2.0)])
def test_costs_and_words_equal_those_of_k2(folder: Path, tmp_path: Path, lm_scale: float, bonus: float) -> None:
    lang = Lang.load(folder / "lang")
    expected = to_openfst(build_hlg(lang, "ctc", read_grammar(folder / "lm" / "first_pass.fst.txt")), lm_scale, bonus)
    silence = lang.silence_ids[0] if lang.silence_ids else None
    numbers = {lang.words[word]: forms for word, forms in lang.pronunciations.items()}
    lexicon = IndexedLexicon.from_words(numbers, silence, lang.silence_probability)
    words = {word: lang.words[word] for word in lang.pronunciations}
    grammar = read_arpa_grammar(folder / "lm" / "first_pass.arpa", words)
    graph = build_openfst_hlg(grammar, lexicon, lang.num_units, lm_scale, bonus)
    random = np.random.default_rng(0)
    for sharpness in (0.3, 1.0, 3.0):
        for frames in (1, 2, 5, 12, 30):
            scores = (sharpness * random.normal(size=(frames, lang.num_units))).astype(np.float32)
            cost, found = best(expected, scores, tmp_path / "k2.fst")
            mine, same = best(graph, np.concatenate([scores, scores], 1), tmp_path / "mine.fst")
            assert mine == pytest.approx(cost, abs=1e-3)
            assert [lang.pronunciations[lang.word_of[w]] for w in same] == [
                lang.pronunciations[lang.word_of[w]] for w in found
            ]


def test_grammar_backs_off(tmp_path: Path) -> None:
    """Histories that no n-gram continues have no state; their back-off costs are on the arcs that lead to them."""
    text = (
        "\\data\\\nngram 1=4\nngram 2=2\n\n\\1-grams:\n-1\t<s>\t-0.5\n-0.4\tA\t-0.25\n-0.6\tB\t-0.125\n-0.7\t</s>\n\n"
        "\\2-grams:\n-0.2\t<s> A\t0\n-0.3\tA </s>\n\n\\end\\\n"
    )
    (tmp_path / "G.arpa").write_text(text)
    grammar = read_arpa_grammar(tmp_path / "G.arpa", {"A": 1, "B": 2})
    nats = np.log(10)
    assert grammar.num_states == 3, "empty, <s> and A; B is never continued"
    arcs = {(int(s), int(w)): (int(t), c / nats) for s, w, t, c in zip(
        grammar.source, grammar.words, grammar.target, grammar.costs, strict=True)}  # fmt: skip
    start, after_a = grammar.start, arcs[0, 1][0]
    assert arcs[0, 2] == (0, pytest.approx(0.6 + 0.125))
    assert arcs[start, 1] == (after_a, pytest.approx(0.2))
    assert grammar.final_costs[after_a] == pytest.approx(0.3 * nats) and np.isinf(grammar.final_costs[start])
    assert grammar.backoff_costs[after_a] == pytest.approx(0.25 * nats)


def test_words_without_a_number_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "G.arpa.xz").write_bytes(lzma.compress(b"\\data\\\n\\1-grams:\n-1\tA\n-1\tB\n-1\t</s>\n\\end\\\n"))
    assert read_arpa_grammar(tmp_path / "G.arpa.xz", {"A": 1}).words.tolist() == [1]


@pytest.mark.parametrize("text", ["", "\\1-grams:\nx\tA\n", "not an ARPA file"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "G.arpa").write_text(text)
    with pytest.raises(UserError, match=r"G\.arpa: not an n-gram model in the ARPA format"):
        read_arpa_grammar(tmp_path / "G.arpa", {"A": 1})
