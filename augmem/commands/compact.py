"""Make a compact copy of LibriSpeech parts: Opus audio and transcripts, one tar file per part, as in corpora/."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("tree", type=Path, metavar="TREE", help="LibriSpeech: <part>/<speaker>/<chapter>/, *.TXT")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="new folder for the copy")
    parser.add_argument(
        "--bitrate", type=float, default=14, metavar="KBITS", help="bit rate of the audio in kbit/s (%(default)s)"
    )
    parser.add_argument("--parts", nargs="+", metavar="PART", help="parts to copy (those that this project carries)")


def run(arguments: argparse.Namespace) -> int:
    """Write the copy and print its sizes."""
    from augmem.corpus import compact_corpus

    chosen = {"parts": arguments.parts} if arguments.parts else {}
    for part in compact_corpus(arguments.tree, arguments.output, arguments.bitrate, **chosen):
        size = (arguments.output / f"{part.name}.tar").stat().st_size
        print(
            f"{part.name}: {part.utterances} utterances, {part.seconds / 3600:.2f} h, {len(part.speakers)} speakers, "
            f"{size / 1e6:.1f} MB"
        )
    return 0
