"""Batches of consecutive utterances, for training that keeps the memory bank from one utterance to the next.

A session is a sequence of consecutive utterances. Sessions are distributed to lanes; batch n holds the n-th utterance
of every lane. After the end of a session, another starts in its lane.

    lane 0   a1 a2 a3 | c1 c2
    lane 1   b1 b2 | d1 d2 d3        sessions a to d; batch 0 is (a1, b1), batch 2 is (a3, d1)
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from lhotse import SupervisionSegment
from lhotse.cut import Cut

SESSION = "session"  # custom field of a supervision
_SPEED = re.compile(r"_sp[\d.]+$")  # appended by Lhotse to the names of recordings at another speed


def find_session(supervision: SupervisionSegment) -> str:
    """Return the session of an utterance: its chapter, or its recording.

    Errors within a session are correlated, so confidence intervals by session resample whole sessions.
    """
    return str((supervision.custom or {}).get(SESSION) or supervision.recording_id)


class LaneCut(NamedTuple):
    """A cut in a lane.

    Args:
        cut: the utterance.
        lane: number of the lane.
        begins: whether it is the first of a session.
    """

    cut: Cut
    lane: int
    begins: bool


def plan_sessions(cuts: Sequence[Cut], most: int, max_duration: float, seed: int) -> list[list[LaneCut]]:
    """Return all batches of an epoch in order; every cut occurs once.

    Args:
        cuts: cuts of all sessions, at least one.
        most: maximum number of cuts in a session.
        max_duration: mean duration of a batch in seconds, which determines the number of lanes.
        seed: random seed of the order of sessions.
    """
    found = group_sessions(cuts, most)
    random.Random(seed).shuffle(found)
    mean = sum(cut.duration for cut in cuts) / len(cuts)
    lanes: list[list[LaneCut]] = [[] for _ in range(max(1, min(len(found), int(max_duration / mean))))]
    for session in found:
        number = min(range(len(lanes)), key=lambda lane: len(lanes[lane]))
        lanes[number] += [LaneCut(cut, number, cut is session[0]) for cut in session]
    return [[lane[batch] for lane in lanes if batch < len(lane)] for batch in range(max(map(len, lanes)))]


def group_sessions(cuts: Sequence[Cut], most: int) -> list[list[Cut]]:
    """Group cuts into sessions of at most `most` consecutive cuts.

    The cuts of a recording are consecutive in order of time. The cuts of a speaker that are the only ones of their
    recordings are consecutive in order of their ids. Cuts of different speeds are in different sessions.

    Args:
        cuts: cuts with one supervision each.
        most: maximum number of cuts in a session.
    """
    shared = Counter(cut.supervisions[0].recording_id for cut in cuts)
    groups: dict[tuple[str, ...], list[Cut]] = defaultdict(list)
    for cut in cuts:
        recording, speaker = cut.supervisions[0].recording_id, cut.supervisions[0].speaker or ""
        speed = _SPEED.search(recording)
        alone = ("speaker", speaker, speed[0] if speed else "")
        groups[("recording", recording) if shared[recording] > 1 else alone].append(cut)
    runs = [sorted(group, key=lambda cut: (cut.start, cut.id)) for _, group in sorted(groups.items())]
    return [run[first : first + most] for run in runs for first in range(0, len(run), most)]
