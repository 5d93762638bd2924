"""The scripts that measure kernels: in a small form on a CPU."""

from __future__ import annotations

import torch

from benchmarks.gpu import SMALL, markdown, measure
from benchmarks.kernels import LaunchCounter, count_parts


def test_all_encoders_agree_with_float64_and_every_table_is_filled() -> None:
    report = measure(SMALL, torch.device("cpu"))
    differences = [value for row in report["largest difference to float64"].values() for value in row.values()]
    assert len(differences) == 16 and max(differences) < 1e-4
    assert all(value > 0 for row in report["milliseconds per step"].values() for value in (row["float32"],))
    assert 0 < report["whole step"]["share of the objective"] < 1
    assert len(report["largest kernels"]) == 10
    assert markdown(report).count("\n|---|") == 4


def test_views_and_allocations_are_no_launches() -> None:
    x = torch.ones(4, 3)
    with LaunchCounter() as counter:
        torch.empty(4).add_(1)
        (x.t()[1:].reshape(-1) * 2).sum()
    assert counter.launches == {"add_": 1, "clone": 1, "mul": 1, "sum": 1}


def test_launches_grow_slowly_with_segments_and_frames() -> None:
    few, more = count_parts(1, 3), count_parts(1, 4)  # 32 output frames more
    grown = {part: more[part].total() - few[part].total() for part in few}
    assert grown["encoder"] <= 7
    assert grown["CTC"] <= 5 * 32
    assert grown["LF-MMI"] <= 9 * 32
