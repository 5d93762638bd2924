"""Train on a folder with audio files and a text file of the same name beside each (talk.wav, talk.txt).

    .venv/bin/python examples/own_folder.py my_speech --exp exp/mine

Speakers are the names of subfolders, if there are any. Other options go to `augmem run`, as in --training.epochs 5.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".opus"}


def write_table(folder: Path) -> int:
    """Write `folder`/train.tsv for `--corpus folder`; return the number of audio files with a transcript."""
    rows = ["audio\ttext\tspeaker"]
    for audio in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
        transcript = audio.with_suffix(".txt")
        if transcript.is_file():
            text = " ".join(transcript.read_text(encoding="utf-8").split())
            name = audio.relative_to(folder)
            rows.append(f"{name}\t{text}\t{name.parts[0] if len(name.parts) > 1 else name.stem}")
    (folder / "train.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return len(rows) - 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    options, others = parser.parse_known_args()
    print(f"{options.folder / 'train.tsv'}: {write_table(options.folder)} utterances")
    source = ["--corpus", "folder", "--corpus-dir", str(options.folder)]
    sys.exit(subprocess.call([sys.executable, "-m", "augmem.cli", "run", *source, *others]))
