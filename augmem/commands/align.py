"""Find when each word and sound of known transcripts was said.

For a part of an experiment's corpus (--exp, --part), or for audio files with a packaged model (--package): the
transcript of talk.wav then stands in talk.txt beside it. Writes words.ctm, units.ctm and a TextGrid for each. With
--labels, also the model's output in every frame, for another model to learn from (training.alignment).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from augmem.decoding import Aligner, Alignment, Timed
    from augmem.experiment import Experiment
    from augmem.scoring import TimedWord
    from augmem.streaming import Package


class Task(NamedTuple):
    """One utterance: its name, scores (T, V), normalised transcript and seconds."""

    name: str
    scores: Tensor
    text: str
    seconds: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which model, which speech, and where the results go."""
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--exp", type=Path, help="an experiment's folder; with --part")
    model.add_argument("--package", type=Path, help="folder made by augmem package; with audio files")
    parser.add_argument("--part", help="part of the experiment's corpus")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="audio; its transcript in FILE's .txt")
    parser.add_argument("--labels", type=Path, help="file for frame labels; with --exp and --part")
    parser.add_argument("--output", type=Path, required=True, help="folder for words.ctm, units.ctm, TextGrids")


def run(arguments: argparse.Namespace) -> int:
    """Align; 1 if nothing could be aligned. What could not is listed in skipped.tsv."""
    if bool(arguments.exp) != bool(arguments.part) or bool(arguments.package) != bool(arguments.files):
        raise ValueError("name either --exp with --part, or --package with audio files")
    aligner, tasks = part_of(arguments.exp, arguments.part) if arguments.exp else given(arguments)
    labels: dict[str, list[int]] | None = {} if arguments.labels else None
    if arguments.labels and not arguments.exp:
        raise ValueError("--labels is for a part of a corpus: name --exp and --part")
    status = align_all(aligner, tasks, arguments.output, labels)
    if labels:
        from augmem.experiment import Experiment
        from augmem.model import AcousticModel
        from augmem.training import write_labels

        model = AcousticModel.load(Experiment.load(arguments.exp).model)
        write_labels(arguments.labels, labels, model.description)
    return status


def part_of(folder: Path, part: str) -> tuple[Aligner, Iterator[Task]]:
    """A part of an experiment's corpus, by its own model."""
    from augmem.decoding import Aligner
    from augmem.experiment import Experiment
    from augmem.lang import Lang
    from augmem.model import AcousticModel

    experiment = Experiment.load(folder)
    if part not in experiment.parts.all():
        raise ValueError(f"no part {part}: the experiment has {', '.join(experiment.parts.all())}")
    model = AcousticModel.load(experiment.model, experiment.lang)
    described = model.description
    aligner = Aligner(Lang.load(experiment.lang), described.topology, model.time_of, biphones=described.biphones)
    return aligner, utterances(experiment, part)


def utterances(experiment: Experiment, part: str) -> Iterator[Task]:
    """Scores of a part's utterances, one by one."""
    from augmem.stages import ModelScores, decoding_utterances

    scores = ModelScores(experiment.model, experiment.lang, experiment.features, [part])
    for utterance in decoding_utterances(experiment, part):
        log_probs, lengths = scores([utterance])
        yield Task(utterance.id, log_probs[0, : lengths[0]], " ".join(utterance.reference), utterance.duration)


def given(arguments: argparse.Namespace) -> tuple[Aligner, Iterator[Task]]:
    """Audio files and their transcripts, by a packaged model."""
    from augmem.decoding import Aligner
    from augmem.files import demand_distinct_names
    from augmem.streaming import open_package

    demand_distinct_names(arguments.files)
    package = open_package(arguments.package)
    described, time_of = package.model.description, package.model.time_of
    aligner = Aligner(package.lang, described.topology, time_of, biphones=described.biphones)
    return aligner, (scored(package, path) for path in arguments.files)


def scored(package: Package, path: Path) -> Task:
    """One audio file.

    Raises:
        FileNotFoundError: it has no transcript.
    """
    import torch

    from augmem.corpus import features_of_file
    from augmem.lang import normalise_text

    text = path.with_suffix(".txt")
    if not text.is_file():
        raise FileNotFoundError(f"{text}: no such file; it must hold the transcript of {path}")
    features = features_of_file(path, package.features)
    with torch.no_grad():
        log_probs, lengths = package.model(features[None], torch.tensor([len(features)]))
    words = normalise_text(text.read_text(encoding="utf-8"))
    return Task(path.stem, log_probs[0, : lengths[0]], words, len(features) * package.features.frame_shift)


def align_all(aligner: Aligner, tasks: Iterator[Task], output: Path, labels: dict[str, list[int]] | None = None) -> int:
    """Align every task, write all files, say how many there are; add frame labels to `labels`."""
    from augmem.corpus import SkipList
    from augmem.corpus.skips import SKIPPED
    from augmem.scoring import write_ctm, write_textgrid

    words: list[TimedWord] = []
    units: list[TimedWord] = []
    skips, done = SkipList(), 0
    output.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        try:
            found = aligner.align(task.scores, task.text)
        except ValueError as error:
            skips.add(task.name, "transcript does not fit", str(error))
            continue
        words += ctm_rows(task.name, found.words)
        units += ctm_rows(task.name, found.units)
        write_textgrid(output / f"{task.name}.TextGrid", tiers(found), task.seconds)
        done += 1
        if labels is not None:
            labels[task.name] = found.outputs
    write_ctm(output / "words.ctm", words)
    write_ctm(output / "units.ctm", units)
    skips.write(output / SKIPPED)
    skips.report("align", done, output / SKIPPED)
    print(f"aligned {done} utterances, {len(words)} words: {output}")
    return 0 if done else 1


def ctm_rows(name: str, timed: list[Timed]) -> list[TimedWord]:
    """As rows of a CTM file."""
    from augmem.scoring import TimedWord

    return [TimedWord(name, item.begin, item.end - item.begin, item.symbol) for item in timed]


def tiers(found: Alignment) -> dict[str, list[Timed]]:
    """As a TextGrid wants it."""
    return {"words": found.words, "units": found.units}
