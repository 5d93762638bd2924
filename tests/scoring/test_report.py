"""The report: content, self-containedness, and escaping of text."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from augmem.errors import UserError
from augmem.scoring import (
    Picture,
    ReportInputs,
    Skipped,
    Utterance,
    compare,
    score_all,
    write_report,
)

QUICK = 200  # replications
HTML = "<script>alert('X')</script>"
VOID = {"meta", "img", "link", "br", "hr", "input"}
RESULTS = {
    "dev_joe": {"first_pass": [Utterance("d1", "JOE", ["HELLO", "QUEEN"], ["HELLO", "QUEEN"])]},
    "test_joe": {
        "untrained": [Utterance("t1", "JOE", list("ABCDEFGH"), ["X"])],
        "first_pass": [Utterance("t1", "JOE", list("ABCDEFGH"), list("AZCDEFH"))],
    },
}


class Page(HTMLParser):
    """Collects tags, links, ids and text, and checks that tags are nested correctly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open += [] if tag in VOID else [tag]
        values = dict(attrs)
        self.links += [str(values[key]) for key in ("href", "src", "xlink:href", "action") if key in values]
        self.ids += [str(values["id"])] if "id" in values else []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open = self.open if tag in VOID else self.open[:-1]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture
def summary(tmp_path: Path) -> Path:
    score_all(RESULTS, tmp_path, replications=QUICK)
    return tmp_path / "summary.json"


def page(inputs: ReportInputs, path: Path) -> Page:
    write_report(path, inputs)
    return Page(path.read_text(encoding="utf-8"))


def full_inputs(folder: Path, summary: Path) -> ReportInputs:
    log = [{"kind": "step", "step": s, "loss": 5 / s, "ctc": 6 / s, "learning_rate": s / 9} for s in range(1, 90)]
    log += [{"kind": "epoch", "step": 30 * e, "dev_loss": 1 / e, "dev_unit_error_rate": 0.4321} for e in (1, 2, 3)]
    (folder / "log.jsonl").write_text("\n".join(map(json.dumps, log)) + '\n{"kind": "st')
    sweep = [{"lm_scale": s, "word_insertion_bonus": p, "wer": (s + p) / 10} for s in (1.0, 1.5) for p in (0.0, 0.5)]
    tuned = {
        "parts": ["dev_joe"],
        "oracle_wer": 0.0567,
        "systems": {"first_pass": {**sweep[0], "sweep": sweep}},
    }
    (folder / "tuned.json").write_text(json.dumps(tuned))
    latency = {
        "encoder": 0.96, "partial_interval": 0.32, "threads": 1, "parts": ["dev_joe"], "utterances": 3,
        "real_time_factor": 0.1234, "words": [0.5, 0.75, 2.75], "first_partial": [1.0, 1.25, 1.5], "final": [],
    }  # fmt: skip
    (folder / "latency.json").write_text(json.dumps(latency))
    a, b = RESULTS["test_joe"].values()
    return ReportInputs(
        latency=folder / "latency.json",
        title="queen digest",
        summary=summary,
        training_log=folder / "log.jsonl",
        tuned=folder / "tuned.json",
        attention=[Picture(b"\x89PNG not really", "Layer 3")],
        comparisons=[("test_joe", compare(a, b, "untrained", "first_pass", QUICK))],
        skipped=[Skipped("digest", "d7", "too short", "3 frames")] * 3,
        normalisation="numbers read out",
        normalised=[("7 QUEENS!", "SEVEN QUEENS")],
        config="encoder:\n  dim: 144",
        provenance={"commit": "abc1234"},
        seconds={"train": 754.0, "decode": 12.0},
    )


def test_all_sections_are_shown(tmp_path: Path, summary: Path) -> None:
    found = page(full_inputs(tmp_path, summary), tmp_path / "report.html")
    assert not found.open
    for expected in (
        "queen digest", "25.0 %", "100.00", "43.2 %", "5.7 %", "15.0", "Layer 3",
        "first pass against untrained", "\u221275.00 points", "3 of digest: too short", "3 frames",
        "dim: 144", "abc1234", "12 min 34 s", "12 min 46 s", "B Z", "0.96", "0.123", "0.75 2.55", "1.25 1.48",
        "numbers read out", "7 QUEENS! SEVEN QUEENS",
    ):  # fmt: skip
        assert expected in found.text, expected
    assert found.tags.count("svg") == 4  # loss, unit error rate, learning rate, delays: no LF-MMI in this log
    assert len(found.ids) == len(set(found.ids))


def test_report_has_no_external_references(tmp_path: Path, summary: Path) -> None:
    found = page(full_inputs(tmp_path, summary), tmp_path / "report.html")
    assert found.links and all(link.startswith(("#", "data:image/png;base64,")) for link in found.links)
    assert {link[1:] for link in found.links if re.fullmatch(r"#\w+", link)} <= set(found.ids)
    text = (tmp_path / "report.html").read_text()
    assert "//" not in re.sub(r"data:image/png;base64,[\w+/=]+", "", text).replace("<!doctype html>", "")
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    assert not {"script", "link", "iframe"} & set(found.tags)


def test_only_scores_are_needed(tmp_path: Path, summary: Path) -> None:
    found = page(ReportInputs("bare", summary), tmp_path / "report.html")
    assert not found.open and "svg" not in found.tags and "img" not in found.tags
    assert "25.0 %" in found.text and "Tuning" not in found.text
    assert {link[1:] for link in found.links} <= set(found.ids)


def test_text_is_escaped(tmp_path: Path) -> None:
    word = HTML.replace(" ", "")
    score_all({HTML: {HTML: [Utterance(HTML, HTML, [word, "A"], ["B", word])]}}, tmp_path / "s", replications=QUICK)
    inputs = ReportInputs(
        title=HTML, summary=tmp_path / "s" / "summary.json",
        attention=[Picture(b"", '"><script>')], skipped=[Skipped(HTML, HTML, HTML, HTML)],
        config=HTML, provenance={HTML: HTML}, seconds={HTML: 1.0}, normalisation=HTML, normalised=[(HTML, HTML)],
    )  # fmt: skip
    found = page(inputs, tmp_path / "report.html")
    assert "script" not in found.tags and not found.open
    assert found.text.count("alert('X')") > 10


def test_headline_is_the_last_system_of_the_first_test_part(tmp_path: Path, summary: Path) -> None:
    assert "word error rate on test_joe , first pass" in page(ReportInputs("t", summary), tmp_path / "r").text


def test_intervals_by_session_and_part_sizes_are_shown(tmp_path: Path) -> None:
    utterances = [Utterance(f"u{n}", f"s{n % 2}", ["A"] * 9, ["A"] * (9 - n), f"s{n % 2}-c{n % 4}") for n in range(8)]
    score_all(
        {"test": {"one": utterances}, "lone": {"one": [Utterance("u", "s", ["A"], [])]}}, tmp_path, replications=QUICK
    )
    found = page(ReportInputs("t", tmp_path / "summary.json"), tmp_path / "r").text
    assert "by session" in found and "test: 8 utterances of 4 sessions, 2 speakers" in found
    assert "lone: 1 utterances, 1 speaker" in found


def test_speaker_without_reference_words_has_no_wer(tmp_path: Path) -> None:
    utterances = [Utterance("a", "LOUD", ["A"], ["A"]), Utterance("b", "SILENT", [], ["B"])]
    score_all({"test": {"one": utterances}}, tmp_path, replications=QUICK)
    text = page(ReportInputs("t", tmp_path / "summary.json"), tmp_path / "r").text
    assert "SILENT \u2013 0" in text


def test_errors_name_missing_and_invalid_inputs(tmp_path: Path, summary: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.json"):
        write_report(tmp_path / "r", ReportInputs("t", tmp_path / "nothing.json"))
    (tmp_path / "empty.json").write_text('{"scores": []}')
    with pytest.raises(UserError, match=r"empty\.json.*stage score"):
        write_report(tmp_path / "r", ReportInputs("t", tmp_path / "empty.json"))
    (tmp_path / "log.jsonl").write_text('{"kind": "step"\n{"kind": "step", "step": 1}\n')
    with pytest.raises(UserError, match=r"log\.jsonl, line 1"):
        write_report(tmp_path / "r", ReportInputs("t", summary, training_log=tmp_path / "log.jsonl"))
    assert not (tmp_path / "r").exists()


def test_long_lists_of_skipped_utterances_are_shortened(tmp_path: Path, summary: Path) -> None:
    skipped = [Skipped("train", f"u{i}", "no audio") for i in range(1234)]
    text = page(ReportInputs("t", summary, skipped=skipped), tmp_path / "r").text
    assert "1,234 of train: no audio" in text and "and 1,034 more" in text and "u1233" not in text
