"""WER of a part with intervals, speakers and worst utterances; as files, JSON and a table."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from augmem.errors import UserError
from augmem.files import write_json, write_text
from augmem.scoring.alignment import Counts, Utterance, as_characters, format_alignment, total
from augmem.scoring.icefall import confusions, write_errs, write_recogs
from augmem.scoring.intervals import REPLICATIONS, Interval, wer_interval
from augmem.scoring.nist import write_kaldi_text, write_trn
from augmem.scoring.tables import percent, text_table

WORST = 10  # utterances and confusions in the summary
ScoredParts = Mapping[str, Mapping[str, Sequence[Utterance]]]


@dataclass(frozen=True)
class Score:
    """Result of one system on one part.

    Args:
        part: name of the part.
        system: name of the system, e.g. "first_pass".
        counts: hits and errors of all words.
        interval: 95 % interval of the WER; utterances are resampled.
        session_interval: the same with whole sessions (chapters or recordings) resampled; None if the sessions are
            unknown, or if there is only one.
        sessions: number of sessions; 0 if unknown.
        cer: character error rate without spaces.
        speakers: counts of each speaker, most reference words first.
        utterances: the utterances, sorted by id.
    """

    part: str
    system: str
    counts: Counts
    interval: Interval
    session_interval: Interval | None
    sessions: int
    cer: float
    speakers: dict[str, Counts]
    utterances: tuple[Utterance, ...]

    @property
    def name(self) -> str:
        """Part and system as used in file names."""
        return "-".join(re.sub(r"[^\w.+-]+", "_", name) for name in (self.part, self.system))

    def worst(self, number: int) -> list[Utterance]:
        """Return the utterances with the most errors; among equals shorter ones first, then by id."""
        wrong = [utterance for utterance in self.utterances if utterance.counts.errors]
        return sorted(wrong, key=lambda u: (-u.counts.errors, u.counts.words, u.id))[:number]


def score_system(part: str, system: str, utterances: Sequence[Utterance], replications: int = REPLICATIONS) -> Score:
    """Score one system on one part.

    Args:
        part: name of the part.
        system: name of the system.
        utterances: all utterances of the part, in any order.
        replications: number of resampled test sets of the intervals.

    Raises:
        UserError: no utterance, no reference word, or a duplicate id.

    Example:
        >>> from augmem.scoring import Utterance
        >>> result = score_system("test", "first_pass", [Utterance("u1", "JOE", ["HELLO", "THERE"], ["HELLO"])])
        >>> result.counts.rate
        0.5
    """
    ordered = tuple(sorted(utterances, key=lambda utterance: utterance.id))
    _check(part, system, ordered)
    sessions = count_sessions(ordered)
    return Score(
        part=part,
        system=system,
        counts=total(utterance.counts for utterance in ordered),
        interval=wer_interval(ordered, "utterance", replications),
        session_interval=wer_interval(ordered, "session", replications) if sessions > 1 else None,
        sessions=sessions,
        cer=total(as_characters(utterance).counts for utterance in ordered).rate,
        speakers=speaker_counts(ordered),
        utterances=ordered,
    )


def count_sessions(utterances: Sequence[Utterance]) -> int:
    """Count sessions; 0 if an utterance has none, or if several utterances all have different sessions."""
    names = {utterance.session for utterance in utterances}
    return 0 if "" in names or len(names) == len(utterances) > 1 else len(names)


def speaker_counts(utterances: Sequence[Utterance]) -> dict[str, Counts]:
    """Count hits and errors by speaker, most reference words first."""
    speakers: dict[str, Counts] = {}
    for utterance in utterances:
        speakers[utterance.speaker] = speakers.get(utterance.speaker, Counts()) + utterance.counts
    return dict(sorted(speakers.items(), key=lambda item: (-item[1].words, item[0])))


def _check(part: str, system: str, utterances: Sequence[Utterance]) -> None:
    """Raise UserError if there is nothing to score. `utterances` are sorted by id."""
    where = f"part {part!r}, system {system!r}"
    if not any(utterance.ref for utterance in utterances):
        raise UserError(
            f"{where}: {len(utterances)} utterances without a reference word, so there is nothing to score; see "
            "skipped.tsv of this part and run stage decode again"
        )
    for one, two in pairwise(utterances):
        if one.id == two.id:
            raise UserError(f"{where}: duplicate utterance id {one.id!r}; ids must be unique within a part")


def score_all(
    results: ScoredParts, output: Path, oracle: Mapping[str, float] | None = None, replications: int = REPLICATIONS
) -> list[Score]:
    """Score all systems on all parts and write the files of the score stage.

    Writes recogs-, errs-, align-, per-utt- and per-spk- files, trn and Kaldi text files, wer.txt and summary.json.

    Args:
        results: results[part][system], in the order of the tables.
        output: folder of the files.
        oracle: part -> oracle WER of its n-best lists, for summary.json.
        replications: number of resampled test sets of the intervals.

    Returns:
        one score per part and system, in the order of `results`.
    """
    scores = [
        score_system(part, system, utterances, replications)
        for part, systems in results.items()
        for system, utterances in systems.items()
    ]
    for each in scores:
        write_score(each, output)
    write_text(output / "wer.txt", wer_table(scores) + "\n")
    summaries = [summarise_score(each) for each in scores]
    write_json(output / "summary.json", {"replications": replications, "oracle": oracle or {}, "scores": summaries})
    return scores


def write_score(result: Score, output: Path) -> None:
    """Write the files of one score; see `score_all`."""
    utterances = result.utterances
    write_recogs(output / f"recogs-{result.name}.txt", utterances)
    write_errs(output / f"errs-{result.name}.txt", utterances)
    for side in ("ref", "hyp"):
        write_trn(output / f"{side}-{result.name}.trn", utterances, side)
        write_kaldi_text(output / f"{side}-{result.name}.text", utterances, side)
    ranked = result.worst(len(utterances))
    write_text(output / f"align-{result.name}.txt", "".join(format_alignment(u) + "\n\n" for u in ranked))
    rows = [(f"{u.id}\t{u.speaker}", u.counts) for u in utterances]
    write_text(output / f"per-utt-{result.name}.tsv", _tsv("utterance\tspeaker", rows))
    write_text(output / f"per-spk-{result.name}.tsv", _tsv("speaker", list(result.speakers.items())))


def _tsv(head: str, rows: Sequence[tuple[str, Counts]]) -> str:
    """Format a tab-separated table of counts."""
    lines = [f"{head}\twords\terrors\tins\tdel\tsub\twer"]
    for name, c in rows:
        numbers = (c.words, c.errors, c.insertions, c.deletions, c.substitutions)
        lines.append("\t".join([name, *map(str, numbers), percent(c.rate)]))
    return "\n".join(lines) + "\n"


def summarise_score(result: Score) -> dict[str, Any]:
    """Convert a score to JSON values; rates are fractions, null if undefined."""
    wrong = confusions(result.utterances)
    return {
        "part": result.part,
        "system": result.system,
        "utterances": len(result.utterances),
        "sessions": result.sessions,
        "wrong_utterances": sum(bool(utterance.counts.errors) for utterance in result.utterances),
        **_counts_json(result.counts),
        "interval": [_json_rate(rate) for rate in result.interval],
        "session_interval": result.session_interval and [_json_rate(rate) for rate in result.session_interval],
        "cer": _json_rate(result.cer),
        "speakers": {speaker: _counts_json(counts) for speaker, counts in result.speakers.items()},
        "worst": [
            {"id": u.id, "speaker": u.speaker, "ref": list(u.ref), "hyp": list(u.hyp)} for u in result.worst(WORST)
        ],
        "confusions": {
            "substitutions": [[ref, hyp, n] for (ref, hyp), n in wrong.substitutions.most_common(WORST)],
            "deletions": [[word, n] for word, n in wrong.deletions.most_common(WORST)],
            "insertions": [[word, n] for word, n in wrong.insertions.most_common(WORST)],
        },
    }


def _counts_json(counts: Counts) -> dict[str, Any]:
    return {"wer": _json_rate(counts.rate), "words": counts.words, "errors": counts.errors, **asdict(counts)}


def _json_rate(rate: float) -> float | None:
    """Replace NaN, which JSON does not have."""
    return None if math.isnan(rate) else rate


def wer_table(scores: Sequence[Score]) -> str:
    """Format the WER table with 95 % intervals, and the size of each part below it.

    The column of intervals by session is left out if no part has sessions.
    """
    by_session = any(s.session_interval for s in scores)
    head = ("part", "system", "WER %", "by utterance", *(["by session"] if by_session else []))
    counts = ("ins", "del", "sub", "words", "CER %")
    rows = [
        (
            s.part,
            s.system,
            percent(s.counts.rate),
            _range(s.interval),
            *([_range(s.session_interval)] if by_session else []),
            str(s.counts.insertions),
            str(s.counts.deletions),
            str(s.counts.substitutions),
            str(s.counts.words),
            percent(s.cer),
        )
        for s in scores
    ]
    sizes = dict.fromkeys(_size(s) for s in scores)
    return "\n".join([text_table((*head, *counts), rows, left=2), "", *sizes])


def _range(interval: Interval | None) -> str:
    return f"{percent(interval.low)} - {percent(interval.high)}" if interval else "-"


def _size(s: Score) -> str:
    """Format the size of a part."""
    sessions = f", {s.sessions} sessions (chapters or recordings)" if s.sessions else ""
    return f"{s.part}: {len(s.utterances)} utterances{sessions}, {_number(len(s.speakers), 'speaker')}"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
