"""Scores and the files of stage score."""

import json
from pathlib import Path

import pytest

from augmem.errors import UserError
from augmem.scoring import Utterance, score_all, score_system, wer_table

UTTERANCES = [
    Utterance("b", "LOLA", list("ABCD"), list("ABCD")),
    Utterance("a", "JOE", list("ABCDEF"), list("AXCF")),
    Utterance("c", "JOE", [], ["WELL"]),
]
QUICK = 200  # replications


def test_score_is_summed_over_utterances_and_speakers() -> None:
    result = score_system("test", "first pass", UTTERANCES, QUICK)
    assert (result.counts.words, result.counts.errors) == (10, 4)
    assert list(result.speakers) == ["JOE", "LOLA"]
    assert result.speakers["JOE"].errors == 4 and result.speakers["LOLA"].rate == 0
    assert result.interval.low <= 0.4 <= result.interval.high
    assert [u.id for u in result.utterances] == ["a", "b", "c"]
    assert [u.id for u in result.worst(5)] == ["a", "c"]


def test_score_does_not_depend_on_the_order_of_utterances() -> None:
    assert score_system("t", "s", UTTERANCES, QUICK) == score_system("t", "s", UTTERANCES[::-1], QUICK)


@pytest.mark.parametrize(
    ("utterances", "fault"),
    [([], "0 utterances"), (UTTERANCES[2:], "1 utterances"), (UTTERANCES * 2, "duplicate")],
)
def test_utterances_that_cannot_be_scored_raise_an_error(utterances: list[Utterance], fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        score_system("test", "first pass", utterances, QUICK)


def test_score_all_writes_the_files_of_the_stage(tmp_path: Path) -> None:
    scores = score_all(
        {"test_joe": {"first pass": UTTERANCES, "rescored": UTTERANCES[:2]}}, tmp_path, replications=QUICK
    )
    stems = ("recogs", "errs", "align")
    names = {f"{stem}-test_joe-{system}.txt" for stem in stems for system in ("first_pass", "rescored")}
    assert names <= {path.name for path in tmp_path.iterdir()}
    assert (tmp_path / "wer.txt").read_text() == wer_table(scores) + "\n"
    assert "a\tJOE\t6\t3\t0\t2\t1\t50.00" in (tmp_path / "per-utt-test_joe-first_pass.tsv").read_text()
    speakers = (tmp_path / "per-spk-test_joe-first_pass.tsv").read_text().splitlines()
    assert speakers[1:] == ["JOE\t6\t4\t1\t2\t1\t66.67", "LOLA\t4\t0\t0\t0\t0\t0.00"]


def test_summary_is_valid_json(tmp_path: Path) -> None:
    score_all({"test": {"one": UTTERANCES}}, tmp_path, replications=QUICK)

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


def test_table_contains_all_results_and_is_narrow(tmp_path: Path) -> None:
    table = wer_table([score_system("test_joe", "first pass", UTTERANCES, QUICK)])
    row = table.splitlines()[2].split()
    assert row[:4] == ["test_joe", "first", "pass", "40.00"]
    assert max(map(len, table.splitlines())) <= 110


def read(name: str, session: str, right: bool) -> Utterance:
    return Utterance(name, session.split("-")[0], ["A"] * 9, ["A" if right else "B"] * 9, session)


# Utterances of a chapter are all right or all wrong: the truth is four trials, not forty.
CHAPTERS = [
    read(f"{chapter}-{n}", chapter, chapter != "2-3") for chapter in ("1-1", "1-2", "2-3", "2-4") for n in range(10)
]


def test_intervals_by_session_are_wider_when_sessions_differ(tmp_path: Path) -> None:
    (result,) = score_all({"dev": {"one": CHAPTERS}}, tmp_path, replications=QUICK)
    assert result.sessions == 4 and result.session_interval is not None
    assert result.interval.low > 0.1 and result.interval.high < 0.45
    assert result.session_interval.low == 0 and result.session_interval.high >= 0.5
    (found,) = json.loads((tmp_path / "summary.json").read_text())["scores"]
    assert found["sessions"] == 4 and found["session_interval"] == list(result.session_interval)
    lines = (tmp_path / "wer.txt").read_text().splitlines()
    assert "by utterance" in lines[0] and "by session" in lines[0] and lines[2].count(" - ") == 2
    assert lines[-1] == "dev: 40 utterances, 4 sessions (chapters or recordings), 2 speakers"


@pytest.mark.parametrize("sessions", [[""] * 4, ["1-1", "1-2", "1-3", "1-4"], ["1-1", "1-1", "1-1", ""]])
def test_unknown_sessions_and_sessions_of_single_utterances_give_no_column(sessions: list[str]) -> None:
    result = score_system("dev", "one", [read(str(n), session, n > 0) for n, session in enumerate(sessions)], QUICK)
    assert result.session_interval is None and result.sessions == 0
    assert "by session" not in wer_table([result])


def test_a_single_session_has_no_interval() -> None:
    result = score_system("dev", "one", [read(str(n), "1-1", n > 0) for n in range(4)], QUICK)
    assert result.session_interval is None and "1 sessions" in wer_table([result])
