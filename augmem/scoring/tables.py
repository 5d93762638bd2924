"""Plain-text tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percent(rate: float, digits: int = 2) -> str:
    """0.1234 as "12.34"; a dash where there is nothing to divide by."""
    return "-" if math.isnan(rate) else f"{100 * rate:.{digits}f}"


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Columns with a rule below the head.

    Args:
        head: names of the columns
        rows: cells, as many in each row as in `head`
        left: how many leading columns are flushed left (names); the rest, numbers, are flushed right
    """
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        flushed = (
            f"{cell:<{width}}" if column < left else f"{cell:>{width}}"
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(flushed).rstrip()

    return "\n".join([line(head), "  ".join("-" * width for width in widths), *map(line, rows)])
