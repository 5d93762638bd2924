"""Times as Praat's TextGrids, which phoneticians and the Montreal Forced Aligner's tools read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from praatio import textgrid
from praatio.utilities.constants import Interval

from augmem.files import atomic_path


def write_textgrid(path: Path, tiers: Mapping[str, Sequence[tuple[str, float, float]]], seconds: float) -> None:
    """Write interval tiers over `seconds` of audio, gaps filled with empty intervals.

    Args:
        tiers: name -> (label, begin, end) in order, seconds.
    """
    grid = textgrid.Textgrid(0, seconds)
    for name, items in tiers.items():
        intervals = [Interval(begin, min(end, seconds), label) for label, begin, end in items if begin < seconds]
        grid.addTier(textgrid.IntervalTier(name, intervals, 0, seconds))
    with atomic_path(path) as temporary:
        grid.save(str(temporary), format="long_textgrid", includeBlankSpaces=True)
