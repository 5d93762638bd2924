"""Sessions: every cut once, in order, lanes with one session after another."""

from __future__ import annotations

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st
from lhotse import MonoCut, SupervisionSegment

from augmem.corpus.sessions import group_sessions, plan_sessions


def cut(recording: str, start: float, speaker: str) -> MonoCut:
    name = f"{recording}-{start:04.0f}"
    segment = SupervisionSegment(name, recording, 0, 2.0, text="A", speaker=speaker)
    return MonoCut(name, start, 2.0, 0, supervisions=[segment])


def cuts(shape: list[int]) -> list[MonoCut]:
    """Recordings with these numbers of cuts; every three recordings have the same speaker."""
    return [cut(f"r{n:02d}", 2.0 * i, f"s{n // 3}") for n, count in enumerate(shape) for i in range(count)]


SHAPES = st.lists(st.integers(1, 9), min_size=1, max_size=8)


@given(shape=SHAPES, most=st.integers(2, 4), seconds=st.floats(2, 20), seed=st.integers(0, 99))
def test_every_cut_occurs_once_in_order(shape: list[int], most: int, seconds: float, seed: int) -> None:
    everything = cuts(shape)
    plan = plan_sessions(everything, most, seconds, seed)
    turns = [turn for batch in plan for turn in batch]
    assert sorted(turn.cut.id for turn in turns) == sorted(c.id for c in everything)
    assert plan == plan_sessions(everything, most, seconds, seed)
    known = {tuple(c.id for c in session) for session in group_sessions(everything, most)}
    for lane in {turn.lane for turn in turns}:
        mine = [(turn.lane, turn) for batch in plan for turn in batch if turn.lane == lane]
        assert len(mine) == sum(any(turn.lane == lane for turn in batch) for batch in plan)  # once a batch
        number = 0
        starts = [number := number + turn.begins for _, turn in mine]
        for _, run in groupby(zip(starts, mine, strict=True), key=lambda pair: pair[0]):
            assert tuple(turn.cut.id for _, (_, turn) in run) in known


@given(shape=SHAPES, most=st.integers(2, 4))
def test_sessions_have_one_recording_or_one_speaker(shape: list[int], most: int) -> None:
    for session in group_sessions(cuts(shape), most):
        assert 1 <= len(session) <= most and session == sorted(session, key=lambda c: (c.start, c.id))
        recordings = {c.supervisions[0].recording_id for c in session}
        assert len(recordings) == 1 or len({c.supervisions[0].speaker for c in session}) == 1


def test_speeds_are_in_different_sessions() -> None:
    everything = [cut("a", 0, "s"), cut("b_sp0.9", 0, "s"), cut("c_sp0.9", 0, "s"), cut("d_sp1.1", 0, "s")]
    assert [len(session) for session in group_sessions(everything, 5)] == [1, 2, 1]
