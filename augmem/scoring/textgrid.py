"""TextGrid files of Praat, which the tools of the Montreal Forced Aligner read too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from praatio import textgrid
from praatio.utilities.constants import Interval

from augmem.files import atomic_path


def write_textgrid(path: Path, tiers: Mapping[str, Sequence[tuple[str, float, float]]], seconds: float) -> None:
    """Write interval tiers; gaps become empty intervals.

    Args:
        path: file to write.
        tiers: name -> (label, begin, end) in temporal order, in seconds.
        seconds: duration of the audio.
    """
    grid = textgrid.Textgrid(0, seconds)
    for name, items in tiers.items():
        intervals = [Interval(begin, min(end, seconds), label) for label, begin, end in items if begin < seconds]
        grid.addTier(textgrid.IntervalTier(name, intervals, 0, seconds))
    with atomic_path(path) as temporary:
        grid.save(str(temporary), format="long_textgrid", includeBlankSpaces=True)
