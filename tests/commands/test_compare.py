"""`augmem compare` on files of the score stage."""

from __future__ import annotations

from pathlib import Path

import pytest

from augmem.cli import parse_and_run
from augmem.commands.compare import pair_results
from augmem.errors import UserError
from augmem.scoring import Utterance, compare, score_all


def experiment(folder: Path, wrong: int) -> Path:
    """An experiment with two parts, 40 utterances each, with an error in the first `wrong` of them."""
    ref = ("A", "RIGHT", "SENTENCE")
    hypotheses = [ref if number >= wrong else ("A", "WRONG", "SENTENCE") for number in range(40)]
    utterances = [Utterance(f"u{number:02}", "me", ref, words) for number, words in enumerate(hypotheses)]
    (folder / "score").mkdir(parents=True)
    score_all({part: {"first_pass": utterances} for part in ("dev", "test")}, folder / "score")
    return folder


def test_two_experiments_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = experiment(tmp_path / "a", 20), experiment(tmp_path / "b", 2)
    assert parse_and_run(["compare", str(a), str(b), "--system", "first_pass", "--part", "test"]) == 0
    printed = capsys.readouterr().out
    assert "WER 16.67 %" in printed and "WER 1.67 %" in printed  # 20 and 2 of 120 words
    assert "B - A: -15.00 points absolute" in printed and "significant at the 5 % level" in printed
    assert printed.count("A = ") == 1 and "18 better in B, 0 better in A, 22 equal" in printed


def test_missing_results_are_reported(tmp_path: Path) -> None:
    a, b = experiment(tmp_path / "a", 1), experiment(tmp_path / "b", 2)
    with pytest.raises(
        FileNotFoundError, match=r"results of eval by system first_pass; they have dev, test and dev, test"
    ):
        pair_results(a, b, "first_pass", ["eval"])
    with pytest.raises(FileNotFoundError, match=r"any part by system rescored; they have none and none"):
        pair_results(a, b, "rescored", None)
    other = [Utterance("u00", "me", ("ANOTHER",), ())]
    with pytest.raises(UserError):
        compare(other, [Utterance("u01", "me", ("ONE",), ())])
