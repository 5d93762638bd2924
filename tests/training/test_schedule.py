"""Learning rate, share of CTC and steps by position."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augmem.training import TrainingConfig
from augmem.training.schedule import Schedule


def test_learning_rate_rises_then_falls_to_min_lr_ratio() -> None:
    schedule = Schedule(TrainingConfig(learning_rate=1e-3, warmup_steps=10, min_lr_ratio=0.1), [100])
    rates = [schedule.learning_rate(step) for step in range(101)]
    assert all(earlier < later for earlier, later in pairwise(rates[:11]))
    assert all(earlier > later for earlier, later in pairwise(rates[10:]))
    assert rates[10] == pytest.approx(1e-3) and rates[100] == pytest.approx(1e-4)


@given(start=st.floats(0, 10), length=st.floats(0, 5), floor=st.floats(0, 1), at=st.integers(0, 80))
def test_ctc_weight_falls_from_one_to_the_floor(start: float, length: float, floor: float, at: int) -> None:
    schedule = Schedule(TrainingConfig(ctc_epochs=start, hand_over_epochs=length, ctc_floor=floor), [4] * 20)
    weights = [schedule.ctc_weight(*divmod(batch, 4)) for batch in range(80)]
    assert all(floor - 1e-9 <= later <= earlier <= 1 for earlier, later in pairwise(weights))
    if at / 4 <= start:
        assert schedule.ctc_weight(*divmod(at, 4)) == 1
    if at / 4 >= start + length + 1e-6:
        assert schedule.ctc_weight(*divmod(at, 4)) == floor


def test_steps_group_the_batches_of_an_epoch_and_resume_inside_it() -> None:
    schedule = Schedule(TrainingConfig(accumulate=3), [7, 6])
    assert schedule.total_steps == 5
    assert schedule.steps_of_epoch(0) == [range(3), range(3, 6), range(6, 7)]
    assert schedule.steps_of_epoch(1, first_batch=3) == [range(3, 6)]
    assert Schedule(TrainingConfig(max_steps=2), [7, 6]).total_steps == 2
