"""Scores and the files of the scoring stage."""

import json
from pathlib import Path

import pytest

from augmem.scoring import ScoringConfig, Utterance, score, score_all, wer_table

UTTERANCES = [
    Utterance("b", "LOLA", list("ABCD"), list("ABCD")),
    Utterance("a", "JOE", list("ABCDEF"), list("AXCF")),
    Utterance("c", "JOE", [], ["WELL"]),
]
QUICK = ScoringConfig(replications=200)


def test_score_sums_over_utterances_and_speakers() -> None:
    result = score("test", "first pass", UTTERANCES, QUICK)
    assert (result.counts.words, result.counts.errors) == (10, 4)
    assert list(result.speakers) == ["JOE", "LOLA"]
    assert result.speakers["JOE"].errors == 4 and result.speakers["LOLA"].rate == 0
    assert result.interval.low <= 0.4 <= result.interval.high
    assert [u.id for u in result.utterances] == ["a", "b", "c"]
    assert [u.id for u in result.worst(5)] == ["a", "c"]


def test_order_of_utterances_changes_nothing() -> None:
    assert score("t", "s", UTTERANCES, QUICK) == score("t", "s", UTTERANCES[::-1], QUICK)


@pytest.mark.parametrize(
    ("utterances", "fault"),
    [([], "0 utterances"), (UTTERANCES[2:], "1 utterances"), (UTTERANCES * 2, "twice")],
)
def test_what_has_no_score_is_refused(utterances: list[Utterance], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        score("test", "first pass", utterances, QUICK)


@pytest.mark.parametrize("fields", [{"replications": 5}, {"seed": -1}, {"resample": "word"}, {"worst": -1}])
def test_config_names_the_bad_field(fields: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        ScoringConfig(**fields)


def test_score_all_writes_the_files_of_the_stage(tmp_path: Path) -> None:
    scores = score_all({"test_joe": {"first pass": UTTERANCES, "rescored": UTTERANCES[:2]}}, tmp_path, QUICK)
    stems = ("recogs", "errs", "align")
    names = {f"{stem}-test_joe-{system}.txt" for stem in stems for system in ("first_pass", "rescored")}
    assert names <= {path.name for path in tmp_path.iterdir()}
    assert (tmp_path / "wer.txt").read_text() == wer_table(scores) + "\n"
    assert "a\tJOE\t6\t3\t0\t2\t1\t50.00" in (tmp_path / "per-utt-test_joe-first_pass.tsv").read_text()
    speakers = (tmp_path / "per-spk-test_joe-first_pass.tsv").read_text().splitlines()
    assert speakers[1:] == ["JOE\t6\t4\t1\t2\t1\t66.67", "LOLA\t4\t0\t0\t0\t0\t0.00"]


def test_summary_is_strict_json_with_what_the_report_needs(tmp_path: Path) -> None:
    score_all({"test": {"one": UTTERANCES}}, tmp_path, QUICK)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    text = (tmp_path / "summary.json").read_text()
    (found,) = json.loads(text, parse_constant=refuse)["scores"]
    assert found["wer"] == pytest.approx(0.4) and found["words"] == 10
    assert found["worst"][0] == {
        "id": "a", "speaker": "JOE", "ref": ["A", "B", "C", "D", "E", "F"], "hyp": ["A", "X", "C", "F"],
    }  # fmt: skip
    assert found["confusions"]["substitutions"] == [["B", "X", 1]]
    assert found["wrong_utterances"] == 2


def test_table_holds_the_figures_and_stays_narrow(tmp_path: Path) -> None:
    table = wer_table([score("test_joe", "first pass", UTTERANCES, QUICK)])
    row = table.splitlines()[-1].split()
    assert row[:4] == ["test_joe", "first", "pass", "40.00"]
    assert max(map(len, table.splitlines())) <= 110
