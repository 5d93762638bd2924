"""Divide a long recording with an imperfect text into utterances for training.

The recording is recognised with a language model of the text, cut at pauses, and written as a corpus folder with the
utterances in which text and recording agree; dropped.tsv lists the others with the reason.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from augmem.commands.options import read_dataclass_options

if TYPE_CHECKING:
    from augmem.segmentation import Segmentation


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("audio", type=Path, metavar="AUDIO", help="the recording (wav, flac, mp3, ogg, opus)")
    parser.add_argument("text", type=Path, metavar="TEXT", help="its text, plain UTF-8")
    parser.add_argument("--package", type=Path, required=True, help="folder made by augmem package")
    parser.add_argument("--output", type=Path, required=True, help="corpus folder to write")
    parser.add_argument(
        "--longest", type=float, default=30.0, help="maximum duration of an utterance in seconds (%(default)s)"
    )
    parser.add_argument(
        "--pause", type=float, default=0.25, help="minimum pause between utterances in seconds (%(default)s)"
    )
    parser.add_argument(
        "--padding", type=float, default=0.15, help="audio kept before and after the words, in seconds (%(default)s)"
    )
    parser.add_argument(
        "--fewest-words", type=int, default=2, help="minimum number of words of an utterance (%(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the corpus folder and print what was kept and dropped."""
    from augmem.segmentation import SegmentConfig, segment_recording

    for path in (arguments.audio, arguments.text):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
    config = SegmentConfig(**read_dataclass_options(arguments, SegmentConfig))
    found = segment_recording(arguments.audio, arguments.text, arguments.package, arguments.output, config)
    print(f"{format_summary(found)}\nwrote {arguments.output / 'train.tsv'} and {arguments.output / 'dropped.tsv'}")
    return 0


def format_summary(found: Segmentation) -> str:
    """Describe what was kept and dropped."""
    minutes = sum(piece.end - piece.begin for piece in found.kept) / 60
    words = sum(len(piece.text) for piece in found.kept)
    reasons = Counter(piece.reason for piece in found.dropped)
    listed = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    return (
        f"kept {len(found.kept)} utterances, {words} words, {minutes:.1f} min; "
        f"dropped {len(found.dropped)} pieces ({listed or 'none'})"
    )
