"""Stages after a change of lexicon, language model, units or pronunciations."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from augmem import stages
from augmem.automata import load_fsa
from augmem.corpus import CorpusConfig
from augmem.errors import UserError
from augmem.experiment import Experiment
from augmem.files import sha256_json, write_json
from augmem.graph import HLG_FILE
from augmem.lang import Lang, LangConfig, LmConfig
from augmem.model import AcousticModel
from augmem.recipe import Recipe
from augmem.stage_runner import DONE, INPUTS, fingerprint, is_done
from augmem.training import read_log
from tests.corpus.corpora import write_tone
from tests.tiny import ENCODER

SENTENCE = "one two two one one"
LEXICON = "ONE W AH N\nTWO T UW\nTOO T UW\n"


@pytest.fixture
def trained(tmp_path: Path) -> Experiment:
    """An experiment whose training is marked as finished, with a random model."""
    for part in ("train", "dev"):
        write_tone(tmp_path / "mine" / part / "a.wav", 1.0)
        (tmp_path / "mine" / f"{part}.tsv").write_text(
            f"audio\ttext\tspeaker\tid\n{part}/a.wav\t{SENTENCE}\t{part}\t1\n"
        )
    (tmp_path / "lexicon.txt").write_text(LEXICON)
    recipe = Recipe(
        corpus=CorpusConfig(
            "folder", str(tmp_path / "mine"), train=("train",), dev=("dev",), test=("dev",), allow_overlap=True
        ),
        lang=LangConfig(lexicon=str(tmp_path / "lexicon.txt"), g2p="none"),
        encoder=ENCODER,
        data=str(tmp_path / "data"),
    )
    experiment = Experiment(recipe, tmp_path / "exp")
    stages.corpus(experiment)
    stages.features(experiment, jobs=1)
    build_lang_to_graphs(experiment)
    AcousticModel(stages.description(experiment)).save(experiment.model)
    finish(experiment.training, stages.training_inputs(experiment))
    return experiment


def finish(folder: Path, inputs: dict[str, Any]) -> None:
    write_json(folder / DONE, {"stage": "train", "fingerprint": sha256_json(inputs), "inputs": inputs})


def build_lang_to_graphs(experiment: Experiment) -> None:
    for stage in (stages.lang, stages.lm, stages.graphs):
        stage(experiment)


def test_a_finished_model_keeps_its_training_with_another_lexicon_and_language_model(
    trained: Experiment, tmp_path: Path
) -> None:
    (tmp_path / "lexicon.txt").write_text("ONE AH N\nTWO T UW\nTOO W\nTON T AH N\n")
    (tmp_path / "more.txt").write_text("TON ONE TOO\n" * 3)
    recipe = replace(trained.recipe, lang=replace(trained.recipe.lang, extra_vocabulary=(str(tmp_path / "more.txt"),)))
    changed = replace(trained, recipe=replace(recipe, lm=LmConfig(first_pass_order=2)))
    before = fingerprint(changed.training_graphs)
    build_lang_to_graphs(changed)
    lang = Lang.load(changed.lang)
    assert {"TON", "TOO"} <= set(lang.pronunciations)
    assert load_fsa(changed.graphs / HLG_FILE).words_hash == lang.words_hash
    assert fingerprint(changed.training_graphs) == before
    assert stages.train(changed, None) is True  # up to date: no training
    AcousticModel.load(changed.model, changed.lang)


def test_other_units_are_refused_once_there_is_a_model(trained: Experiment, tmp_path: Path) -> None:
    (tmp_path / "lexicon.txt").write_text("ONE v a n\nTWO t u\nTOO t u\n")
    files = {path.name: path.read_bytes() for path in trained.lang.iterdir()}
    with pytest.raises(UserError, match="a trained model keeps its units"):
        stages.lang(trained)
    assert {path.name: path.read_bytes() for path in trained.lang.iterdir()} == files


def test_unfinished_training_is_not_resumed_with_other_pronunciations(trained: Experiment, tmp_path: Path) -> None:
    (trained.training / DONE).unlink()
    resume_inputs = {"training graphs": fingerprint(trained.training_graphs)}
    write_json(trained.training / INPUTS, stages.training_inputs(trained) | resume_inputs)
    (tmp_path / "lexicon.txt").write_text(LEXICON.replace("TOO T UW", "TOO W"))  # not in the transcripts
    build_lang_to_graphs(trained)
    assert fingerprint(trained.training_graphs) == resume_inputs["training graphs"]
    (tmp_path / "lexicon.txt").write_text("ONE AH N\nTWO T UW\nTOO W\n")
    build_lang_to_graphs(trained)
    with pytest.raises(UserError, match=r"started with other inputs \(changed: training graphs\)"):
        stages.train(trained, None)


def test_options_without_effect_on_the_model_do_not_forbid_its_use(trained: Experiment) -> None:
    options = trained.recipe.training
    batches = replace(options.batches, workers=7)
    other = replace(
        options, device="cuda", log_every=3, checkpoint_every=7, keep_checkpoints=9, max_nonfinite=3, batches=batches
    )
    changed = replace(trained, recipe=replace(trained.recipe, training=other))
    assert is_done(changed.training, stages.training_inputs(changed))
    changed = replace(trained, recipe=replace(trained.recipe, training=replace(options, epochs=7)))
    assert not is_done(changed.training, stages.training_inputs(changed))


def test_a_changed_lexicon_is_not_read_and_made_again_by_its_stage(trained: Experiment) -> None:
    path = trained.lang / "lexicon.txt"
    written = path.read_bytes()
    path.write_bytes(written.replace(b"AH", b"UW"))
    (trained.graphs / HLG_FILE).unlink()
    with pytest.raises(UserError, match=r"lexicon\.txt: changed since it was written .* run stage lang again"):
        stages.graphs(trained)
    build_lang_to_graphs(trained)
    assert path.read_bytes() == written and (trained.graphs / HLG_FILE).is_file()


def unfinished(experiment: Experiment) -> Experiment:
    """Return the experiment with two epochs to train: one of CTC, one of LF-MMI."""
    shutil.rmtree(experiment.training)
    batches = replace(experiment.recipe.training.batches, workers=0)
    training = replace(
        experiment.recipe.training,
        batches=batches,
        epochs=2,
        ctc_epochs=0.5,
        hand_over_epochs=0,
        device="cpu",
        log_every=1,
    )
    return replace(experiment, recipe=replace(experiment.recipe, training=training))


def test_training_from_a_prepared_experiment_needs_no_k2(trained: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = unfinished(trained)
    for name in ("k2", "_k2"):
        monkeypatch.setitem(sys.modules, name, None)  # makes `import` and `find_spec` fail
    with pytest.raises(UserError, match="k2 is not installed"):
        load_fsa(experiment.graphs / HLG_FILE)
    assert stages.train(experiment, None) is True
    weights = [line["ctc_weight"] for line in read_log(experiment.training / "log.jsonl") if line["kind"] == "step"]
    assert weights == [1.0, 0.0]
    AcousticModel.load(experiment.model, experiment.lang)


def test_training_with_graphs_that_are_out_of_date_is_refused(trained: Experiment, tmp_path: Path) -> None:
    experiment = unfinished(trained)
    (tmp_path / "lexicon.txt").write_text(LEXICON.replace("ONE W AH N", "ONE AH N"))
    stages.lang(experiment)
    with pytest.raises(UserError, match=r"out of date \(changed: pronunciations\); run: augmem graphs --exp .*exp"):
        stages.train(experiment, None)
    assert not experiment.training.exists()
    stages.graphs(experiment)
    shutil.rmtree(experiment.training_graphs)
    with pytest.raises(FileNotFoundError, match="training_graphs is not complete"):
        stages.train(experiment, None)
