"""Charts, attention plots, sweep tables and provenance."""

import io
import math
import re
import subprocess
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from augmem.scoring.attention import group_shares, plot_attention
from augmem.scoring.environment import git_commit, provenance
from augmem.scoring.figures import flatten_keys, points, reliability_chart, smooth, training_charts
from augmem.scoring.sweep import sweep_tables


def test_points_use_the_first_key_and_skip_non_finite_values() -> None:
    log = [
        {"kind": "step", "step": 1, "lr": 0.5},
        {"kind": "step", "step": 2, "learning_rate": "nan"},
        {"kind": "step", "step": 3, "learning_rate": None, "lr": 2},
        {"kind": "epoch", "step": 4, "lr": 9},
        {"kind": "step", "lr": 9},
        {"kind": "step", "step": 6, "learning_rate": 7.0},
    ]
    x, y = points(log, "step", "learning_rate", "lr")
    assert x.tolist() == [1, 6] and y.tolist() == [0.5, 7.0]


def test_nested_keys_are_joined() -> None:
    line = flatten_keys({"kind": "epoch", "step": 1, "dev": {"loss": 2.0, "by": {"part": 3.0}}})
    assert line == {"kind": "epoch", "step": 1, "dev_loss": 2.0, "dev_by_part": 3.0}


def test_smoothing_keeps_constants_and_short_curves() -> None:
    x = np.arange(400.0)
    assert np.allclose(smooth((x, np.full(400, 3.0)))[1], 3.0)
    short = (x[:5], x[:5])
    assert smooth(short) is short
    noise = np.random.default_rng(0).normal(size=400)
    assert smooth((x, noise))[1].std() < 0.5 * noise.std()


@pytest.mark.parametrize("log", [[], [{"kind": "epoch", "step": 1}], [{"kind": "step", "step": 1, "loss": "nan"}]])
def test_an_empty_log_gives_no_charts(log: list) -> None:
    assert training_charts(log) == []


def test_a_single_point_is_drawn() -> None:
    charts = training_charts([{"kind": "step", "step": 1, "loss": 2.0, "numerator": -1.0, "grad_norm": 0.0}])
    assert [chart.title for chart in charts] == [
        "Loss per frame",
        "LF-MMI numerator and denominator",
        "Learning rate and gradient",
    ]
    assert all(chart.svg.startswith("<svg") and "currentColor" in chart.svg for chart in charts)


def test_the_value_of_the_last_unit_error_rate_is_inside_the_chart_and_not_on_a_legend() -> None:
    """Two epochs: the last point was in the upper right corner, where the legend was."""
    log = [{"kind": "epoch", "step": step, "dev_unit_error_rate": rate} for step, rate in ((670, 0.508), (1345, 0.435))]
    (chart,) = training_charts(log)
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", chart.svg)
    assert "43.5 %" in texts and "dev" not in texts


def test_points_of_few_words_are_not_drawn() -> None:
    bins = [
        {"confidence": 0.06, "accuracy": 1.0, "words": 1},
        {"confidence": 0.5, "accuracy": 0.4, "words": 90},
        {"confidence": 0.9, "accuracy": 0.8, "words": 900},
    ]
    chart = reliability_chart({"systems": {"first_pass": {"reliability": bins}}})
    assert chart is not None
    rare = reliability_chart({"systems": {"first_pass": {"reliability": bins[1:]}}})
    assert rare is not None and chart.svg == rare.svg
    assert "first pass 991" in chart.caption and "fewer than 10 words" in chart.caption


def attention(layers: int, heads: int, queries: int, columns: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(layers, heads, queries, columns))
    weights = np.exp(scores)
    return list(weights / weights.sum(axis=-1, keepdims=True))


@pytest.mark.parametrize(
    "groups",
    [
        [("memory", 3), ("left", 4), ("centre", 8), ("right", 2)],
        [("memory", 0), ("left", 0), ("centre", 8), ("right", 0)],
        [("memory", 1), ("centre", 8), ("future", 2)],
    ],
)
def test_attention_plot_of_any_groups(groups: list[tuple[str, int]]) -> None:
    png = plot_attention(attention(2, 1, 8, sum(width for _, width in groups)), groups)
    height, width, _ = matplotlib.image.imread(io.BytesIO(png), format="png").shape
    assert width > height > 400


def test_shares_are_means_that_sum_to_one() -> None:
    groups = [("memory", 3), ("left", 4), ("centre", 8)]
    (layer,) = attention(1, 2, 8, 15)
    shares = group_shares(layer, groups)
    assert sum(shares) == pytest.approx(1)
    assert shares[0] == pytest.approx(layer[:, :, :3].sum() / 16)


def test_attention_of_a_wrong_shape_raises_an_error() -> None:
    with pytest.raises(ValueError, match=r"layer 1 has shape \(2, 8, 15\).*have 14 columns"):
        plot_attention(attention(1, 2, 8, 15), [("memory", 14)])
    with pytest.raises(ValueError, match="no attention"):
        plot_attention([], [("memory", 14)])


def test_sweep_table_is_sorted_and_marks_the_chosen_pair() -> None:
    sweep = [
        {"lm_scale": s, "word_insertion_bonus": p, "wer": w}
        for s, p, w in [(1.5, 0, 0.3), (0.5, 0, 0.5), (0.5, -1, 0.4)]
    ]
    tuned = {"systems": {"one": {"lm_scale": 1.5, "word_insertion_bonus": 0, "sweep": sweep}, "two": {"lm_scale": 1}}}
    (table,) = sweep_tables(tuned)
    assert (table.scales, table.bonuses) == ([0.5, 1.5], [-1, 0])
    assert table.rows[0][1] is None
    chosen = table.rows[1][1]
    assert chosen is not None and chosen.chosen and chosen.heat == 0 and chosen.wer == 0.3
    worst = table.rows[1][0]
    assert worst is not None and worst.heat == 1 and not worst.chosen


def test_heat_is_zero_if_all_pairs_have_the_same_wer() -> None:
    sweep = [{"lm_scale": s, "word_insertion_bonus": 0, "wer": 0.2} for s in (1, 2)]
    (table,) = sweep_tables({"systems": {"one": {**sweep[0], "sweep": sweep}}})
    assert all(cell is not None and math.isclose(cell.heat, 0) for row in table.rows for cell in row)


def test_provenance_contains_versions_and_machine() -> None:
    found = provenance()
    assert "kaldialign" in found["versions"] and "cores" in found["machine"]


def test_commit_counts_changed_files(tmp_path: Path) -> None:
    assert git_commit(tmp_path) == "unknown"

    def git(*command: str) -> str:
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        run = ["git", "-C", str(tmp_path), *identity, *command]
        return subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-qm", "first")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "installed").mkdir()
    (tmp_path / "installed" / "other").write_text("not in the repository")
    assert git_commit(tmp_path / "installed") == "unknown"
    (tmp_path / "file").write_text("two")
    assert git_commit(tmp_path).endswith(" with 1 changed files")
