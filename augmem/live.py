"""A model ready for live recognition, and how well that does: held-out parts streamed from their audio."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path

import torch
from lhotse.cut import Cut
from tqdm import tqdm

from augmem.cluster import explain_killed_process
from augmem.corpus import load_cuts
from augmem.decoding import FIRST_PASS, hypotheses, load_scales
from augmem.experiment import TUNED_FILE, Experiment
from augmem.model import AcousticModel
from augmem.pipeline import fingerprint, run_stage
from augmem.scoring import Utterance, compare, comparison_text, provenance, read_recogs, score_all
from augmem.streaming import Recognizer, RecognizerOptions, write_package

logger = logging.getLogger(__name__)

STREAMING = "streaming"
LICENCE = """\
The code that made this model is under the Apache License 2.0. The weights and graphs were learnt from the speech and
text that README.md names: whoever gives them away must keep to the terms of those.
"""
_PACKET = 0.1  # seconds


def stream(experiment: Experiment, jobs: int) -> None:
    """Word error rates of every dev and test part, streamed, and how they differ from offline decoding's."""
    parts = tuple(dict.fromkeys((*experiment.parts.dev, *experiment.parts.test)))
    output = experiment.streaming
    inputs = {"decode": fingerprint(experiment.decoding)}

    def action(folder: Path) -> None:
        package = folder / "package"
        package_model(experiment, package)
        results = {part: {STREAMING: heard(experiment, part, package, jobs)} for part in parts}
        score_all(results, folder)

    run_stage("stream", output, inputs, action)
    logger.info("streamed:\n%s", (output / "wer.txt").read_text(encoding="utf-8"))
    for part in parts:
        logger.info("%s\n", against_offline(experiment, part, output))


def heard(experiment: Experiment, part: str, package: Path, jobs: int) -> list[Utterance]:
    """What live recognition makes of each utterance of a part, every one a stream of its own."""
    cuts = list(load_cuts(experiment.features, [part], in_memory=False))
    words = tqdm(listen(package, cuts, jobs), total=len(cuts), desc=f"streaming {part}", unit="utt", mininterval=1)
    return [
        Utterance(cut.id, cut.supervisions[0].speaker, tuple(cut.supervisions[0].text.split()), answer)
        for cut, answer in zip(cuts, words, strict=True)
    ]


def listen(package: Path, cuts: Sequence[Cut], jobs: int) -> Iterator[tuple[str, ...]]:
    """The words of each cut, in order, by worker processes."""
    context = multiprocessing.get_context("spawn")
    with explain_killed_process("use fewer jobs (--nj)"), ProcessPoolExecutor(jobs, context) as pool:
        yield from pool.map(partial(transcribe, package), cuts, chunksize=4)


@cache
def recogniser(package: Path) -> Recognizer:
    """Of this worker process. Utterances are scored one by one, so no endpoint may split them."""
    torch.set_num_threads(1)
    return Recognizer.load(package, RecognizerOptions(rules=(), max_segment=float("inf")))


def transcribe(package: Path, cut: Cut) -> tuple[str, ...]:
    """Stream one cut in packets of a tenth of a second, at the rate of its recording."""
    samples = cut.load_audio()[0].astype("float32")
    packet = int(_PACKET * cut.sampling_rate)
    packets = (samples[begin : begin + packet] for begin in range(0, len(samples), packet))
    events = recogniser(package).transcribe(packets, cut.sampling_rate)
    return tuple(word.text for event in events for word in event.words)


def against_offline(experiment: Experiment, part: str, streamed: Path) -> str:
    """Both tests of one part, and the utterances that differ."""
    scales = load_scales(experiment.decoding / TUNED_FILE)[FIRST_PASS]
    offline = [
        Utterance(answer.id, answer.speaker, answer.reference, answer.words)
        for answer in hypotheses(experiment.decoding, part, FIRST_PASS, scales)
    ]
    live = read_recogs(streamed / f"recogs-{part}-{STREAMING}.txt", {u.id: u.speaker for u in offline})
    return comparison_text(compare(offline, live, f"{part} offline", f"{part} streaming"), examples=0)


def package_model(experiment: Experiment, output: Path) -> None:
    """The trained model as one folder (see `augmem.streaming.package`)."""
    scales = load_scales(experiment.decoding / TUNED_FILE)[FIRST_PASS]
    graph = experiment.graphs / "HLG.pt"
    card = model_card(experiment)
    write_package(output, experiment.model, experiment.lang, graph, scales, card, LICENCE, provenance())


def model_card(experiment: Experiment) -> str:
    """What the model is, what it was trained on, and how well it does."""
    recipe, parts = experiment.recipe, experiment.parts
    model = AcousticModel.load(experiment.model, experiment.lang)
    encoder, size = model.encoder, sum(parameter.numel() for parameter in model.parameters())
    wer = experiment.scores / "wer.txt"
    table = wer.read_text(encoding="utf-8").splitlines() if wer.exists() else ["not scored"]
    return f"""\
# {experiment.root.name}

- encoder: {recipe.encoder.type}, {size:,} parameters, look-ahead {encoder.look_ahead:.2f} s, average latency
  {encoder.average_latency:.2f} s
- hears {recipe.features.sampling_rate} Hz, scores {model.description.num_units} units ({recipe.lang.units})
- trained on {", ".join(parts.train)} of corpus {recipe.corpus.recipe}, tuned on {", ".join(parts.dev)}
- further text: {", ".join(recipe.lm.extra_text) or "none"}

Word error rates, with 95 % bootstrap intervals, decoded offline:

{chr(10).join(f"    {line}" for line in table)}
"""
