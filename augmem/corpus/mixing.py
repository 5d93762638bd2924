"""Training parts of a prepared corpus that are added to those of another one."""

from __future__ import annotations

import logging
import random
from dataclasses import replace
from pathlib import Path
from shutil import copyfile

from lhotse import RecordingSet, SupervisionSet

from augmem.corpus.manifests import RECORDINGS, SUPERVISIONS
from augmem.corpus.reader import Parts
from augmem.errors import UserError
from augmem.files import read_json
from augmem.skipped import SKIPPED_FILE

logger = logging.getLogger(__name__)

PARTS_FILE = "parts.json"


def read_parts(manifests: Path) -> Parts:
    """Read the parts of each role, as written by `prepare_corpus`.

    Raises:
        FileNotFoundError: the corpus has not been prepared.
    """
    path = manifests / PARTS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; run stage corpus, which writes it to data/CORPUS/manifests")
    return Parts(**{role: tuple(names) for role, names in read_json(path).items()})


def mix_corpus(data: Path, parts: Parts, output: Path, limit: int | None) -> Parts:
    """Copy the manifests of the training parts of another corpus.

    Args:
        data: data folder of the other corpus.
        parts: parts of this one.
        output: folder of its manifests.
        limit: number of utterances to choose at random; None: all.

    Returns:
        `parts` with the added training parts.

    Raises:
        FileNotFoundError: the other corpus has not been prepared.
        UserError: both corpora have a part of one name.
    """
    added = read_parts(data / "manifests").train
    if same := set(added) & set(parts.all()):
        raise UserError(f"corpus.mix={data}: both corpora have a part {min(same)}; rename the part of your own corpus")
    supervisions = {part: list(SupervisionSet.from_jsonl(data / "manifests" / part / SUPERVISIONS)) for part in added}
    chosen = [(part, index) for part in added for index in range(len(supervisions[part]))]
    if limit is not None and limit < len(chosen):
        chosen = sorted(random.Random(0).sample(chosen, limit))
    for part in added:
        kept = SupervisionSet.from_segments(supervisions[part][index] for name, index in chosen if name == part)
        recordings = {supervision.recording_id for supervision in kept}
        found = RecordingSet.from_jsonl(data / "manifests" / part / RECORDINGS)
        (output / part).mkdir(parents=True)
        kept.to_file(output / part / SUPERVISIONS)
        RecordingSet.from_recordings(r for r in found if r.id in recordings).to_file(output / part / RECORDINGS)
        copyfile(data / "manifests" / part / SKIPPED_FILE, output / part / SKIPPED_FILE)
    logger.info("mixed with %d utterances of %s", len(chosen), ", ".join(added))
    return replace(parts, train=(*parts.train, *added))
