"""`augmem compare` on the files that the score stage writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from augmem.commands.compare import pairs
from augmem.scoring import Utterance, compare, score_all


def experiment(folder: Path, wrong: int) -> Path:
    """An experiment with two parts, 40 utterances each, of which system `first_pass` gets `wrong` wrong."""
    ref = ("A", "RIGHT", "SENTENCE")
    heard = [ref if number >= wrong else ("A", "WRONG", "SENTENCE") for number in range(40)]
    utterances = [Utterance(f"u{number:02}", "me", ref, words) for number, words in enumerate(heard)]
    (folder / "score").mkdir(parents=True)
    score_all({part: {"first_pass": utterances} for part in ("dev", "test")}, folder / "score")
    return folder


def test_two_experiments_side_by_side(tmp_path: Path) -> None:
    a, b = experiment(tmp_path / "a", 20), experiment(tmp_path / "b", 2)
    command = [
        sys.executable,
        "-m",
        "augmem.cli",
        "compare",
        str(a),
        str(b),
        "--system",
        "first_pass",
        "--part",
        "test",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WER 16.67 %" in done.stdout and "WER 1.67 %" in done.stdout  # 20 and 2 of 120 words
    assert "B - A: -15.00 points absolute" in done.stdout and "significant at the 5 % level" in done.stdout
    assert done.stdout.count("A = ") == 1 and "18 better in B, 0 better in A, 22 equal" in done.stdout


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    a, b = experiment(tmp_path / "a", 1), experiment(tmp_path / "b", 2)
    with pytest.raises(
        FileNotFoundError, match=r"results of eval by system first_pass; they have dev, test and dev, test"
    ):
        pairs(a, b, "first_pass", ["eval"])
    with pytest.raises(FileNotFoundError, match=r"any part by system rescored; they have none and none"):
        pairs(a, b, "rescored", None)
    other = [Utterance("u00", "me", ("ANOTHER",), ())]
    with pytest.raises(ValueError):
        compare(other, [Utterance("u01", "me", ("ONE",), ())])
