"""Word error rates, CTM files and normalised references of the decoded parts of an experiment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from lhotse.cut import Cut

from augmem.corpus import normalised_texts, recording_place
from augmem.decoding import TUNED_FILE, SystemOutput, choose_hypothesis, load_systems, oracle_wer, read_nbest
from augmem.experiment import Experiment
from augmem.files import write_text
from augmem.model_acoustics import keyed_cuts
from augmem.references import reference_words, scoring_utterance
from augmem.scoring import TimedWord, score_all, write_ctm

NORMALISED_FILE = "normalisation.tsv"


def write_scores(experiment: Experiment, output: Path) -> None:
    """Write word error rates, CTM files and the normalised references of the dev and test parts."""
    decoded, parts = experiment.decoding, experiment.held_out
    systems = load_systems(decoded / TUNED_FILE)
    cuts = dict(keyed_cuts(experiment.features, parts))
    references = {key: reference_words(cut) for key, cut in cuts.items()}
    lists = {part: list(read_nbest(decoded, part)) for part in parts}
    transcripts = {
        part: {name: [choose_hypothesis(entry, system) for entry in entries] for name, system in systems.items()}
        for part, entries in lists.items()
    }
    results = {
        part: {name: [scoring_utterance(cuts[t.key], t.words) for t in found] for name, found in by_system.items()}
        for part, by_system in transcripts.items()
    }
    score_all(results, output, {part: oracle_wer(entries, references) for part, entries in lists.items()})
    rows = normalised_texts(experiment.manifests, parts)
    write_text(output / NORMALISED_FILE, format_tsv([("utterance", "as written", "as scored"), *rows]))
    for part, by_system in transcripts.items():
        for name, found in by_system.items():
            write_ctm(
                output / f"hyp-{part}-{name}.ctm",
                [word for each in found for word in to_timed_words(each, cuts[each.key])],
            )


def format_tsv(rows: Iterable[Sequence[str]]) -> str:
    """Format rows as a table with tabs; other white space becomes single blanks."""
    return "".join("\t".join(" ".join(field.split()) for field in row) + "\n" for row in rows)


def to_timed_words(transcript: SystemOutput, cut: Cut) -> list[TimedWord]:
    """Convert the transcript of a cut to rows of a CTM file, with times in the recording."""
    recording, channel, start = recording_place(cut)
    rows = zip(transcript.words, transcript.times, transcript.confidences, strict=True)
    return [
        TimedWord(recording, start + begin, end - begin, word, confidence, channel)
        for word, (begin, end), confidence in rows
    ]
