"""Tables of the tuning sweep: WER on dev for each LM scale and word insertion bonus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cell:
    """Result of one pair of LM scale and word insertion bonus.

    Args:
        wer: word error rate on dev.
        heat: colour of the cell, from 0 (lowest WER of the table) to 1 (highest).
        chosen: whether decoding uses this pair.
    """

    wer: float
    heat: float
    chosen: bool


@dataclass(frozen=True)
class SweepTable:
    """All pairs evaluated for one system.

    Args:
        system: name of the system.
        scales: LM scales, ascending (columns).
        bonuses: word insertion bonuses, ascending (rows).
        rows: rows[bonus][scale]; None for pairs that were not evaluated.
    """

    system: str
    scales: list[float]
    bonuses: list[float]
    rows: list[list[Cell | None]]


def sweep_tables(tuned: Mapping[str, Any]) -> list[SweepTable]:
    """Return the tables of all systems of a tuned.json.

    Args:
        tuned: {"systems": {name: {"lm_scale", "word_insertion_bonus", "sweep": [point, ...]}}}, where a point is
            {"lm_scale", "word_insertion_bonus", "wer"}. Systems without a sweep are left out.
    """
    systems = tuned.get("systems", {})
    return [_table(name, entry) for name, entry in systems.items() if entry.get("sweep")]


def _table(system: str, entry: Mapping[str, Any]) -> SweepTable:
    tried = {_setting(point): float(point["wer"]) for point in entry["sweep"]}
    scales = sorted({scale for scale, _ in tried})
    bonuses = sorted({bonus for _, bonus in tried})
    chosen, best = _setting(entry), min(tried.values())
    span = max(max(tried.values()) - best, 1e-9)

    def cell(scale: float, bonus: float) -> Cell | None:
        wer = tried.get((scale, bonus))
        if wer is None:
            return None
        # The square root increases the contrast near the best pair.
        return Cell(wer, ((wer - best) / span) ** 0.5, (scale, bonus) == chosen)

    return SweepTable(system, scales, bonuses, [[cell(s, b) for s in scales] for b in bonuses])


def _setting(point: Mapping[str, Any]) -> tuple[float, float]:
    return float(point["lm_scale"]), float(point["word_insertion_bonus"])
