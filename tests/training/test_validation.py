"""Unit sequences from frame outputs."""

from __future__ import annotations

from augmem.training.validation import collapse_outputs


def test_repetitions_are_merged_and_blanks_and_silences_removed() -> None:
    class Units:
        blank = 0
        silent_ids = (0, 1)

    outputs, unit_of = [0, 1, 2, 2, 0, 5, 3, 4, 4, 3, 0], [0, 1, 2, 3, 1, 2]
    assert collapse_outputs(Units(), outputs, unit_of) == [2, 2, 3, 3]  # type: ignore[arg-type]
