"""Print when each word of a transcript is spoken.

    .venv/bin/python examples/align.py model speech.flac "good morning everyone"

`augmem align` does this for whole corpora and writes CTM files and TextGrids.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import augmem

augmem.prepare_libraries()  # before torch is imported

import torch


def align(package: augmem.Package, audio: Path, transcript: str) -> augmem.Alignment:
    """Align a transcript with an audio file."""
    description = package.model.description
    features = augmem.features_of_file(audio, package.features)
    with torch.no_grad():
        log_probs, lengths = package.model(features[None], torch.tensor([len(features)]))
    aligner = augmem.Aligner(package.lang, description.topology, package.model.time_of, biphones=description.biphones)
    return aligner.align(log_probs[0, : lengths[0]], package.lang.normalisation(transcript))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="folder made by augmem package")
    parser.add_argument("audio", type=Path)
    parser.add_argument("transcript")
    options = parser.parse_args()
    for word in align(augmem.open_package(options.package), options.audio, options.transcript).words:
        print(f"{word.begin:7.2f} {word.end:7.2f}  {word.symbol}")
