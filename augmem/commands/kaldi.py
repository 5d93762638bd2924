"""Export manifests as Kaldi data directories: wav.scp, text, utt2spk, spk2utt and segments."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "manifests", type=Path, metavar="DIR", help="manifests written by stage corpus: data/CORPUS/manifests"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for one data directory per part")


def run(arguments: argparse.Namespace) -> int:
    """Write every part."""
    from augmem.corpus import read_parts, write_kaldi

    for part in read_parts(arguments.manifests).all():
        count = write_kaldi(arguments.manifests / part, arguments.output / part)
        print(f"{arguments.output / part}: {count} utterances")
    return 0
