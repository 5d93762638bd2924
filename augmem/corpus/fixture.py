"""A LibriSpeech-shaped tree from FLAC files and a manifest.tsv: something real and small to run on."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path

from augmem.corpus.tables import read_table

PART = "train-fixture"
_CHAPTER = "1"


def build_librispeech_tree(fixture: Path, target: Path, part: str = PART) -> Path:
    """Lay the utterances out as `target`/`part`/<speaker>/1/<speaker>-1-<number>.flac; return `target`.

    Speakers become numbers, in the order of their names, because LibriSpeech's are.

    Args:
        fixture: folder with manifest.tsv (columns id, speaker, text) and flac/<id>.flac.
        target: root of the tree to make.
        part: name of its only part.
    """
    by_speaker = defaultdict(list)
    for _, row in read_table(fixture / "manifest.tsv", ("id", "speaker", "text")):
        by_speaker[row["speaker"]].append(row)
    for number, (_, rows) in enumerate(sorted(by_speaker.items()), start=1):
        folder = target / part / str(number) / _CHAPTER
        folder.mkdir(parents=True, exist_ok=True)
        lines = []
        for index, row in enumerate(rows):
            id = f"{number}-{_CHAPTER}-{index:04d}"
            shutil.copyfile(fixture / "flac" / f"{row['id']}.flac", folder / f"{id}.flac")
            lines.append(f"{id} {row['text']}\n")
        (folder / f"{number}-{_CHAPTER}.trans.txt").write_text("".join(lines), encoding="utf-8")
    return target
