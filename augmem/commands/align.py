"""Align transcripts: compute the times of words and units by forced alignment.

Aligns a part of the corpus of an experiment (--exp, --part), or audio files with a packaged model (--package); the
transcript of talk.wav is read from talk.txt. Writes words.ctm, units.ctm and one TextGrid per utterance. With --labels,
also writes the model output of every frame, as training targets of another model (training.alignment).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from augmem.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from augmem.decoding import Aligner, Alignment, TimedSymbol
    from augmem.experiment import Experiment
    from augmem.scoring import TimedWord
    from augmem.streaming import Package


class AlignmentTask(NamedTuple):
    """An utterance to align.

    Args:
        name: its id.
        scores: (T, V) log-probabilities.
        text: normalised transcript.
        seconds: duration.
        place: recording and channel as named in CTM files, and start in the recording in seconds; None: it is the
            recording.
    """

    name: str
    scores: Tensor
    text: str
    seconds: float
    place: tuple[str, str, float] | None = None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--exp", type=Path, help="folder of an experiment; with --part")
    model.add_argument("--package", type=Path, help="folder of a packaged model; with audio files")
    parser.add_argument("--part", help="part of the corpus of the experiment")
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="audio file; its transcript is in the .txt file of the same name",
    )
    parser.add_argument("--labels", type=Path, help="file for frame labels; with --exp and --part")
    parser.add_argument("--output", type=Path, required=True, help="folder for words.ctm, units.ctm and TextGrids")


def run(arguments: argparse.Namespace) -> int:
    """Align; return 1 if no utterance could be aligned. Utterances that failed are listed in skipped.tsv.

    Raises:
        UserError: options that do not go together.
    """
    if bool(arguments.exp) != bool(arguments.part) or bool(arguments.package) != bool(arguments.files):
        raise UserError("give either --exp with --part, or --package with audio files")
    if arguments.labels and not arguments.exp:
        raise UserError("--labels needs a part of a corpus: give --exp and --part")
    aligner, tasks = load_part(arguments.exp, arguments.part) if arguments.exp else load_files(arguments)
    labels: dict[str, list[int]] | None = {} if arguments.labels else None
    status = align_all(aligner, tasks, arguments.output, labels)
    if labels:
        from augmem.experiment import Experiment
        from augmem.model import AcousticModel
        from augmem.training import write_labels

        model = AcousticModel.load(Experiment.load(arguments.exp).model)
        write_labels(arguments.labels, labels, model.description)
    return status


def load_part(folder: Path, part: str) -> tuple[Aligner, Iterator[AlignmentTask]]:
    """Return an aligner with the model of an experiment, and the utterances of a part of its corpus.

    Args:
        folder: folder of the experiment.
        part: part of its corpus.

    Raises:
        UserError: the experiment has no such part, or its files have changed.
    """
    from augmem.decoding import Aligner
    from augmem.experiment import Experiment
    from augmem.lang import Lang
    from augmem.model import AcousticModel
    from augmem.stage_runner import check_outputs

    experiment = Experiment.load(folder)
    if part not in experiment.parts.all():
        raise UserError(f"--part {part}: no such part; the experiment has {', '.join(experiment.parts.all())}")
    check_outputs(experiment.model, experiment.lang)
    model = AcousticModel.load(experiment.model, experiment.lang)
    described = model.description
    aligner = Aligner(Lang.load(experiment.lang), described.topology, model.time_of, biphones=described.biphones)
    return aligner, part_tasks(experiment, part)


def part_tasks(experiment: Experiment, part: str) -> Iterator[AlignmentTask]:
    """Yield the utterances of a part with their scores."""
    import torch

    from augmem.corpus import recording_place
    from augmem.decoding import consecutive_batches
    from augmem.devices import find_device
    from augmem.model_acoustics import ModelAcoustics
    from augmem.references import reference_words

    config = experiment.recipe.decoding
    device = find_device(config.device, "decoding.device")
    acoustics = ModelAcoustics(experiment.model, experiment.lang, experiment.features, [part], device)
    # On a CPU, padding costs more than batches gain.
    longest = 0.0 if device.type == "cpu" else config.max_duration
    for keys in consecutive_batches({key: cut.duration for key, cut in acoustics.cuts.items()}, longest):
        with torch.no_grad():
            scores = acoustics(keys)
        for key, log_probs, length in zip(keys, *scores, strict=True):
            cut = acoustics.cuts[key]
            text = " ".join(reference_words(cut))
            yield AlignmentTask(key.id, log_probs[:length], text, cut.duration, recording_place(cut))


def load_files(arguments: argparse.Namespace) -> tuple[Aligner, Iterator[AlignmentTask]]:
    """Return an aligner with a packaged model, and the audio files."""
    from augmem.decoding import Aligner
    from augmem.files import check_distinct_names
    from augmem.streaming import open_package

    check_distinct_names(arguments.files)
    package = open_package(arguments.package)
    described, time_of = package.model.description, package.model.time_of
    aligner = Aligner(package.lang, described.topology, time_of, biphones=described.biphones)
    return aligner, (file_task(package, path) for path in arguments.files)


def file_task(package: Package, path: Path) -> AlignmentTask:
    """Score one audio file.

    Raises:
        FileNotFoundError: it has no transcript.
    """
    import torch

    from augmem.corpus import features_of_file

    text = path.with_suffix(".txt")
    if not text.is_file():
        raise FileNotFoundError(f"{text}: no such file; it must have the transcript of {path}")
    features = features_of_file(path, package.features)
    with torch.no_grad():
        log_probs, lengths = package.model(features[None], torch.tensor([len(features)]))
    words = package.lang.normalisation(text.read_text(encoding="utf-8"))
    return AlignmentTask(path.stem, log_probs[0, : lengths[0]], words, len(features) * package.features.frame_shift)


def align_all(
    aligner: Aligner, tasks: Iterator[AlignmentTask], output: Path, labels: dict[str, list[int]] | None = None
) -> int:
    """Align all tasks, write all files, and add frame labels to `labels`.

    Args:
        aligner: aligns one utterance.
        tasks: utterances with their scores.
        output: folder for words.ctm, units.ctm, TextGrids and skipped.tsv.
        labels: receives the model output of each frame, by utterance.

    Returns:
        0, or 1 if nothing could be aligned.
    """
    from augmem.files import file_name
    from augmem.scoring import write_ctm, write_textgrid
    from augmem.skipped import SKIPPED_FILE, SkipLog

    words: list[TimedWord] = []
    units: list[TimedWord] = []
    skipped, done = SkipLog(), 0
    output.mkdir(parents=True, exist_ok=True)
    for task in tasks:
        try:
            found = aligner.align(task.scores, task.text)
        except UserError as error:
            skipped.add(task.name, "transcript does not fit", str(error))
            continue
        words += ctm_rows(task, found.words)
        units += ctm_rows(task, found.units)
        write_textgrid(output / file_name(task.name, ".TextGrid"), tiers(found), task.seconds)
        done += 1
        if labels is not None:
            labels[task.name] = found.outputs
    write_ctm(output / "words.ctm", words)
    write_ctm(output / "units.ctm", units)
    skipped.write(output / SKIPPED_FILE)
    skipped.log("align", done, output / SKIPPED_FILE)
    print(f"aligned {done} utterances, {len(words)} words: {output}")
    return 0 if done else 1


def ctm_rows(task: AlignmentTask, symbols: Sequence[TimedSymbol]) -> list[TimedWord]:
    """Convert words or units to rows of a CTM file, with times in the recording."""
    from augmem.scoring import TimedWord

    recording, channel, start = task.place or (task.name, "1", 0.0)
    return [
        TimedWord(recording, start + item.begin, item.end - item.begin, item.symbol, channel=channel)
        for item in symbols
    ]


def tiers(found: Alignment) -> dict[str, list[TimedSymbol]]:
    """Convert an alignment to the tiers of a TextGrid."""
    return {"words": found.words, "units": found.units}
