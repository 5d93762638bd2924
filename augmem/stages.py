"""The stages of run.sh: inputs and outputs of each, and the function that does the work."""

from __future__ import annotations

import logging
import os
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from augmem.automata import prepare_decoding_graph
from augmem.corpus import (
    StorageConfig,
    compute_features,
    find_texts,
    load_cuts,
    prepare_corpus,
    warn_of_openslr_11,
)
from augmem.decoding import DecodingFiles, decode_parts, tune
from augmem.devices import find_device
from augmem.errors import UserError
from augmem.experiment import Experiment, file_digests, manifest_digest, source_digest
from augmem.files import sha256_file, sha256_json
from augmem.graph import Biphones, context_hash, num_outputs
from augmem.lang import (
    ENGLISH,
    NEURAL_FILE,
    Lang,
    prepare_lang,
    prepare_language_models,
    prepare_neural_lm,
    validate_lang,
)
from augmem.model import AcousticModel, ModelDescription, check_units, find_trained_model
from augmem.model_acoustics import ModelAcoustics, keyed_cuts
from augmem.references import reference_words
from augmem.reporting import has_streaming_results, report_inputs, stage_records
from augmem.run_options import keep_options
from augmem.score_parts import NORMALISED_FILE, write_scores
from augmem.scoring import write_report
from augmem.stage_runner import DONE, fingerprint, is_done, refuse_other_inputs, run_resumable_stage, run_stage
from augmem.tensors import refuse_pickled
from augmem.training import MODEL_FILE, DistributedContext, build_trainer, default_processes, launch_processes
from augmem.training_graphs import build_training_graphs, check_training_graphs, read_context

logger = logging.getLogger(__name__)

LANG_FORMAT = 2  # 2: silence_probability.txt instead of L.pt
GRAPH_FORMAT = 3  # 2: safetensors, training graphs in a folder of their own; 3: texts of a file in one entry


def corpus(experiment: Experiment) -> None:
    """Convert audio and transcripts to Lhotse manifests, one folder per part."""
    config = experiment.recipe.corpus
    inputs = experiment.section("corpus") | {"source": source_digest(config.source)}
    run_stage(
        "corpus",
        experiment.manifests,
        inputs,
        lambda output: prepare_corpus(config, experiment.data / "download", output),
    )


def features(experiment: Experiment, jobs: int, scheduler: str | None = None) -> None:
    """Compute log-mel features; with features.speed_perturb, those of training parts at three speeds.

    Args:
        jobs: number of worker processes.
        scheduler: address of a Dask scheduler whose workers are used instead.
    """
    config, storage, parts = experiment.recipe.features, experiment.recipe.storage, experiment.parts
    for part in parts.all():
        manifests = experiment.manifests / part
        is_training = part not in (*parts.dev, *parts.test)
        perturb, telephone = config.speed_perturb and is_training, bool(config.band) and is_training
        inputs = experiment.section("features") | {
            "perturb": perturb,
            "manifests": manifest_digest(manifests),
        }
        if telephone:
            inputs |= {"telephone": True}
        if storage != StorageConfig():  # features made before the option existed stay up to date
            inputs |= experiment.section("storage")
        run_stage(
            f"features of {part}",
            experiment.features / part,
            inputs,
            partial(
                compute_features,
                config,
                manifests,
                jobs=jobs,
                perturb=perturb,
                scheduler=scheduler,
                storage=storage,
                telephone=telephone,
            ),
            reads=[manifests],
        )


def lang(experiment: Experiment) -> None:
    """Write and validate the lang folder. A finished model keeps its units; words and lexicon may change.

    Raises:
        UserError: the lang folder has errors, or does not fit the finished model.
    """
    model = finished_model(experiment)
    texts = experiment.texts(experiment.parts.train)
    extra = find_texts(experiment.recipe.lang.extra_vocabulary, experiment.data / "texts")
    config, rules = replace(experiment.recipe.lang, extra_vocabulary=extra), experiment.recipe.corpus.rules
    models = [Path(path) for path in experiment.recipe.lm.given_models]
    init_from = experiment.recipe.training.init_from
    initial = find_trained_model(Path(init_from)).lang if init_from else None

    def make(output: Path) -> None:
        base = experiment.lang if model and experiment.lang.is_dir() else initial
        prepare_lang(config, texts, output, models, base, rules)
        if problems := validate_lang(output):
            raise UserError("errors in the lang folder:\n" + "\n".join(problems))
        if model:
            check_units(model, output, experiment.model)

    inputs = experiment.section("lang") | {
        "format": LANG_FORMAT,
        "train texts": sha256_json(texts),
        "extra vocabulary": file_digests(extra),
        "lexicon": file_digests([config.lexicon] if config.lexicon else []),
        "language models": file_digests(experiment.recipe.lm.given_models),
    }
    if rules != ENGLISH:
        inputs |= {"normalisation": asdict(rules)}
    if initial:
        inputs["initial units"] = Lang.load(initial).units_hash
    run_stage("lang", experiment.lang, inputs, make, reads=[experiment.manifests])


def lm(experiment: Experiment) -> None:
    """Make the language models and log perplexity and OOV rate on dev."""
    texts = experiment.texts(experiment.parts.train)
    dev = {part: experiment.texts([part]) for part in experiment.parts.dev}
    extra = find_texts(experiment.recipe.lm.extra_text, experiment.data / "texts")
    config = replace(experiment.recipe.lm, extra_text=extra)
    sources = {
        "train texts": sha256_json(texts),
        "dev texts": sha256_json(dev),
        "lang": fingerprint(experiment.lang),
        "extra text": file_digests(extra),
    }
    reads = [experiment.manifests, experiment.lang]
    warn_of_openslr_11(experiment.parts, [*config.given_models, experiment.recipe.lang.lexicon])
    inputs = experiment.section("lm") | sources | {"given models": file_digests(config.given_models)}
    run_stage(
        "lm",
        experiment.lm,
        inputs,
        lambda output: prepare_language_models(config, texts, dev, experiment.lang, output),
        reads,
    )
    if (neural := experiment.recipe.neural_lm).epochs:
        run_stage(
            "neural lm",
            experiment.neural_lm,
            experiment.section("neural_lm") | sources,
            lambda output: prepare_neural_lm(neural, config, texts, dev, experiment.lang, output),
            reads,
        )


def finished_model(experiment: Experiment) -> ModelDescription | None:
    """Return the description of the trained model; None before training is complete.

    A model from an earlier release, without a hash of its units, is checked against its lang folder and rewritten.
    """
    refuse_pickled(experiment.model)
    if not (experiment.training / DONE).exists() or not experiment.model.is_file():
        return None
    model = AcousticModel.load(experiment.model)
    if not model.description.units_hash:
        model = AcousticModel.load(experiment.model, experiment.lang)
        model.save(experiment.model)
        logger.info("%s: rewritten in the format of this release", experiment.model)
    return model.description


def graphs(experiment: Experiment, jobs: int = 1, scheduler: str | None = None) -> None:
    """Build numerators, denominator, phone LM and context for training, and HLG for decoding.

    Args:
        jobs: number of worker processes.
        scheduler: address of a Dask scheduler whose workers are used instead.
    """
    model = finished_model(experiment)
    if model is None:
        build_training_graphs(experiment, jobs, scheduler)
        biphones: Biphones = read_context(experiment)
    else:
        check_units(model, experiment.lang, experiment.model)
        biphones = model.biphones
    topology = model.topology if model else experiment.recipe.graph.topology
    inputs = {
        "format": GRAPH_FORMAT,
        "topology": topology,
        "context": context_hash(biphones),
        "lang": fingerprint(experiment.lang),
        "lm": fingerprint(experiment.lm),
    }
    grammar = experiment.lm / "first_pass.fst.txt"
    run_stage(
        "graphs",
        experiment.graphs,
        inputs,
        lambda output: prepare_decoding_graph(topology, biphones, experiment.lang, grammar, output),
        reads=[experiment.lang, grammar],
    )


def train(experiment: Experiment, max_minutes: float | None, processes: int | None = None) -> bool:
    """Train, or resume training, in this process, in several processes, or in those that torchrun started.

    A finished model depends on units, topology and context of the lang and graph stages. Until training is finished,
    the phone LM and the pronunciations of the transcripts must not change either.

    Args:
        max_minutes: time after which no step starts.
        processes: number of processes; by default one per GPU, or per core without a GPU, that can share a step.

    Returns:
        whether training is finished.
    """
    recipe, parts = experiment.recipe, experiment.parts
    inputs = training_inputs(experiment)
    processes = processes or default_processes(recipe.training.shared_batches)
    recipe.training.check_processes(processes)
    if processes > 1 and "WORLD_SIZE" not in os.environ and not is_done(experiment.training, inputs):
        limit = [] if max_minutes is None else ["--max-minutes", str(max_minutes)]
        options = ["--recipe", str(experiment.run)] if experiment.run else []
        launch_processes(processes, ["train", "--exp", str(experiment.root), *options, *limit])
        return is_done(experiment.training, inputs)
    context = DistributedContext.from_environment(recipe.training.device)

    def action(output: Path) -> bool:
        if context.is_rank_zero:
            keep_options(experiment, "train")
        # Loader processes decompress features; the memory of several trainers would hold all of them several times.
        cuts = partial(load_cuts, experiment.features, in_memory=False if recipe.training.batches.workers else None)
        trainer = build_trainer(
            recipe.training, description(experiment), experiment.lang, experiment.training_graphs,
            cuts(parts.train), cuts(parts.dev), output, context,
        )  # fmt: skip
        return trainer.run(max_minutes)

    done = context.broadcast(context.is_rank_zero and is_done(experiment.training, inputs))
    if context.is_rank_zero:
        resume_inputs = {} if done else {"training graphs": fingerprint(experiment.training_graphs)}
        if not done:
            refuse_other_inputs("train", experiment.training, inputs | resume_inputs)
            check_training_graphs(experiment)
        reads = [experiment.lang, experiment.training_graphs]
        reads += [experiment.features / part for part in (*parts.train, *parts.dev)]
        return run_resumable_stage("train", experiment.training, inputs, action, [MODEL_FILE], resume_inputs, reads)
    return done or action(experiment.training)


def training_inputs(experiment: Experiment) -> dict[str, Any]:
    """Return the inputs of a finished model."""
    recipe, parts = experiment.recipe, experiment.parts
    inputs: dict[str, Any] = experiment.section("training", "encoder", "features") | {
        "units": Lang.load(experiment.lang).units_hash,
        "topology": [recipe.graph.topology, recipe.graph.context],
        "train features": [fingerprint(experiment.features / part) for part in parts.train],
        "dev features": [fingerprint(experiment.features / part) for part in parts.dev],
    }
    if init_from := recipe.training.init_from:
        inputs["initial model"] = sha256_file(find_trained_model(Path(init_from)).model)
    batches = recipe.training.batches
    for name, source in (("noise", batches.noise.source), ("reverberation", batches.reverb.source)):
        if source:
            inputs[name] = source_digest(source)
    if alignment := recipe.training.alignment:
        inputs["alignment"] = file_digests([alignment])
    return inputs


def description(experiment: Experiment) -> ModelDescription:
    """Return the description of the model to train."""
    recipe, units, biphones = experiment.recipe, Lang.load(experiment.lang), read_context(experiment)
    return ModelDescription(
        encoder=recipe.encoder,
        feature_dim=recipe.features.num_mel_bins,
        frame_shift=recipe.features.frame_shift,
        num_units=num_outputs(recipe.graph.topology, units.num_units, biphones),
        units_hash=units.units_hash,
        topology=recipe.graph.topology,
        features=asdict(recipe.features),
        biphones=biphones,
    )


def decode(experiment: Experiment, jobs: int, scheduler: str | None = None) -> None:
    """Decode dev and test parts to lattices and n-best lists, and tune the scales of all systems on dev.

    Args:
        jobs: number of worker processes.
        scheduler: address of a Dask scheduler whose workers are used instead.

    Raises:
        FileNotFoundError: there is no model yet.
    """
    config, parts = experiment.recipe.decoding, experiment.parts
    if not experiment.model.is_file():
        raise FileNotFoundError(f"{experiment.model}: no model yet; run stage train, which writes one after each epoch")
    if not (experiment.training / DONE).exists():
        logger.warning("decode: training is not complete; decoding with its latest model")
    parts_in_use = experiment.held_out
    device = find_device("cpu" if scheduler and config.device == "auto" else config.device, "decoding.device")
    inputs = experiment.section("decoding") | {
        "model": sha256_file(experiment.model),
        "graphs": fingerprint(experiment.graphs),
        "lm": fingerprint(experiment.lm),
        "features": {part: fingerprint(experiment.features / part) for part in parts_in_use},
    }
    neural = experiment.neural_lm / NEURAL_FILE if experiment.recipe.neural_lm.epochs else None
    if neural:
        inputs["neural lm"] = fingerprint(experiment.neural_lm)

    def action(output: Path) -> None:
        cuts = dict(keyed_cuts(experiment.features, parts_in_use))
        models = (experiment.lm / "first_pass.arpa", experiment.lm / "rescoring.arpa")
        decode_parts(
            config,
            ModelAcoustics(experiment.model, experiment.lang, experiment.features, parts_in_use),
            {key: cut.duration for key, cut in cuts.items()},
            DecodingFiles(experiment.lang, experiment.graphs, models, neural),
            output,
            jobs,
            scheduler,
            None if device.type == "cpu" else device,
        )
        tune(output, parts.dev, {key: reference_words(cut) for key, cut in cuts.items()}, config)

    reads = [experiment.model, experiment.lang, experiment.graphs, experiment.lm]
    reads += [experiment.features / part for part in parts_in_use]
    run_stage("decode", experiment.decoding, inputs, action, reads + ([experiment.neural_lm] if neural else []))


def score(experiment: Experiment) -> None:
    """Compute word error rates of all systems; write their words with times and confidences."""
    inputs = {"decode": fingerprint(experiment.decoding)}
    run_stage("score", experiment.scores, inputs, partial(write_scores, experiment), [experiment.decoding])
    logger.info(
        "text normalisation: %s (%s)", experiment.recipe.corpus.rules.description, experiment.scores / NORMALISED_FILE
    )
    table = (experiment.scores / "wer.txt").read_text(encoding="utf-8")
    logger.info("word error rates, with 95 %% bootstrap intervals:\n%s", table)


def report(experiment: Experiment) -> None:
    """Write an HTML report, with the results of streaming recognition if there are any."""
    inputs = {
        "score": fingerprint(experiment.scores),
        "model": sha256_file(experiment.model),
        "stages": stage_records(experiment),
    }
    if has_streaming_results(experiment):
        inputs["streaming"] = fingerprint(experiment.streaming)
    run_stage(
        "report",
        experiment.root / "report",
        inputs,
        lambda output: write_report(output / "report.html", report_inputs(experiment)),
        reads=[experiment.scores, experiment.decoding, experiment.model],
    )
