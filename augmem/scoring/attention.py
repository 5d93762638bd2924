"""Plots of the attention of one segment: to the memory bank, left context, centre and right context."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

INK = "#26303a"
COLOURS = {"memory": "#c2571a", "left": "#9db8d2", "centre": "#3a78b5", "right": "#7fb59a"}
OTHER_COLOUR = "#b7b7b7"
MAPS = 3  # number of attention maps in `plot_attention`

Floats = NDArray[np.float64]
Groups = Sequence[tuple[str, int]]


def plot_attention(weights: Sequence[ArrayLike], groups: Groups, frame_shift: float = 0.04) -> bytes:
    """Plot the attention of one segment: shares of each layer, memory slots of each head, maps of three heads.

    Args:
        weights: (heads, queries, columns) of each layer; rows sum to 1.
        groups: name and width of each group of columns, from left to right; widths sum to `columns`. Names other than
            "memory", "left", "centre" and "right" are drawn in grey.
        frame_shift: seconds from one query to the next.

    Returns:
        the plot as PNG.

    Raises:
        ValueError: shapes of weights and groups differ.
    """
    from matplotlib.figure import Figure  # takes two seconds to import

    layers = [np.asarray(layer, dtype=np.float64) for layer in weights]
    _check_shapes(layers, groups)
    memory = memory_size(groups) > 0
    figure = Figure(figsize=(9.2, 6.6 if memory else 5.4), layout="constrained", facecolor="white")
    top, bottom = np.asarray(figure.subfigures(2, 1, height_ratios=(1.15, 1)))
    axes = top.subplots(1, 1 + memory, width_ratios=(1.25, 1)[: 1 + memory], squeeze=False)[0]
    _draw_shares(axes[0], layers, groups)
    if memory:
        _draw_memory(top, axes[1], layers, groups)
    _draw_maps(bottom, layers, groups, frame_shift)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150)
    return stream.getvalue()


def plot_heads(weights: Sequence[ArrayLike], groups: Groups, frame_shift: float = 0.04) -> bytes:
    """Plot the attention maps of one segment: one row per layer, one column per head.

    Arguments, result and errors are as in `plot_attention`. Layers may have different numbers of queries.
    """
    from matplotlib.figure import Figure

    layers = [np.asarray(layer, dtype=np.float64) for layer in weights]
    _check_shapes(layers, groups)
    heads = max(layer.shape[0] for layer in layers)
    size = (2.2 * heads + 0.8, 1.9 * len(layers) + 0.6)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    grid = figure.subplots(len(layers), heads, squeeze=False)
    for number, (row, layer) in enumerate(zip(grid, layers, strict=True), 1):
        for head, (axes, attention) in enumerate(zip(row, layer, strict=True), 1):
            _draw_map(axes, attention, groups, frame_shift)
            axes.set_title(f"head {head}" if number == 1 else "", fontsize=9, color=INK, pad=21)
            axes.tick_params(labelleft=head == 1)
        row[0].set_ylabel(f"layer {number}\nseconds", color=INK, fontsize=8.5)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, bbox_inches="tight")
    return stream.getvalue()


def group_shares(layer: Floats, groups: Groups) -> list[float]:
    """Compute the mean share of attention of each group in a layer (heads, queries, columns)."""
    return [float(layer[..., columns].sum(axis=-1).mean()) for _, columns in group_slices(groups)]


def group_slices(groups: Groups) -> list[tuple[str, slice]]:
    """Return the columns of each group."""
    ends = np.cumsum([width for _, width in groups])
    return [(name, slice(int(end) - width, int(end))) for (name, width), end in zip(groups, ends, strict=True)]


def memory_size(groups: Groups) -> int:
    """Return the number of memory slots."""
    return sum(width for name, width in groups if name == "memory")


def _check_shapes(layers: Sequence[Floats], groups: Groups) -> None:
    columns = sum(width for _, width in groups)
    if not layers or not columns:
        raise ValueError("no attention to plot: pass at least one layer and one column")
    for number, layer in enumerate(layers, 1):
        if layer.ndim != 3 or layer.shape[-1] != columns or not layer.size:
            raise ValueError(
                f"attention of layer {number} has shape {layer.shape}; expected (heads, queries, {columns}), "
                f"because the groups {list(groups)} have {columns} columns"
            )


def _draw_shares(axes: Axes, layers: Sequence[Floats], groups: Groups) -> None:
    """Draw one stacked bar per layer."""
    shares: Floats = np.array([group_shares(layer, groups) for layer in layers])
    starts: Floats = np.cumsum(shares, axis=1) - shares
    names = [f"layer {number}" for number in range(1, len(layers) + 1)]
    for column, (name, width) in enumerate(groups):
        if width:
            label = f"memory ({width} slots)" if name == "memory" else f"{name} ({width} frames)"
            colour = COLOURS.get(name, OTHER_COLOUR)
            axes.barh(names, 100 * shares[:, column], left=100 * starts[:, column], color=colour, label=label)
            _write_shares(axes, 100 * shares[:, column], 100 * starts[:, column])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("attention (%)", color=INK, fontsize=8.5)
    axes.set_title("Attention by layer", loc="left", fontsize=11, fontweight="bold", color=INK, pad=24)
    axes.legend(
        ncols=4, loc="lower left", bbox_to_anchor=(-0.02, 0.98), frameon=False, fontsize=7.5,
        columnspacing=1, handlelength=1, labelcolor=INK,
    )  # fmt: skip
    _hide_frame(axes)


def _write_shares(axes: Axes, shares: Floats, starts: Floats) -> None:
    """Write the shares into bars that are wide enough."""
    for row, (share, start) in enumerate(zip(shares, starts, strict=True)):
        if share >= 8:
            axes.text(start + share / 2, row, f"{share:.0f}", ha="center", va="center", color="white", fontsize=8)


def _draw_memory(panel: FigureBase, axes: Axes, layers: Sequence[Floats], groups: Groups) -> None:
    """Draw the attention of each head to each memory slot, one row per head."""
    columns = dict(group_slices(groups))["memory"]
    rows = np.concatenate([layer[..., columns].mean(axis=1) for layer in layers])
    image = axes.imshow(100 * rows, aspect="auto", cmap="Oranges", interpolation="nearest", vmin=0)
    heads = [layer.shape[0] for layer in layers]
    ends = np.cumsum(heads)
    axes.hlines(ends[:-1] - 0.5, -0.5, rows.shape[1] - 0.5, color=INK, linewidth=0.6)
    axes.set_yticks(ends - np.array(heads) / 2 - 0.5, [f"layer {n}" for n in range(1, len(heads) + 1)])
    shown = np.arange(0, rows.shape[1], math.ceil(rows.shape[1] / 8))
    axes.set_xticks(shown, [f"{slot + 1}" for slot in shown])
    axes.set_xlabel("memory slot (1: oldest segment)", color=INK, fontsize=8.5)
    axes.set_title("Attention to memory slots by head", loc="left", fontsize=11, fontweight="bold", color=INK, pad=24)
    bar = panel.colorbar(image, ax=axes, shrink=0.9, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label("attention (%)", fontsize=8.5, color=INK)
    bar.ax.tick_params(length=0, labelsize=8.5, colors=INK)
    _hide_frame(axes)


def _draw_maps(panel: FigureBase, layers: Sequence[Floats], groups: Groups, frame_shift: float) -> None:
    """Draw the maps of the heads with the most attention to memory; without memory, of the first heads."""
    memory = dict(group_slices(groups)).get("memory", slice(0, 0))
    heads = [(number, head) for number, layer in enumerate(layers) for head in range(layer.shape[0])]
    ranked = sorted(heads, key=lambda at: -layers[at[0]][at[1]][:, memory].sum(axis=-1).mean())[:MAPS]
    title = "Heads with the most attention to memory" if memory_size(groups) else "First heads"
    panel.suptitle(f"{title}, by query", x=0.008, ha="left", fontsize=11, fontweight="bold", color=INK)
    axes = np.atleast_1d(panel.subplots(1, len(ranked), sharey=True))
    for place, (number, head) in zip(axes, ranked, strict=True):
        _draw_map(place, layers[number][head], groups, frame_shift)
        place.set_title(f"layer {number + 1}, head {head + 1}", fontsize=9, color=INK, pad=21)
    axes[0].set_ylabel("time in the segment (s)", color=INK, fontsize=8.5)


def _draw_map(axes: Axes, attention: Floats, groups: Groups, frame_shift: float) -> None:
    """Draw the map of one head: one row per query, one column per key."""
    from matplotlib.colors import PowerNorm

    queries, columns = attention.shape
    # The square root makes small weights visible.
    norm = PowerNorm(0.5, vmin=0, vmax=float(np.quantile(attention, 0.995)) or 1.0)
    extent = (-0.5, columns - 0.5, queries * frame_shift, 0)
    axes.imshow(attention, aspect="auto", cmap="Blues", norm=norm, interpolation="nearest", extent=extent)
    for name, part in group_slices(groups):
        if part.stop == part.start:
            continue
        colour = COLOURS.get(name, OTHER_COLOUR)
        axes.axvspan(part.start - 0.5, part.stop - 0.5, ymin=1.0, ymax=1.03, color=colour, clip_on=False)
        axes.axvline(part.stop - 0.5, color=INK, linewidth=0.5)
        middle = (part.start + part.stop - 1) / 2
        axes.text(middle, -0.045 * queries * frame_shift, name, ha="center", va="bottom", fontsize=7, color=INK)
    axes.set_xticks([])
    _hide_frame(axes)


def _hide_frame(axes: Axes) -> None:
    """Hide frame and tick marks; use small tick labels."""
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=8.5, colors=INK)
