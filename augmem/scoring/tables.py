"""Plain-text tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percent(rate: float) -> str:
    """Format a rate in percent: 0.1234 as "12.34", NaN as a dash."""
    return "-" if math.isnan(rate) else f"{100 * rate:.2f}"


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Format a table with a rule below the header.

    Args:
        head: names of the columns.
        rows: cells of each row, one per column.
        left: number of leading columns that are left-aligned; the others are right-aligned.
    """
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        aligned = (
            f"{cell:<{width}}" if column < left else f"{cell:>{width}}"
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(aligned).rstrip()

    return "\n".join([line(head), "  ".join("-" * width for width in widths), *map(line, rows)])
