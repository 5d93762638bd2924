"""Scores: the WER of a part with its interval, speakers and worst utterances, as files, JSON and a table."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from augmem.files import write_json, write_text
from augmem.scoring.alignment import Counts, Utterance, as_characters, readable, total
from augmem.scoring.icefall import confusions, write_errs, write_recogs
from augmem.scoring.intervals import Interval, Resample, wer_interval
from augmem.scoring.nist import write_kaldi_text, write_trn
from augmem.scoring.tables import percent, text_table

Results = Mapping[str, Mapping[str, Sequence[Utterance]]]


@dataclass(frozen=True)
class ScoringConfig:
    """How scores are computed.

    Args:
        replications: resampled test sets behind each confidence interval
        seed: of the resampling; the same seed gives the same intervals
        resample: what is drawn: single utterances, or whole speakers (wider; for claims about new speakers)
        worst: how many of the worst utterances, and of the most frequent confusions, the summary keeps
    """

    replications: int = 10_000
    seed: int = 0
    resample: Resample = "utterance"
    worst: int = 10

    def __post_init__(self) -> None:
        if self.replications < 100:
            raise ValueError(f"scoring.replications is {self.replications}; an interval needs at least 100")
        if self.seed < 0:
            raise ValueError(f"scoring.seed is {self.seed}; it must not be negative")
        if self.resample not in ("utterance", "speaker"):
            raise ValueError(f"scoring.resample is {self.resample!r}; it must be 'utterance' or 'speaker'")
        if self.worst < 0:
            raise ValueError(f"scoring.worst is {self.worst}; it must not be negative")


@dataclass(frozen=True)
class Score:
    """How well one system did on one part.

    Args:
        part: name of the data
        system: name of the recogniser, e.g. "first pass"
        counts: hits and errors of all words
        interval: 95 % bootstrap interval of the WER
        cer: character error rate, spaces not counted
        speakers: counts of each speaker, most reference words first
        utterances: what was scored, by name
    """

    part: str
    system: str
    counts: Counts
    interval: Interval
    cer: float
    speakers: dict[str, Counts]
    utterances: tuple[Utterance, ...]

    @property
    def name(self) -> str:
        """Part and system as they stand in file names."""
        return "-".join(re.sub(r"[^\w.+-]+", "_", name) for name in (self.part, self.system))

    def worst(self, number: int) -> list[Utterance]:
        """The utterances with the most errors; among equals the shorter, then by name."""
        wrong = [utterance for utterance in self.utterances if utterance.counts.errors]
        return sorted(wrong, key=lambda u: (-u.counts.errors, u.counts.words, u.id))[:number]


def score(part: str, system: str, utterances: Sequence[Utterance], config: ScoringConfig | None = None) -> Score:
    """Score one system on one part.

    Raises:
        ValueError: nothing to score, no reference words at all, or an utterance given twice.
    """
    config = config or ScoringConfig()
    ordered = tuple(sorted(utterances, key=lambda utterance: utterance.id))
    _check(part, system, ordered)
    speakers: dict[str, Counts] = {}
    for utterance in ordered:
        speakers[utterance.speaker] = speakers.get(utterance.speaker, Counts()) + utterance.counts
    return Score(
        part=part,
        system=system,
        counts=total(utterance.counts for utterance in ordered),
        interval=wer_interval(ordered, config.replications, config.seed, config.resample),
        cer=total(as_characters(utterance).counts for utterance in ordered).rate,
        speakers=dict(sorted(speakers.items(), key=lambda item: (-item[1].words, item[0]))),
        utterances=ordered,
    )


def _check(part: str, system: str, utterances: Sequence[Utterance]) -> None:
    """Refuse what has no meaningful score. `utterances` are sorted by name."""
    where = f"part {part!r}, system {system!r}"
    if not any(utterance.ref for utterance in utterances):
        raise ValueError(
            f"{where}: {len(utterances)} utterances without a single reference word, so there is nothing to "
            "score; look at skipped.tsv of this part and run decoding again"
        )
    for one, two in pairwise(utterances):
        if one.id == two.id:
            raise ValueError(f"{where}: utterance {one.id!r} is there twice; give each its own name")


def score_all(results: Results, output: Path, config: ScoringConfig | None = None) -> list[Score]:
    """Score every system on every part and write all files of the scoring stage.

    Args:
        results: results[part][system], in the order in which tables shall show them
        output: folder for recogs-, errs-, align-, per-utt- and per-spk- files, trn and Kaldi's text files,
            wer.txt and summary.json

    Returns:
        One score per part and system, in that order.
    """
    config = config or ScoringConfig()
    scores = [
        score(part, system, utterances, config)
        for part, systems in results.items()
        for system, utterances in systems.items()
    ]
    for each in scores:
        write_files(each, output)
    write_text(output / "wer.txt", wer_table(scores) + "\n")
    summaries = [summary(each, config.worst) for each in scores]
    write_json(output / "summary.json", {"config": asdict(config), "scores": summaries})
    return scores


def write_files(result: Score, output: Path) -> None:
    """Write one score's files; see `score_all`."""
    utterances = result.utterances
    write_recogs(output / f"recogs-{result.name}.txt", utterances)
    write_errs(output / f"errs-{result.name}.txt", utterances)
    for side in ("ref", "hyp"):
        write_trn(output / f"{side}-{result.name}.trn", utterances, side)
        write_kaldi_text(output / f"{side}-{result.name}.text", utterances, side)
    ranked = result.worst(len(utterances))
    write_text(output / f"align-{result.name}.txt", "".join(readable(u) + "\n\n" for u in ranked))
    rows = [(f"{u.id}\t{u.speaker}", u.counts) for u in utterances]
    write_text(output / f"per-utt-{result.name}.tsv", _tsv("utterance\tspeaker", rows))
    write_text(output / f"per-spk-{result.name}.tsv", _tsv("speaker", list(result.speakers.items())))


def _tsv(head: str, rows: Sequence[tuple[str, Counts]]) -> str:
    """A table of counts, tab separated."""
    lines = [f"{head}\twords\terrors\tins\tdel\tsub\twer"]
    for name, c in rows:
        numbers = (c.words, c.errors, c.insertions, c.deletions, c.substitutions)
        lines.append("\t".join([name, *map(str, numbers), percent(c.rate)]))
    return "\n".join(lines) + "\n"


def summary(result: Score, worst: int = 10) -> dict[str, Any]:
    """The score as plain JSON values, rates as fractions, null where a rate is not defined."""
    wrong = confusions(result.utterances)
    return {
        "part": result.part,
        "system": result.system,
        "utterances": len(result.utterances),
        "wrong_utterances": sum(bool(utterance.counts.errors) for utterance in result.utterances),
        **_counts_json(result.counts),
        "interval": [_json_rate(rate) for rate in result.interval],
        "cer": _json_rate(result.cer),
        "speakers": {speaker: _counts_json(counts) for speaker, counts in result.speakers.items()},
        "worst": [
            {"id": u.id, "speaker": u.speaker, "ref": list(u.ref), "hyp": list(u.hyp)} for u in result.worst(worst)
        ],
        "confusions": {
            "substitutions": [[ref, hyp, n] for (ref, hyp), n in wrong.substitutions.most_common(worst)],
            "deletions": [[word, n] for word, n in wrong.deletions.most_common(worst)],
            "insertions": [[word, n] for word, n in wrong.insertions.most_common(worst)],
        },
    }


def _counts_json(counts: Counts) -> dict[str, Any]:
    return {"wer": _json_rate(counts.rate), "words": counts.words, "errors": counts.errors, **asdict(counts)}


def _json_rate(rate: float) -> float | None:
    """JSON knows no NaN."""
    return None if math.isnan(rate) else rate


def wer_table(scores: Sequence[Score]) -> str:
    """The WER table as the terminal shows it."""
    head = ("part", "system", "WER %", "95 % interval", "ins", "del", "sub", "words", "utts", "CER %")
    rows = [
        (
            s.part,
            s.system,
            percent(s.counts.rate),
            f"{percent(s.interval.low)} - {percent(s.interval.high)}",
            str(s.counts.insertions),
            str(s.counts.deletions),
            str(s.counts.substitutions),
            str(s.counts.words),
            str(len(s.utterances)),
            percent(s.cer),
        )
        for s in scores
    ]
    return text_table(head, rows, left=2)
