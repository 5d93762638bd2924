"""SVG charts of the report, in the text colour of the page, so that they suit light and dark mode."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from augmem.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#010203"  # placeholder; replaced by the text colour of the page
BLUE, ORANGE, GREEN, VIOLET = "#3f8fd2", "#e2813b", "#35a27b", "#9a76d6"  # readable on white and on black

SMOOTHING = 40
MIN_WORDS_OF_POINT = 10  # of a point of the calibration chart

Line = Mapping[str, Any]
Points = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class Chart:
    """One chart of the report.

    Args:
        title: heading above the chart.
        caption: explanation below the chart.
        svg: <svg> element without external references.
    """

    title: str
    caption: str
    svg: str


def read_training_log(path: Path) -> list[Line]:
    """Read the lines of a training log with flat keys. A truncated last line is left out.

    Raises:
        UserError: another line is not JSON; the message has file and line number.
    """
    lines: list[Line] = []
    texts = path.read_text(encoding="utf-8").splitlines()
    for number, text in enumerate(texts, 1):
        try:
            lines.append(flatten_keys(json.loads(text)))
        except json.JSONDecodeError as error:
            if number < len(texts):
                raise UserError(f"{path}, line {number}: not JSON ({error}); remove the line") from error
    return lines


def flatten_keys(line: Mapping[str, Any]) -> Line:
    """Join nested keys: {"dev": {"loss": 1}} becomes {"dev_loss": 1}."""
    flat: dict[str, Any] = {}
    for name, value in line.items():
        inner = flatten_keys(value) if isinstance(value, Mapping) else {"": value}
        flat |= {f"{name}_{key}".rstrip("_"): figure for key, figure in inner.items()}
    return flat


def training_charts(log: Sequence[Line]) -> list[Chart]:
    """Draw the charts of a training log; charts without points are left out.

    Args:
        log: lines of kind "step" (training) and "epoch" (validation); any key may be missing.
    """
    makers = (_loss_chart, _error_chart, _objective_chart, _schedule_chart)
    return [chart for maker in makers if (chart := maker(log)) is not None]


def _loss_chart(log: Sequence[Line]) -> Chart | None:
    train, dev = points(log, "step", "loss"), points(log, "epoch", "dev_loss")
    ctc = points(log, "step", "ctc")
    if not has_points(train, dev):
        return None

    def draw(axes: Axes) -> None:
        _plot_smoothed(axes, train, BLUE, "training")
        if has_points(ctc) and not np.array_equal(ctc[1], train[1]):
            axes.plot(*smooth(ctc), color=VIOLET, linewidth=1.2, linestyle="--", label="CTC")
        axes.plot(*dev, color=ORANGE, marker="o", markersize=3.5, label="dev")
        _limit_y_axis(axes, [train, dev, ctc])

    caption = (
        "Negative objective per frame. The loss jumps where the objective changes from CTC to LF-MMI: losses of "
        "different objectives are not comparable."
    )
    return Chart("Loss per frame", caption, _svg("loss", draw, "nats per frame"))


def _error_chart(log: Sequence[Line]) -> Chart | None:
    rate = points(log, "epoch", "dev_unit_error_rate", "unit_error_rate")
    if not has_points(rate):
        return None

    def draw(axes: Axes) -> None:
        axes.plot(rate[0], 100 * rate[1], color=ORANGE, marker="o", markersize=3.5)
        axes.set_ylim(0, 115 * float(np.max(rate[1])) or 1.0)  # space for the value above the last point
        axes.annotate(
            f"{100 * rate[1][-1]:.1f} %", (rate[0][-1], 100 * rate[1][-1]), xytext=(0, 9),
            textcoords="offset points", ha="right", color=INK, fontsize=9, fontweight="bold",
        )  # fmt: skip

    caption = (
        "Error rate of phones (or other units) on dev, without lexicon and word language model. With LF-MMI the phone "
        "language model P is included."
    )
    return Chart("Unit error rate", caption, _svg("errors", draw, "%", legend=None))


def _objective_chart(log: Sequence[Line]) -> Chart | None:
    numerator = points(log, "step", "numerator", "num_per_frame")
    denominator = points(log, "step", "denominator", "den_per_frame")
    if not has_points(numerator, denominator):
        return None

    def draw(axes: Axes) -> None:
        axes.plot(*smooth(numerator), color=GREEN, label="numerator")
        axes.plot(*smooth(denominator), color=VIOLET, linestyle="--", label="denominator")
        _limit_y_axis(axes, [smooth(numerator), smooth(denominator)])

    caption = (
        "Log scores of the transcript (numerator) and of all unit sequences (denominator). Training reduces their "
        "difference; the numerator is at most the denominator."
    )
    return Chart("LF-MMI numerator and denominator", caption, _svg("objective", draw, "log score per frame"))


def _schedule_chart(log: Sequence[Line]) -> Chart | None:
    rate, norm = points(log, "step", "learning_rate", "lr"), points(log, "step", "grad_norm")
    if not has_points(rate, norm):
        return None

    def draw(axes: Axes) -> None:
        for (x, y), colour, label in (
            (rate, GREEN, "learning rate"),
            (smooth(norm), BLUE, "gradient norm"),
        ):
            if y.size and np.nanmax(y) > 0:
                axes.plot(x, y / np.nanmax(y), color=colour, label=f"{label} (maximum {np.nanmax(y):.2g})")
        axes.set_ylim(0, 1.35)

    caption = "Each curve is divided by its maximum."
    return Chart("Learning rate and gradient", caption, _svg("schedule", draw, "value / maximum"))


def points(log: Sequence[Line], kind: str, *names: str) -> Points:
    """Return steps and values of a curve, from lines of `kind` with a finite value.

    Args:
        log: lines of the log.
        kind: "step" or "epoch".
        names: keys of the value; the first one that a line has is used.
    """
    found = []
    for line in log:
        value = next((line[name] for name in names if name in line), None)
        if line.get("kind") == kind and "step" in line and value is not None:
            found.append((float(line["step"]), _number(value)))
    finite = [(step, value) for step, value in found if math.isfinite(value)]
    x, y = (np.array(column, dtype=np.float64) for column in (zip(*finite, strict=True) if finite else ((), ())))
    return x, y


def _number(value: Any) -> float:
    """Convert to a float; NaN if that is not possible."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def has_points(*series: Points) -> bool:
    """Return whether one of the curves has a point."""
    return any(y.size for _, y in series)


def smooth(series: Points) -> Points:
    """Compute the running mean over 1/SMOOTHING of the curve; the window is shorter at the ends."""
    x, y = series
    half = y.size // (2 * SMOOTHING)
    if not half:
        return series
    window = np.ones(2 * half + 1)
    return x, np.convolve(y, window, mode="same") / np.convolve(np.ones(y.size), window, mode="same")


def _plot_smoothed(axes: Axes, series: Points, colour: str, label: str) -> None:
    """Plot a curve in a faint colour, and its running mean."""
    axes.plot(*series, color=colour, alpha=0.25, linewidth=0.8)
    axes.plot(*smooth(series), color=colour, label=label)


def _limit_y_axis(axes: Axes, series: Sequence[Points]) -> None:
    """Limit the y axis to the 97th percentile: the first losses are much larger than the others."""
    values = np.concatenate([y for _, y in series])
    low, high = np.min(values), np.percentile(values, 97)
    margin = 0.06 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + 6 * margin)  # space for the legend


def reliability_chart(tuned: Mapping[str, Any]) -> Chart | None:
    """Draw accuracy against confidence on dev, for every calibrated system of a tuned.json."""
    systems = {name: s["reliability"] for name, s in tuned.get("systems", {}).items() if s.get("reliability")}
    if not systems:
        return None

    def draw(axes: Axes) -> None:
        axes.plot([0, 100], [0, 100], color=INK, alpha=0.4, linewidth=0.8, linestyle="--", label="ideal")
        for colour, (name, bins) in zip((BLUE, ORANGE, GREEN, VIOLET), systems.items(), strict=False):
            drawn = [point for point in bins if point["words"] >= MIN_WORDS_OF_POINT]
            confidence, accuracy = ([100 * point[key] for point in drawn] for key in ("confidence", "accuracy"))
            axes.plot(confidence, accuracy, color=colour, marker="o", markersize=3.5, label=name.replace("_", " "))
        axes.set_ylim(0, 105)

    words = ", ".join(f"{name.replace('_', ' ')} {sum(p['words'] for p in bins):,}" for name, bins in systems.items())
    caption = (
        f"Of the words with a confidence of 80 %, 80 % should be correct. Words on dev: {words}. Points of fewer than "
        f"{MIN_WORDS_OF_POINT} words are not drawn."
    )
    return Chart(
        "Calibration of confidences", caption, _svg("reliability", draw, "accuracy (%)", "confidence (%)", "best")
    )


DELAYS = {  # keys of latency.json
    "words": "word",
    "first_partial": "first partial result",
    "final": "final result",
}


def latency_chart(latency: Mapping[str, Any]) -> Chart | None:
    """Draw the distributions of the delays in a latency.json."""
    measured = {key: np.sort(latency[key]) for key in DELAYS if latency.get(key)}
    if not measured:
        return None

    def draw(axes: Axes) -> None:
        for colour, (key, values) in zip((BLUE, ORANGE, GREEN), measured.items(), strict=False):
            share = 100 * np.arange(1, len(values) + 1) / len(values)
            axes.step(values, share, color=colour, where="post", label=DELAYS[key])
        axes.set_ylim(0, 105)

    svg = _svg("latency", draw, "share (%)", "delay (s)", "lower right")
    return Chart("Distribution of delays", "Share of words or utterances whose delay is at most that.", svg)


def delay_rows(latency: Mapping[str, Any]) -> list[tuple[str, int, float, float]]:
    """Return name, number, median and 95th percentile of each kind of delay in a latency.json."""
    return [
        (text, len(latency[key]), float(np.median(latency[key])), float(np.percentile(latency[key], 95)))
        for key, text in DELAYS.items()
        if latency.get(key)
    ]


def _svg(
    name: str,
    draw: Callable[[Axes], None],
    y_label: str,
    x_label: str = "training step",
    legend: str | None = "upper right",
) -> str:
    """Draw a chart.

    Args:
        name: makes the ids of its elements unique in the page.
        draw: draws the curves.
        y_label, x_label: labels of the axes.
        legend: place of the legend; None: no legend.
    """
    import matplotlib  # takes two seconds to import
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    style = {
        "svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif", "font.size": 9.5,
        "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK,
    }  # fmt: skip
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(4.6, 2.9), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.grid(color=INK, alpha=0.13, linewidth=0.7)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        if legend:
            axes.legend(frameon=False, loc=legend, fontsize=8.5)
        return to_svg(figure)


def to_svg(figure: Figure) -> str:
    """Convert a figure to an <svg> element: transparent, full width, in the text colour of the page."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r' (xmlns(:\w+)?|version)="[^"]*"', "", text)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # it would apply to the whole page
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    return text.replace(INK, "currentColor").replace("<svg", '<svg role="img"', 1)
