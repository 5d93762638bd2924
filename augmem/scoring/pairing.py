"""Pairs of reference and hypothesis passages of two transcripts.

Utterances of text and trn files are paired by id. Words of a CTM file belong to the STM segment of their recording and
channel that contains their middle; words between two segments belong to the later one, words after the last segment to
the last one, as in sclite. All other pairs of formats are paired by recording: its words are joined in order of time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeVar

from augmem.errors import UserError
from augmem.scoring.transcripts import IGNORED, Passage, Transcript

Mode = Literal["strict", "present", "all"]
Key = TypeVar("Key", str, tuple[str, str])


class Pair(NamedTuple):
    """Reference and hypothesis of one utterance; each text is a list of texts, normally of one."""

    id: str
    speaker: str
    session: str
    ref: list[str]
    hyp: list[str]


def pair_passages(ref: Transcript, hyp: Transcript, mode: Mode = "strict") -> list[Pair]:
    """Pair the passages of two transcripts.

    Args:
        ref: the reference.
        hyp: the hypothesis.
        mode: mode as in Kaldi's compute-wer, for utterances (or recordings) of the reference that the hypothesis lacks:
            "strict": an error; "present": left out; "all": with an empty hypothesis.

    Raises:
        UserError: the hypothesis lacks one, in mode strict, or has one that the reference lacks.
    """
    if ref.format == "stm" and hyp.format == "ctm":
        return _by_time(ref, hyp, mode)
    refs, hyps = (_by_name(side, _has_channels(ref, hyp)) for side in (ref, hyp))
    return [
        Pair(name, passages[0].speaker, "", _texts(passages), _texts(hyps.get(name, ())))
        for name, passages in _select_references(refs, hyps, ref, hyp, mode).items()
    ]


def _texts(passages: Sequence[Passage]) -> list[str]:
    return [passage.text for passage in passages if passage.text != IGNORED]


def _has_channels(ref: Transcript, hyp: Transcript) -> bool:
    """Whether both formats have channels, and a recording of the reference has several."""
    channels = {(passage.name, passage.channel) for passage in ref.passages}
    return all(side.passages[0].channel for side in (ref, hyp)) and len(channels) > len({name for name, _ in channels})


def _by_name(transcript: Transcript, channels: bool) -> dict[str, list[Passage]]:
    """Group passages by utterance or recording, in order of time."""
    groups: dict[str, list[Passage]] = {}
    for passage in sorted(transcript.passages, key=lambda passage: passage.start):
        groups.setdefault(f"{passage.name}-{passage.channel}" if channels else passage.name, []).append(passage)
    return groups


def _select_references(
    refs: dict[Key, list[Passage]], hyps: dict[Key, list[Passage]], ref: Transcript, hyp: Transcript, mode: Mode
) -> dict[Key, list[Passage]]:
    """Return the references to score."""
    if unknown := [_name(key) for key in hyps if key not in refs]:
        raise UserError(f"{hyp.path}: {len(unknown)} of {len(hyps)} are not in {ref.path}: {', '.join(unknown[:3])}")
    missing = [_name(key) for key in refs if key not in hyps]
    if missing and mode == "strict":
        raise UserError(
            f"{hyp.path}: {len(missing)} of {len(refs)} of {ref.path} are missing: {', '.join(missing[:3])}; "
            "--mode all scores them as empty, --mode present leaves them out"
        )
    return {key: passages for key, passages in refs.items() if mode != "present" or key in hyps}


def _name(key: str | tuple[str, str]) -> str:
    return key if isinstance(key, str) else f"{key[0]} channel {key[1]}"


def _by_time(ref: Transcript, hyp: Transcript, mode: Mode) -> list[Pair]:
    """Pair the segments of an STM file with the words of a CTM file."""
    refs, hyps = (_by_channel(side) for side in (ref, hyp))
    pairs = []
    for key, segments in _select_references(refs, hyps, ref, hyp, mode).items():
        texts = _words_of_segments(segments, hyps.get(key, []))
        for number, (segment, words) in enumerate(zip(segments, texts, strict=True)):
            if segment.text != IGNORED:
                name = f"{key[0]}-{key[1]}-{number:04}"
                pairs.append(Pair(name, segment.speaker, key[0], [segment.text], words))
    return pairs


def _by_channel(transcript: Transcript) -> dict[tuple[str, str], list[Passage]]:
    groups: dict[tuple[str, str], list[Passage]] = {}
    for passage in sorted(transcript.passages, key=lambda passage: passage.start):
        groups.setdefault((passage.name, passage.channel), []).append(passage)
    return groups


def _words_of_segments(segments: Sequence[Passage], words: Sequence[Passage]) -> list[list[str]]:
    """Assign words to segments by their middle."""
    texts: list[list[str]] = [[] for _ in segments]
    ends = [max(segment.end for segment in segments[: i + 1]) for i, segment in enumerate(segments)]
    for word in words:
        middle = (word.start + word.end) / 2
        texts[min(bisect_left(ends, middle), len(segments) - 1)].append(word.text)
    return texts
