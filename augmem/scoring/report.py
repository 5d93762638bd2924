"""Report of an experiment: one self-contained HTML file."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from augmem.errors import UserError
from augmem.files import read_json, write_text
from augmem.scoring.alignment import Utterance
from augmem.scoring.comparison import Comparison
from augmem.scoring.figures import delay_rows, latency_chart, read_training_log, reliability_chart, training_charts
from augmem.scoring.sweep import sweep_tables

SHOWN_SKIPPED = 200
SHOWN_SPEAKERS = 40
DASH, MINUS = "\u2013", "\u2212"


@dataclass(frozen=True)
class Picture:
    """A plot, for example from `plot_attention`.

    Args:
        png: content of a PNG file.
        caption: explanation below the plot.
    """

    png: bytes
    caption: str

    @property
    def uri(self) -> str:
        """The plot as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


@dataclass(frozen=True)
class Skipped:
    """A skipped utterance.

    Args:
        part: name of the part.
        id: utterance id.
        reason: reason, in the same words for all utterances of a kind.
        detail: details of this utterance.
    """

    part: str
    id: str
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class ReportInputs:
    """Content of the report. Only title and summary are required; sections without data are left out.

    Args:
        title: name of the experiment.
        summary: summary.json of stage score.
        streaming: summary.json of streaming recognition.
        training_log: log.jsonl of the training.
        tuned: tuned.json of stage decode.
        searches: part -> summary.json of its decoding.
        latency: delays that `benchmarks.streaming` has measured.
        attention: plots of the attention.
        normalisation: description of the text normalisation.
        normalised: examples of normalisation: text as written, text as scored.
        comparisons: name of a part, and significance tests of two systems on it.
        skipped: skipped utterances.
        config: the recipe as YAML.
        provenance: result of `provenance()`.
        seconds: stage -> duration in seconds.
    """

    title: str
    summary: Path
    streaming: Path | None = None
    training_log: Path | None = None
    tuned: Path | None = None
    searches: Mapping[str, Path] = field(default_factory=dict)
    latency: Path | None = None
    attention: Sequence[Picture] = ()
    normalisation: str = ""
    normalised: Sequence[tuple[str, str]] = ()
    comparisons: Sequence[tuple[str, Comparison]] = ()
    skipped: Sequence[Skipped] = ()
    config: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


def write_report(path: Path, inputs: ReportInputs) -> None:
    """Write the report.

    Raises:
        FileNotFoundError: a file of `inputs` is missing.
        UserError: a file is invalid, or there are no scores.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # transcripts and recipes are untrusted text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = {"percent": _percent, "points": _points, "p_value": _p_value, "duration": _duration}
    environment.filters.update(filters, thousands="{:,}".format)
    write_text(path, environment.get_template("report.html").render(_context(inputs)))


def _context(inputs: ReportInputs) -> dict[str, Any]:
    """Return the variables of the template."""
    summary = read_json(inputs.summary)
    scores = summary["scores"]
    if not scores:
        raise UserError(f"{inputs.summary}: no scores; run stage score again")
    log = read_training_log(inputs.training_log) if inputs.training_log else []
    tuned = read_json(inputs.tuned) if inputs.tuned else {}
    headline = _headline(scores)
    scores = scores + (read_json(inputs.streaming)["scores"] if inputs.streaming else [])
    best = _of_system(scores, headline["system"])
    latency = read_json(inputs.latency) if inputs.latency else {}
    return {
        "inputs": inputs,
        "made": datetime.now().astimezone().strftime("%d %B %Y, %H:%M"),
        "headline": headline,
        "others": [s for s in scores if s["part"] == headline["part"] and s is not headline],
        "scores": scores,
        "parts": list(dict.fromkeys(score["part"] for score in scores)),
        "by_session": any(score["session_interval"] for score in scores),
        "scale": min(1.0, max(score["interval"][1] or 1.0 for score in scores)) or 1.0,
        "best": best,
        "worst": {score["part"]: [Utterance(**utterance) for utterance in score["worst"]] for score in best},
        "charts": [(chart, Markup(chart.svg)) for chart in training_charts(log)],
        "tuned": tuned,
        "sweeps": sweep_tables(tuned),
        "reliability": (chart, Markup(chart.svg)) if (chart := reliability_chart(tuned)) else None,
        "latency": latency,
        "delays": delay_rows(latency),
        "delay_chart": (chart, Markup(chart.svg)) if (chart := latency_chart(latency)) else None,
        "oracle": summary["oracle"],
        "searches": {part: read_json(path) for part, path in inputs.searches.items()},
        "few_speakers": sum(len(score["speakers"]) for score in best) <= SHOWN_SPEAKERS,
        "reasons": Counter((skipped.part, skipped.reason) for skipped in inputs.skipped).most_common(),
        "shown_skipped": inputs.skipped[:SHOWN_SKIPPED],
        "longest": max(inputs.seconds.values(), default=0.0) or 1.0,
    }


def _headline(scores: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the score at the top of the report: the last system on the first part test*, else on the first part."""
    part = next((score["part"] for score in scores if score["part"].startswith("test")), scores[0]["part"])
    return [score for score in scores if score["part"] == part][-1]


def _of_system(scores: Sequence[Mapping[str, Any]], system: str) -> list[Mapping[str, Any]]:
    """Return the scores of one system on all parts."""
    return [score for score in scores if score["system"] == system]


def _percent(rate: float | None, digits: int = 1) -> str:
    """Format a rate in percent: 0.1234 as "12.3", None as a dash."""
    return DASH if rate is None else f"{100 * rate:.{digits}f}"


def _points(rate: float) -> str:
    """Format a difference of error rates in percentage points, with its sign."""
    return f"{100 * rate:+.2f}".replace("-", MINUS)


def _p_value(p: float) -> str:
    """Format a p-value."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}"


def _duration(seconds: float) -> str:
    """Format a duration in seconds."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
