"""Utterances in the order in which they were said, for training whose memory goes on from one to the next.

A session is a run of consecutive utterances; several run side by side in lanes, so that batch n holds the n-th
utterance of every lane. When a session ends another begins in its lane.
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
_SPEED = re.compile(r"_sp[\d.]+$")  # what Lhotse appends to the names of recordings at another speed


def session_of(supervision: SupervisionSegment) -> str:
    """Return the name of the session an utterance belongs to: its chapter, or its recording.

    Utterances of one session have one speaker or one conversation in common, so that their errors are correlated:
    intervals by session resample sessions, not utterances.
    """
    return str((supervision.custom or {}).get(SESSION) or supervision.recording_id)


class Turn(NamedTuple):
    """A cut whose turn it is in a lane.

    Args:
        cut: the utterance.
        lane: its lane's number.
        begins: whether a session begins with it.
    """

    cut: Cut
    lane: int
    begins: bool


def plan_sessions(cuts: Sequence[Cut], most: int, max_duration: float, seed: int) -> list[list[Turn]]:
    """All batches of an epoch, in order; every cut once.

    Args:
        cuts: at least one.
        most: cuts of a session.
        max_duration: seconds in a batch on average, which settles the number of lanes.
        seed: of the order of the sessions.
    """
    found = sessions(cuts, most)
    random.Random(seed).shuffle(found)
    mean = sum(cut.duration for cut in cuts) / len(cuts)
    lanes: list[list[Turn]] = [[] for _ in range(max(1, min(len(found), int(max_duration / mean))))]
    for session in found:
        number = min(range(len(lanes)), key=lambda lane: len(lanes[lane]))
        lanes[number] += [Turn(cut, number, cut is session[0]) for cut in session]
    return [[lane[turn] for lane in lanes if turn < len(lane)] for turn in range(max(map(len, lanes)))]


def sessions(cuts: Sequence[Cut], most: int) -> list[list[Cut]]:
    """Runs of at most `most` consecutive cuts: of one recording, or where a recording is a single cut, of one speaker
    in the order of names. Speeds are kept apart."""
    shared = Counter(cut.supervisions[0].recording_id for cut in cuts)
    groups: dict[tuple[str, ...], list[Cut]] = defaultdict(list)
    for cut in cuts:
        recording, speaker = cut.supervisions[0].recording_id, cut.supervisions[0].speaker or ""
        speed = _SPEED.search(recording)
        alone = ("speaker", speaker, speed[0] if speed else "")
        groups[("recording", recording) if shared[recording] > 1 else alone].append(cut)
    runs = [sorted(group, key=lambda cut: (cut.start, cut.id)) for _, group in sorted(groups.items())]
    return [run[first : first + most] for run in runs for first in range(0, len(run), most)]
