"""Check that train, dev and test have no utterances in common, and report common speakers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from lhotse import SupervisionSet

from augmem.corpus.manifests import SUPERVISIONS, load_manifest, read_cuts
from augmem.corpus.reader import Parts
from augmem.errors import UserError

logger = logging.getLogger(__name__)

_SHOWN = 8  # names in a message


def check_utterances(manifests: Path, parts: Parts) -> None:
    """Check that no two of train, dev and test share an utterance: one id with one text, or one interval of audio.

    Args:
        manifests: folder with one subfolder per part, as `write_part` filled it.
        parts: parts of each role.

    Raises:
        UserError: two roles share utterances.
    """
    for (one, ours), (other, theirs) in _pairs(parts):
        known = _utterances(manifests, ours)
        if shared := {id for key, id in _utterances(manifests, theirs).items() if key in known}:
            speakers = _speakers(manifests, theirs, shared)
            raise UserError(
                f"{one} ({', '.join(ours)}) and {other} ({', '.join(theirs)}) share {len(shared)} utterances, such as "
                f"{_some(shared)}: error rates on them would not be valid. Choose other parts with --{one} and "
                f"--{other}, or leave the speakers out of training: --corpus.limits.exclude_speakers "
                f"[{','.join(speakers)}]"
            )


def warn_of_shared_speakers(manifests: Path, parts: Parts) -> None:
    """Log a warning for every two of train, dev and test that share speakers."""
    for (one, ours), (other, theirs) in _pairs(parts):
        if shared := set(_speakers(manifests, ours)) & set(_speakers(manifests, theirs)):
            logger.warning(
                "%s (%s) and %s (%s) share %d speakers, %s: error rates are lower than for unknown speakers",
                one, ", ".join(ours), other, ", ".join(theirs), len(shared), _some(shared),
            )  # fmt: skip


def _pairs(parts: Parts) -> Iterator[tuple[tuple[str, tuple[str, ...]], tuple[str, tuple[str, ...]]]]:
    yield from combinations([("train", parts.train), ("dev", parts.dev), ("test", parts.test)], 2)


def _utterances(manifests: Path, parts: Sequence[str]) -> dict[tuple, str]:
    """Map the keys of utterances to their ids."""
    found: dict[tuple, str] = {}
    for part in parts:
        for cut in read_cuts(manifests / part):
            found[cut.id, cut.supervisions[0].text] = cut.id
            found[cut.recording.sources[0].source, cut.start, cut.channel] = cut.id
    return found


def _speakers(manifests: Path, parts: Sequence[str], ids: set[str] | None = None) -> list[str]:
    supervisions = (item for part in parts for item in load_manifest(SupervisionSet, manifests / part / SUPERVISIONS))
    return sorted({item.speaker for item in supervisions if ids is None or item.id in ids})


def _some(names: set[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:_SHOWN]) + (" ..." if len(listed) > _SHOWN else "")
