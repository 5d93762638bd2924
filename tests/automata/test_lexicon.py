"""L, compared with an enumeration of the sequences it must accept and with the state layout of icefall."""

from __future__ import annotations

import itertools
import math
import shutil
from collections import defaultdict
from pathlib import Path

import k2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augmem.automata import build_lexicon, lexicon_fst
from augmem.errors import UserError
from augmem.lang import Lang, LangConfig, prepare_lang
from augmem.lang.lang import SILENCE_PROBABILITY_FILE
from augmem.lang.lexicon import add_disambiguation

TOKENS = {"<eps>": 0, "SIL": 1, "A": 2, "B": 3, "#0": 4, "#1": 5, "#2": 6, "#3": 7, "#4": 8}
WORDS = {"<eps>": 0, "V": 1, "W": 2, "X": 3, "#0": 4, "<s>": 5, "</s>": 6}
ENTRIES = st.lists(
    st.tuples(st.sampled_from("VWX"), st.lists(st.sampled_from("AB"), min_size=1, max_size=2).map(tuple)),
    min_size=1, max_size=4, unique=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def lang_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lang")
    prepare_lang(LangConfig(g2p="none"), ["THE PILOT READS A RECORD"], folder)
    return folder


def find_accepted(fst: k2.Fsa, longest: int) -> dict[tuple, float]:
    """Return the probability of every (units, words) pair with at most `longest` units, by following all paths."""
    arcs = defaultdict(list)
    rows = zip(fst.arcs.values()[:, :3].tolist(), fst.aux_labels.tolist(), fst.scores.tolist(), strict=True)
    for (source, target, unit), word, score in rows:
        arcs[source].append((target, unit, word, score))
    found: dict[tuple, float] = defaultdict(float)
    paths = [(0, (), (), 0.0)]
    while paths:
        state, units, words, score = paths.pop()
        for target, unit, word, more in arcs[state]:
            if unit == -1:
                found[units, words] += math.exp(score + more)
            elif len(units) + (unit > 0) <= longest:
                step = (units + (unit,) * (unit > 0), words + (word,) * (word > 0))
                paths.append((target, *step, score + more))
    return found


def list_expected(entries: list, longest: int, silence: float) -> dict[tuple, float]:
    """Return the same probabilities by enumerating words, pronunciations and optional silences."""
    found: dict[tuple, float] = defaultdict(float)
    for count in range(longest + 1):
        for sequence in itertools.product(entries, repeat=count):
            for gaps in itertools.product([False, True] if silence else [False], repeat=count + 1):
                pieces = [[1] * gaps[0]] + [
                    [TOKENS[p] for p in form] + [1] * gap for (_, form), gap in zip(sequence, gaps[1:], strict=True)
                ]
                units = tuple(itertools.chain(*pieces))
                if len(units) <= longest:
                    weight = math.prod(silence if gap else 1 - silence for gap in gaps)
                    found[units, tuple(WORDS[word] for word, _ in sequence)] += weight
    return found


@given(ENTRIES, st.sampled_from([0.0, 0.3, 0.5]))
@settings(max_examples=25)
def test_l_accepts_exactly_the_lexicon_with_optional_silence(entries: list, silence: float) -> None:
    fst = lexicon_fst(entries, TOKENS, WORDS, silence)
    assert find_accepted(fst, 3) == pytest.approx(list_expected(entries, 3, silence))


@given(ENTRIES, st.sampled_from([0.0, 0.5]))
@settings(max_examples=25)
def test_l_disambig_can_be_determinised(entries: list, silence: float) -> None:
    """Without disambiguation, homophones and prefixes give several word sequences for one unit sequence."""
    distinct, _ = add_disambiguation(entries)
    fst = lexicon_fst(distinct, TOKENS, WORDS, silence, grammar_loops=True)
    small = k2.determinize(k2.remove_epsilon(k2.connect(fst)))
    leaving = [tuple(arc) for arc in small.arcs.values()[:, [0, 2]].tolist()]
    assert len(leaving) == len(set(leaving))


HALF = math.log(0.5)
ICEFALL_WITH_SILENCE = [
    (0, 1, 0, 0, HALF), (0, 2, 0, 0, HALF),  # start: no silence, or silence
    (1, 3, 2, 1, 0), (1, 1, 3, 2, HALF), (1, 2, 3, 2, HALF), (1, 1, 4, 4, 0), (1, 4, -1, -1, 0),
    (2, 1, 1, 0, 0),  # the silence itself
    (3, 1, 3, 0, HALF), (3, 2, 3, 0, HALF),
]  # fmt: skip
ICEFALL_WITHOUT = [(0, 1, 2, 1, 0), (0, 0, 3, 2, 0), (0, 0, 4, 4, 0), (0, 2, -1, -1, 0), (1, 0, 3, 0, 0)]


@pytest.mark.parametrize(("silence", "layout"), [(0.5, ICEFALL_WITH_SILENCE), (0.0, ICEFALL_WITHOUT)])
def test_states_and_arcs_have_the_layout_of_icefall(silence: float, layout: list) -> None:
    fst = lexicon_fst([("V", ("A", "B")), ("W", ("B",))], TOKENS, WORDS, silence, grammar_loops=True)
    rows = zip(fst.arcs.values()[:, :3].tolist(), fst.aux_labels.tolist(), fst.scores.tolist(), strict=True)
    assert [(*arc, word, pytest.approx(score)) for arc, word, score in rows] == sorted(layout)


def test_an_empty_pronunciation_is_refused() -> None:
    with pytest.raises(ValueError, match="V has an empty pronunciation"):
        lexicon_fst([("V", ())], TOKENS, WORDS)


def test_l_of_a_lang_folder_has_its_units_and_words(lang_dir: Path) -> None:
    lang = Lang.load(lang_dir)
    words = {lang.words[word] for word in lang.pronunciations}
    for fst in (build_lexicon(lang), build_lexicon(lang, disambiguate=True)):
        assert set(fst.aux_labels.tolist()) - {-1, 0, lang.words["#0"]} == words
    assert (build_lexicon(lang).labels < lang.tokens["#0"]).all()


def test_silence_probability_of_an_icefall_folder_is_icefalls_default(lang_dir: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(lang_dir, tmp_path / "lang")
    (folder / SILENCE_PROBABILITY_FILE).unlink()
    with pytest.raises(UserError, match=r"silence_probability\.txt: no such file; run the lang stage again"):
        build_lexicon(Lang.load(folder))
    (folder / "hash.txt").unlink()
    assert Lang.load(folder).silence_probability == 0.5
