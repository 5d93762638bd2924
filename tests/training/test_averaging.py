"""Averaging over epochs and over steps."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from augmem.training.averaging import RunningAverage, has_stalled, select_best_epochs


@given(st.dictionaries(st.integers(1, 30), st.floats(0, 5), min_size=1), st.integers(1, 5))
def test_no_other_epoch_is_better_than_the_selected_ones(losses: dict[int, float], count: int) -> None:
    best = select_best_epochs(losses, count)
    assert best == sorted(best) and len(best) == min(count, len(losses))
    others = [loss for epoch, loss in losses.items() if epoch not in best]
    assert max(losses[epoch] for epoch in best) <= min(others, default=math.inf)


def test_the_running_average_is_the_weighted_sum_of_all_weights() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    history = [1.0, 4.0, -2.0, 8.0]
    model.weight.data.fill_(history[0])
    average = RunningAverage(model, decay=0.2)
    for value in history[1:]:
        model.weight.data.fill_(value)
        average.update(model)
    keep = [0.1, 2 / 11, 0.2]  # n / (n + 9), at most the decay
    shares = [math.prod(keep)] + [(1 - keep[n]) * math.prod(keep[n + 1 :]) for n in range(3)]
    assert sum(shares) == pytest.approx(1)
    assert float(average.weights["weight"]) == pytest.approx(sum(s * v for s, v in zip(shares, history, strict=True)))


def test_training_has_stalled_after_patience_epochs_without_improvement() -> None:
    losses = {3: 0.5, 4: 0.4, 5: 0.4, 6: 0.45}
    assert has_stalled(losses, patience=2) and not has_stalled(losses, patience=3)
    assert not has_stalled(losses, None) and not has_stalled({}, patience=1)
