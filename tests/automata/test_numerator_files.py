"""Stored numerators against those compiled on the fly."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from augmem.automata import NumeratorCompiler, load_fsa, numerator_files, prepare_training_graphs
from augmem.errors import UserError
from augmem.graph import (
    BIPHONES_FILE,
    PHONE_LM_FILE,
    FrameGraphs,
    GraphConfig,
    Kind,
    Numerators,
    graphs_score,
    num_outputs,
    numerator_definition,
    read_biphones,
    stack_graphs,
)
from augmem.lang import Lang, LangConfig, prepare_lang

LEXICON = "TOO T UW\nTWO T UW\nAT AE T\nAT AH T\nCAT K AE T\n"
TEXTS = ["CAT AT TWO", "TOO", "AT TOO CAT", "CAT CAT", "TWO AT"]
CONFIG = GraphConfig(topology="chain", context="left", context_min_count=2)


def make_lang(root: Path, lexicon: str = LEXICON) -> Path:
    root.mkdir(exist_ok=True)
    (root / "lexicon.txt").write_text(lexicon)
    prepare_lang(LangConfig(lexicon=str(root / "lexicon.txt"), g2p="none"), TEXTS, root / "lang")
    return root / "lang"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lang, Path]:
    """Return a lang folder and the files of its numerators, two graphs each, made by two processes."""
    root = tmp_path_factory.mktemp("numerators")
    lang, folder = make_lang(root), root / "training_graphs"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numerator_files, "GRAPHS_PER_FILE", 2)
        prepare_training_graphs(CONFIG, lang, TEXTS * 2, folder, dev_texts=["CAT UNKNOWN"], jobs=2)
    return Lang.load(lang), folder


def biphones(lang: Lang, folder: Path) -> tuple:
    return read_biphones(folder / BIPHONES_FILE, lang.tokens)


def numerators(lang: Lang, folder: Path, kind: Kind, **changes: str) -> Numerators:
    phone_lm = folder / PHONE_LM_FILE if kind == "mmi" else None
    definition = numerator_definition(lang.units_hash, "chain", biphones(lang, folder), phone_lm)
    return Numerators(folder, kind, lang, definition | changes)


def score_and_gradient(graphs: FrameGraphs, outputs: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    log_probs = torch.randn(graphs.batch, 20, outputs, generator=generator).log_softmax(2).requires_grad_()
    score = graphs_score(log_probs, torch.arange(20 - graphs.batch, 20), graphs)
    score.sum().backward()
    assert log_probs.grad is not None
    return score.detach(), log_probs.grad


@pytest.mark.parametrize("kind", ["ctc", "mmi"])
def test_stored_and_compiled_numerators_give_equal_losses_to_the_last_bit(
    kind: Kind, stored: tuple[Lang, Path]
) -> None:
    lang, folder = stored
    phone_lm = load_fsa(folder / PHONE_LM_FILE) if kind == "mmi" else None
    pairs = biphones(lang, folder)
    assert pairs
    texts = ["TWO AT", "CAT AT TWO", "CAT UNKNOWN", "TOO"]
    outputs = num_outputs("chain", lang.num_units, pairs)
    compiled = stack_graphs(NumeratorCompiler(lang, "chain", phone_lm, pairs).compile(texts))
    score, gradient = score_and_gradient(numerators(lang, folder, kind)(texts), outputs)
    expected_score, expected_gradient = score_and_gradient(compiled, outputs)
    assert score.isfinite().all()
    assert torch.equal(score, expected_score) and torch.equal(gradient, expected_gradient)


def test_files_do_not_depend_on_the_number_of_processes(
    stored: tuple[Lang, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lang, folder = stored
    monkeypatch.setattr(numerator_files, "GRAPHS_PER_FILE", 2)
    prepare_training_graphs(CONFIG, lang.folder, TEXTS * 2, tmp_path, dev_texts=["CAT UNKNOWN"])
    names = {path.name for path in folder.glob("*.safetensors")}
    assert {"ctc-0002.safetensors", "mmi-0002.safetensors"} < names
    assert {path.name for path in tmp_path.glob("*.safetensors")} == names
    for name in names:
        ours, theirs = load_file(tmp_path / name), load_file(folder / name)
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours), name


def test_equal_transcripts_and_homophones_have_one_graph(
    stored: tuple[Lang, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        prepare_training_graphs(GraphConfig(), stored[0].folder, ["TWO AT", "TOO AT", "TWO AT"], tmp_path)
    assert "numerators: 1 graphs of 3 transcripts" in caplog.text


def test_a_transcript_without_numerator_is_refused(stored: tuple[Lang, Path]) -> None:
    with pytest.raises(UserError, match=r"no ctc numerator of the transcript 'CAT TWO TWO'.*augmem graphs --exp"):
        numerators(*stored, "ctc")(["TOO", "CAT TWO TWO"])


def test_numerators_of_other_pronunciations_are_refused(stored: tuple[Lang, Path], tmp_path: Path) -> None:
    other = Lang.load(make_lang(tmp_path / "other", LEXICON.replace("CAT K AE T", "CAT K AH T")))
    graphs = numerators(other, stored[1], "ctc")
    assert graphs(["TOO", "TWO AT"]).batch == 2
    with pytest.raises(UserError, match="no ctc numerator of the transcript 'CAT CAT' with the pronunciations of"):
        graphs(["CAT CAT"])


@pytest.mark.parametrize("name", ["units", "topology", "context", "phone LM"])
def test_numerators_of_another_definition_are_refused(name: str, stored: tuple[Lang, Path]) -> None:
    with pytest.raises(UserError, match=rf"mmi-0000\.safetensors: the {name} is .*, expected 'other'; run: augmem"):
        numerators(*stored, "mmi", **{name: "other"})


def test_missing_and_damaged_files_are_refused(stored: tuple[Lang, Path], tmp_path: Path) -> None:
    lang, folder = stored
    shutil.copytree(folder, tmp_path / "copy")
    path = tmp_path / "copy" / "ctc-0001.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match=r"ctc-0001\.safetensors: not a file of numerators.*run the stage graphs again"):
        numerators(lang, tmp_path / "copy", "ctc")
    for file in (tmp_path / "copy").glob("ctc-*"):
        file.unlink()
    with pytest.raises(UserError, match=r"copy: no numerators of ctc; run: augmem graphs --exp"):
        numerators(lang, tmp_path / "copy", "ctc")
