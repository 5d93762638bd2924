"""Evaluate streaming recognition: stream held-out parts from their audio and compare with offline decoding."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from lhotse.cut import Cut

from augmem.cluster import WorkerPool, explain_killed_process
from augmem.corpus import load_cuts
from augmem.decoding import FIRST_PASS, TUNED_FILE, load_systems, read_system_outputs
from augmem.experiment import Experiment
from augmem.model_acoustics import keyed_cuts
from augmem.packaging import package_model
from augmem.progress import track
from augmem.references import scoring_utterance
from augmem.scoring import Utterance, compare, comparison_text, read_recogs, score_all
from augmem.stage_runner import fingerprint, run_stage
from augmem.streaming import HotwordLine, Recognizer, RecognizerOptions

logger = logging.getLogger(__name__)

STREAMING = "streaming"
_PACKET = 0.1  # seconds


def evaluate_streaming(experiment: Experiment, jobs: int, hotwords: tuple[HotwordLine, ...] = ()) -> None:
    """Stream every dev and test part, score the results, and log how they differ from offline decoding.

    Args:
        experiment: a decoded experiment.
        jobs: number of worker processes.
        hotwords: hotwords of all utterances.
    """
    parts, output = experiment.held_out, experiment.streaming
    inputs: dict[str, Any] = {"decode": fingerprint(experiment.decoding)}
    if hotwords:
        inputs["hotwords"] = [(line.text, line.bonus) for line in hotwords]

    def action(folder: Path) -> None:
        package = folder / "package"
        package_model(experiment, package)
        results = {part: {STREAMING: stream_part(experiment, part, package, jobs, hotwords)} for part in parts}
        score_all(results, folder)

    run_stage("stream", output, inputs, action, [experiment.decoding])
    logger.info("streaming word error rates:\n%s", (output / "wer.txt").read_text(encoding="utf-8"))
    for part in parts:
        logger.info("%s\n", compare_with_offline(experiment, part, output))


def stream_part(
    experiment: Experiment, part: str, package: Path, jobs: int, hotwords: tuple[HotwordLine, ...] = ()
) -> list[Utterance]:
    """Recognise every utterance of a part, each as a stream of its own."""
    cuts = list(load_cuts(experiment.features, [part], in_memory=False))
    words = track(stream_cuts(package, cuts, jobs, hotwords), f"streaming {part}", total=len(cuts), unit="utterances")
    return [scoring_utterance(cut, hypothesis) for cut, hypothesis in zip(cuts, words, strict=True)]


def stream_cuts(
    package: Path, cuts: Sequence[Cut], jobs: int, hotwords: tuple[HotwordLine, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """Recognise cuts in worker processes; yield the words of each, in the order of `cuts`."""
    context = multiprocessing.get_context("spawn")
    with explain_killed_process("use fewer jobs (--nj)"), WorkerPool(jobs, context) as pool:
        yield from pool.map(partial(stream_cut, package, hotwords), cuts, chunksize=4)


def stream_cut(package: Path, hotwords: tuple[HotwordLine, ...], cut: Cut) -> tuple[str, ...]:
    """Stream one cut in packets of 0.1 s, at the sampling rate of its recording."""
    samples = cut.load_audio()[0].astype("float32")
    packet = int(_PACKET * cut.sampling_rate)
    packets = (samples[begin : begin + packet] for begin in range(0, len(samples), packet))
    events = load_cached_recognizer(package, hotwords).transcribe(packets, cut.sampling_rate)
    return tuple(word.text for event in events for word in event.words)


@cache
def load_cached_recognizer(package: Path, hotwords: tuple[HotwordLine, ...]) -> Recognizer:
    """Load the recognizer of this worker process, without endpoints: a cut is scored as one utterance."""
    torch.set_num_threads(1)
    return Recognizer.load(package, RecognizerOptions.one_segment(hotwords=hotwords))


def compare_with_offline(experiment: Experiment, part: str, streamed: Path) -> str:
    """Compare offline and streamed results of one part: both significance tests and the utterances that differ."""
    system = load_systems(experiment.decoding / TUNED_FILE)[FIRST_PASS]
    cuts = dict(keyed_cuts(experiment.features, [part]))
    transcripts = read_system_outputs(experiment.decoding, part, system)
    offline = [scoring_utterance(cuts[transcript.key], transcript.words) for transcript in transcripts]
    live = read_recogs(streamed / f"recogs-{part}-{STREAMING}.txt", {u.id: u.speaker for u in offline})
    return comparison_text(compare(offline, live, f"{part} offline", f"{part} streaming"), examples=0)
