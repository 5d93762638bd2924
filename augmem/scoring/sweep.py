"""The tuning sweep as tables: WER on dev for each language model scale and insertion penalty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One setting that was tried.

    Args:
        wer: word error rate on dev
        heat: 0 for the best setting of the table, 1 for those much worse
        chosen: whether this is the setting that decoding uses
    """

    wer: float
    heat: float
    chosen: bool


@dataclass(frozen=True)
class SweepTable:
    """All settings tried for one system.

    Args:
        system: its name
        scales: language model scales, ascending (columns)
        penalties: insertion penalties, ascending (rows)
        rows: rows[penalty][scale]; None where that pair was not tried
    """

    system: str
    scales: list[float]
    penalties: list[float]
    rows: list[list[Cell | None]]


def sweep_tables(tuned: Mapping[str, Any]) -> list[SweepTable]:
    """Tables of all systems in a tuned.json.

    Args:
        tuned: {"systems": {name: {"lm_scale", "word_insertion_bonus", "sweep": [point, ...]}}}, a point being
            {"lm_scale", "word_insertion_bonus", "wer"}; systems without a sweep are passed over.
    """
    systems = tuned.get("systems", {})
    return [_table(name, entry) for name, entry in systems.items() if entry.get("sweep")]


def _table(system: str, entry: Mapping[str, Any]) -> SweepTable:
    tried = {_setting(point): float(point["wer"]) for point in entry["sweep"]}
    scales = sorted({scale for scale, _ in tried})
    penalties = sorted({penalty for _, penalty in tried})
    chosen, best = _setting(entry), min(tried.values())
    span = max(max(tried.values()) - best, 1e-9)

    def cell(scale: float, penalty: float) -> Cell | None:
        wer = tried.get((scale, penalty))
        if wer is None:
            return None
        # The square root spreads the neighbourhood of the best setting, which is what one wants to see.
        return Cell(wer, ((wer - best) / span) ** 0.5, (scale, penalty) == chosen)

    return SweepTable(system, scales, penalties, [[cell(s, p) for s in scales] for p in penalties])


def _setting(point: Mapping[str, Any]) -> tuple[float, float]:
    return float(point["lm_scale"]), float(point["word_insertion_bonus"])
