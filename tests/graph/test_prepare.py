"""The graphs stage, on a small lang folder made by the lang stage."""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from augmem.graph import (
    BIPHONES_FILE,
    TOPOLOGIES,
    Denominator,
    GraphConfig,
    NumeratorCompiler,
    Origin,
    build_hlg,
    check_origin,
    load_fsa,
    num_outputs,
    prepare_graphs,
    read_biphones,
    read_grammar,
)
from augmem.graph.context import write_biphones
from augmem.graph.prepare import choose_biphones, train_phone_lm, unit_sequences
from augmem.lang.config import LangConfig
from augmem.lang.lang import Lang
from augmem.lang.prepare import prepare_lang
from augmem.objective import LatticeFreeMmi

LEXICON = "TOO T UW\nTWO T UW\nAT AE T\nAT AH T\nCAT K AE T\n"
TEXTS = ["CAT AT TWO", "TOO", "AT TOO CAT", "CAT CAT", "TWO AT"] * 6


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("graphs")
    (root / "lexicon.txt").write_text(LEXICON)
    prepare_lang(LangConfig(lexicon=str(root / "lexicon.txt"), g2p="none"), TEXTS, root / "lang")
    words = Lang.load(root / "lang").words
    (root / "lm").mkdir()
    loops = "".join(f"0 0 {words[w]} {words[w]} {math.log(5)}\n" for w in ("TOO", "TWO", "AT", "CAT"))
    (root / "lm" / "first_pass.fst.txt").write_text(f"{loops}0 {math.log(5)}\n")
    return root / "lang", root / "lm"


@pytest.mark.parametrize(("topology", "context"), [*((name, "none") for name in TOPOLOGIES), ("chain", "left")])
def test_stage_writes_graphs_that_train(
    topology: str, context: str, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    config = GraphConfig(topology=topology, context=context, context_min_count=10)  # type: ignore[arg-type]
    prepare_graphs(config, *folders, TEXTS, tmp_path)
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {"P.pt", "HLG.pt", "sizes.json"} | ({BIPHONES_FILE} if context == "left" else set())
    sizes = json.loads((tmp_path / "sizes.json").read_text())
    assert sizes["HLG"]["arcs"] == load_fsa(tmp_path / "HLG.pt").num_arcs
    lang, phone_lm = Lang.load(folders[0]), load_fsa(tmp_path / "P.pt")
    biphones = read_biphones(tmp_path / BIPHONES_FILE, lang.tokens)
    denominator = Denominator(phone_lm, topology, lang.num_units, biphones=biphones)
    mmi = LatticeFreeMmi(NumeratorCompiler(lang, topology, phone_lm, biphones=biphones), denominator)
    log_probs = torch.zeros(2, 20, num_outputs(topology, lang.num_units, biphones)).log_softmax(2)
    scores = mmi(log_probs, torch.tensor([20, 15]), ["CAT AT UNHEARD", "TWO"])
    assert scores.valid.all()
    assert bool((scores.numerator < scores.denominator).all())


def test_the_graph_knows_what_it_is_made_of(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """As many units and words as another, but another lang or topology: no size tells, and all words would be wrong."""
    prepare_graphs(GraphConfig(topology="hmm"), *folders, TEXTS, tmp_path)
    path, lang_hash = tmp_path / "HLG.pt", Lang.load(folders[0]).content_hash
    check_origin(load_fsa(path), Origin(lang_hash, "hmm"), path)
    for other in (Origin(lang_hash, "ctc"), Origin("0" * 64, "hmm")):
        with pytest.raises(ValueError, match=r"HLG\.pt: the graph's (topology is hmm|lang_hash is .*), the model's"):
            check_origin(load_fsa(path), other, path)
    check_origin(build_hlg(Lang.load(folders[0]), "hmm", read_grammar(folders[1] / "first_pass.fst.txt")), other, path)


def test_frequent_biphones_come_back_from_the_disk(folders: tuple[Path, Path], tmp_path: Path) -> None:
    lang = Lang.load(folders[0])
    config = GraphConfig(context="left", context_min_count=10)
    found = choose_biphones(config, lang, TEXTS)
    padded = [[0, *units] for units in unit_sequences(config, lang, TEXTS)]
    counts = Counter(pair for units in padded for pair in pairwise(units))
    silence = lang.tokens["SIL"]
    assert found == {pair: n for pair, n in counts.items() if n >= 10 and pair[1] != silence}
    assert any(pair not in found for pair in counts) and list(found) == sorted(found)
    write_biphones(tmp_path / "pairs.tsv", found, lang.unit_of)
    assert read_biphones(tmp_path / "pairs.tsv", lang.tokens) == tuple(found)
    (tmp_path / "pairs.tsv").write_text("left\tunit\tcount\nT\tXX\t9\n")
    with pytest.raises(ValueError, match=r"pairs\.tsv:2: .* names no two units"):
        read_biphones(tmp_path / "pairs.tsv", lang.tokens)


def test_silence_comes_as_often_as_asked(folders: tuple[Path, Path]) -> None:
    lang = Lang.load(folders[0])
    config = GraphConfig(silence_at_ends=0.75, silence_between_words=0.25)
    sequences = unit_sequences(config, lang, ["CAT CAT"] * 2000)
    sil = lang.tokens["SIL"]
    patterns = Counter((s[0] == sil, s[-1] == sil, sil in s[1:-1]) for s in sequences)
    for place, chance in enumerate((0.75, 0.75, 0.25)):
        share = sum(count for pattern, count in patterns.items() if pattern[place]) / len(sequences)
        assert share == pytest.approx(chance, abs=0.04)


def test_pronunciations_are_all_drawn_and_draws_repeat(folders: tuple[Path, Path]) -> None:
    lang = Lang.load(folders[0])
    sequences = unit_sequences(GraphConfig(), lang, ["AT"] * 50)
    assert {tuple(u for u in s if u != lang.tokens["SIL"]) for s in sequences} == {
        tuple(pronunciation) for pronunciation in lang.pronunciations["AT"]
    }
    assert sequences == unit_sequences(GraphConfig(), lang, ["AT"] * 50)


def test_phone_lm_prefers_what_was_said(folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    lang = Lang.load(folders[0])
    with caplog.at_level(logging.INFO):
        phone_lm = train_phone_lm(GraphConfig(), lang, TEXTS)
    assert "held-out" in caplog.text
    cat = lang.pronunciations["CAT"][0]
    assert phone_lm.log_probability(cat) > phone_lm.log_probability(cat[::-1]) + 3
    assert all(set(pair) <= {0, *lang.unit_ids, -2} for h in phone_lm.probabilities for pair in pairwise(h))


@pytest.mark.parametrize(
    "field",
    [
        {"topology": "hmn"},
        {"context": "right"},
        {"context_min_count": 0},
        {"phone_lm_order": 5},
        {"phone_lm_histories": -1},
        {"silence_at_ends": 1.0},
    ],
)
def test_config_names_field_value_and_rule(field: dict) -> None:
    with pytest.raises(ValueError, match=rf"graph\.{next(iter(field))} is .*; it must be"):
        GraphConfig(**field)


def test_missing_language_model_is_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"first_pass\.fst\.txt.*run the stage lm"):
        prepare_graphs(GraphConfig(), folders[0], tmp_path, TEXTS, tmp_path)
