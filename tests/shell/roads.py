"""Small experiments on the fixture's real speech, for tests that run the project from outside."""

from __future__ import annotations

import subprocess
from pathlib import Path

from augmem.corpus.fixture import build_librispeech_tree

ROOT = Path(__file__).resolve().parents[2]
SPEECH = ROOT / "tests" / "fixtures" / "speech"
AUGMEM = str(ROOT / ".venv" / "bin" / "augmem")
PART = "train-fixture"


def run(*options: str | Path) -> subprocess.CompletedProcess[str]:
    """./run.sh with these options."""
    return subprocess.run(["./run.sh", *map(str, options)], cwd=ROOT, capture_output=True, text=True, timeout=1500)


def fixture_road(folder: Path) -> list[str | Path]:
    """Options of run.sh for an experiment in `folder` that trains, tunes and tests on the same 29 utterances."""
    tree = build_librispeech_tree(SPEECH, folder / "LibriSpeech", part=PART)
    parts = ["--train", PART, "--dev", PART, "--test", PART]
    place = ["--data", folder / "data", "--exp", folder / "exp", "--nj", "2"]
    return ["--corpus", "librispeech", "--corpus-dir", tree, "--config", "conf/fixture.yaml", *parts, *place]
