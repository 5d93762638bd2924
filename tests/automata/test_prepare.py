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

from augmem.automata import (
    build_hlg,
    check_origin,
    load_fsa,
    prepare_decoding_graph,
    prepare_training_graphs,
    read_grammar,
)
from augmem.automata.prepare import choose_biphones, sample_unit_sequences, train_phone_lm
from augmem.errors import UserError
from augmem.graph import (
    BIPHONES_FILE,
    DENOMINATOR_FILE,
    HLG_FILE,
    PHONE_LM_FILE,
    TOPOLOGIES,
    Denominator,
    GraphConfig,
    Numerators,
    Origin,
    num_outputs,
    numerator_definition,
    pronunciations_hash,
    read_biphones,
    read_denominator,
)
from augmem.graph.context import write_biphones
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
def test_training_graphs_give_valid_mmi_scores(
    topology: str, context: str, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    config = GraphConfig(topology=topology, context=context, context_min_count=10)  # type: ignore[arg-type]
    prepare_training_graphs(config, folders[0], TEXTS, tmp_path, dev_texts=["CAT AT TOO"])
    files = {path.name for path in tmp_path.iterdir()}
    numerators = {"ctc-0000.safetensors", "mmi-0000.safetensors"}
    expected = {PHONE_LM_FILE, DENOMINATOR_FILE, "sizes.json", *numerators}
    assert files == expected | ({BIPHONES_FILE} if context == "left" else set())
    lang, phone_lm = Lang.load(folders[0]), tmp_path / PHONE_LM_FILE
    biphones = read_biphones(tmp_path / BIPHONES_FILE, lang.tokens)
    definition = numerator_definition(lang.units_hash, topology, biphones, phone_lm)
    graphs = Numerators(tmp_path, "mmi", lang, definition)(["CAT AT TOO", "TWO"])
    log_probs = torch.zeros(2, 20, num_outputs(topology, lang.num_units, biphones)).log_softmax(2)
    mmi = LatticeFreeMmi(Denominator(read_denominator(tmp_path / DENOMINATOR_FILE)))
    scores = mmi(log_probs, torch.tensor([20, 15]), graphs)
    assert scores.valid.all()
    assert bool((scores.numerator < scores.denominator).all())


def test_a_decoding_graph_is_refused_with_other_units_topology_context_or_words(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """The numbers of units and words may be equal even if all words are different."""
    lang, grammar = Lang.load(folders[0]), folders[1] / "first_pass.fst.txt"
    prepare_decoding_graph("hmm", (), folders[0], grammar, tmp_path)
    path = tmp_path / HLG_FILE
    hlg = load_fsa(path)
    assert json.loads((tmp_path / "sizes.json").read_text())["HLG"]["arcs"] == hlg.num_arcs
    origin = Origin(lang.units_hash, "hmm", "", lang.words_hash)
    check_origin(hlg, origin, path)
    check_origin(hlg, origin._replace(words_hash=""), path)  # a model by itself
    for name in Origin._fields:
        with pytest.raises(UserError, match=rf"HLG\.safetensors: the {name} of the graph is .*, expected other"):
            check_origin(hlg, origin._replace(**{name: "other"}), path)
    check_origin(build_hlg(lang, "hmm", read_grammar(grammar)), Origin("other", "other"), path)  # of another toolkit


def test_other_words_do_not_change_the_inputs_of_training(folders: tuple[Path, Path], tmp_path: Path) -> None:
    def written(lexicon: str, texts: list[str], name: str) -> Lang:
        (tmp_path / "lexicon.txt").write_text(lexicon)
        prepare_lang(LangConfig(lexicon=str(tmp_path / "lexicon.txt"), g2p="none"), texts, tmp_path / name)
        return Lang.load(tmp_path / name)

    lang = Lang.load(folders[0])
    wider = written(LEXICON + "TAT T AE T\nTWOO T UW\n", [*TEXTS, "TAT TWOO"], "wider")
    other = written(LEXICON.replace("CAT K AE T", "CAT K AH T"), TEXTS, "other")
    assert wider.words_hash != lang.words_hash and wider.units_hash == lang.units_hash == other.units_hash
    assert pronunciations_hash(wider, TEXTS) == pronunciations_hash(lang, TEXTS) != pronunciations_hash(other, TEXTS)


def test_frequent_biphones_are_written_and_read(folders: tuple[Path, Path], tmp_path: Path) -> None:
    lang = Lang.load(folders[0])
    config = GraphConfig(context="left", context_min_count=10)
    found = choose_biphones(config, lang, TEXTS)
    padded = [[0, *units] for units in sample_unit_sequences(config, lang, TEXTS)]
    counts = Counter(pair for units in padded for pair in pairwise(units))
    silence = lang.tokens["SIL"]
    assert found == {pair: n for pair, n in counts.items() if n >= 10 and pair[1] != silence}
    assert any(pair not in found for pair in counts) and list(found) == sorted(found)
    write_biphones(tmp_path / "pairs.tsv", found, lang.unit_of)
    assert read_biphones(tmp_path / "pairs.tsv", lang.tokens) == tuple(found)
    (tmp_path / "pairs.tsv").write_text("left\tunit\tcount\nT\tXX\t9\n")
    with pytest.raises(UserError, match=r"pairs\.tsv:2: .* does not name two units"):
        read_biphones(tmp_path / "pairs.tsv", lang.tokens)


def test_silences_are_sampled_with_their_probabilities(folders: tuple[Path, Path]) -> None:
    lang = Lang.load(folders[0])
    config = GraphConfig(silence_at_ends=0.75, silence_between_words=0.25)
    sequences = sample_unit_sequences(config, lang, ["CAT CAT"] * 2000)
    sil = lang.tokens["SIL"]
    patterns = Counter((s[0] == sil, s[-1] == sil, sil in s[1:-1]) for s in sequences)
    for place, chance in enumerate((0.75, 0.75, 0.25)):
        share = sum(count for pattern, count in patterns.items() if pattern[place]) / len(sequences)
        assert share == pytest.approx(chance, abs=0.04)


def test_sampling_is_reproducible_and_covers_all_pronunciations(folders: tuple[Path, Path]) -> None:
    lang = Lang.load(folders[0])
    sequences = sample_unit_sequences(GraphConfig(), lang, ["AT"] * 50)
    assert {tuple(u for u in s if u != lang.tokens["SIL"]) for s in sequences} == {
        tuple(pronunciation) for pronunciation in lang.pronunciations["AT"]
    }
    assert sequences == sample_unit_sequences(GraphConfig(), lang, ["AT"] * 50)


def test_the_phone_lm_prefers_unit_sequences_of_the_transcripts(
    folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
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
    with pytest.raises(UserError, match=rf"graph\.{next(iter(field))} is .*; it must be"):
        GraphConfig(**field)


def test_a_missing_language_model_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"first_pass\.fst\.txt.*run the stage lm"):
        prepare_decoding_graph("ctc", (), folders[0], tmp_path / "first_pass.fst.txt", tmp_path)
