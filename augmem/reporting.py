"""Collect the inputs of an experiment's report from the results of its stages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from augmem.attention_plots import attention_plots
from augmem.corpus import normalised_texts
from augmem.decoding import FIRST_PASS, SUMMARY_FILE, TUNED_FILE
from augmem.experiment import Experiment
from augmem.files import read_json
from augmem.recipe import RECIPE_FILE
from augmem.scoring import (
    Comparison,
    ReportInputs,
    Skipped,
    compare,
    provenance,
    read_recogs,
)
from augmem.skipped import SKIPPED_FILE, read_skipped
from augmem.stage_runner import DONE

EXAMPLES = 12  # of normalised texts


def stage_records(experiment: Experiment) -> list[dict[str, Any]]:
    """Read the `.done` records of the complete stages."""
    folders = (
        experiment.lang, experiment.lm, experiment.training_graphs, experiment.graphs, experiment.training,
        experiment.decoding,
    )  # fmt: skip
    return [read_json(folder / DONE) for folder in folders if (folder / DONE).exists()]


def has_streaming_results(experiment: Experiment) -> bool:
    """Return whether streaming recognition has been evaluated."""
    return (experiment.streaming / DONE).exists()


def report_inputs(experiment: Experiment) -> ReportInputs:
    """Collect the content of the report of an experiment."""
    parts, streamed = experiment.held_out, has_streaming_results(experiment)
    return ReportInputs(
        title=experiment.root.name,
        summary=experiment.scores / "summary.json",
        streaming=experiment.streaming / "summary.json" if streamed else None,
        training_log=experiment.training / "log.jsonl",
        tuned=experiment.decoding / TUNED_FILE,
        searches={part: experiment.decoding / part / SUMMARY_FILE for part in parts},
        normalisation=experiment.recipe.corpus.rules.description,
        normalised=normalisation_examples(normalised_texts(experiment.manifests, parts)),
        comparisons=streaming_comparisons(experiment) if streamed else (),
        latency=experiment.latency if experiment.latency.exists() else None,
        attention=attention_plots(experiment, experiment.parts.dev),
        skipped=skipped_utterances(experiment),
        config=(experiment.root / RECIPE_FILE).read_text(encoding="utf-8"),
        provenance=provenance(),
        seconds={record["stage"]: record["seconds"] for record in stage_records(experiment)},
    )


def normalisation_examples(rows: Iterable[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """Select texts that normalisation changes: first those whose letters change.

    Args:
        rows: utterance, text as written, text as scored.

    Returns:
        pairs of text as written and as scored.

    Example:
        >>> normalisation_examples([("a", "Hi!", "HI"), ("b", "in 1 h", "IN ONE H"), ("c", "NO", "NO")])
        [('in 1 h', 'IN ONE H'), ('Hi!', 'HI')]
    """
    pairs = {(written, scored): letters(written) == letters(scored) for _, written, scored in rows if written != scored}
    return sorted(pairs, key=lambda pair: pairs[pair])[:EXAMPLES]


def letters(text: str) -> str:
    """Return the letters of a text in upper case."""
    return "".join(filter(str.isalpha, text.upper()))


def streaming_comparisons(experiment: Experiment) -> list[tuple[str, Comparison]]:
    """Compare streaming recognition with the offline first pass, part by part."""
    return [(part, streaming_comparison(experiment, part)) for part in experiment.held_out]


def streaming_comparison(experiment: Experiment, part: str) -> Comparison:
    """Compare streaming recognition of a part with the offline first pass."""
    offline = read_recogs(experiment.scores / f"recogs-{part}-{FIRST_PASS}.txt")
    streamed = read_recogs(experiment.streaming / f"recogs-{part}-streaming.txt")
    return compare(offline, streamed, FIRST_PASS, "streaming")


def skipped_utterances(experiment: Experiment) -> list[Skipped]:
    """List the utterances skipped by the stages corpus, features and train, with reasons."""
    lists = [
        (part, folder / part / SKIPPED_FILE)
        for folder in (experiment.manifests, experiment.features)
        for part in experiment.parts.all()
    ]
    lists.append(("training", experiment.training / SKIPPED_FILE))
    return [Skipped(name, *item) for name, path in lists if path.exists() for item in read_skipped(path)]
