"""Effect of memory beyond an utterance on held-out parts: `python -m benchmarks.longform --exp SHORT --other LONG`

Every utterance is scored alone, and as part of a long recording: up to --most consecutive utterances of its session are
encoded as one, as in streaming recognition without resets. The second experiment was trained on sessions
(training.batches.session_cuts), with memory passed from utterance to utterance.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from lhotse.cut import Cut
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from augmem.corpus import group_sessions, load_cuts, stored_features
from augmem.decoding import (
    FIRST_PASS,
    TUNED_FILE,
    DecodingFiles,
    UtteranceKey,
    decode_parts,
    load_systems,
    read_system_outputs,
)
from augmem.experiment import Experiment
from augmem.model import AcousticModel
from augmem.model_acoustics import keyed_cuts
from augmem.references import scoring_utterance
from augmem.scoring import Utterance, compare


class ComputedScores:
    """Acoustic scores computed before decoding, by utterance id."""

    origin = None

    def __init__(self, scores: dict[str, Tensor]) -> None:
        self.scores = scores

    def __call__(self, keys: Sequence[UtteranceKey]) -> tuple[Tensor, Tensor]:
        found = [self.scores[key.id] for key in keys]
        return pad_sequence(found, batch_first=True), torch.tensor([len(scores) for scores in found])

    def time_of(self, frame: int) -> float:
        """Return the frame itself; times are not used."""
        return float(frame)


def main() -> None:
    """Print a table of four systems per part, with paired tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--exp", type=Path, required=True, nargs="+", help="experiments trained on utterances, one per seed"
    )
    parser.add_argument(
        "--other", type=Path, required=True, nargs="+", help="experiments trained on sessions, one per seed"
    )
    parser.add_argument("--most", type=int, default=20, help="utterances per recording (%(default)s)")
    args = parser.parse_args()
    print("| part | trained on | scored | WER % by seed | against alone | p |")
    print("|---|---|---|---|---|---|")
    for part in Experiment.load(args.exp[0]).parts.test:
        for name, exps in (("utterances", args.exp), ("sessions", args.other)):
            runs = [decode_both(Experiment.load(exp), part, args.most) for exp in exps]
            alone, joined = (pool([run[place] for run in runs]) for place in (0, 1))
            test = compare(joined, alone, "joined", "alone")
            difference = f"{100 * (test.wer_a - test.wer_b):+.2f}"
            print(f"| {part} | {name} | alone | {rates([run[0] for run in runs])} | | |")
            print(f"| {part} | {name} | joined | {rates([run[1] for run in runs])} | {difference} "
                  f"| {test.bootstrap.p_value:.3f} |", flush=True)  # fmt: skip


def decode_both(experiment: Experiment, part: str, most: int) -> tuple[list[Utterance], list[Utterance]]:
    """Decode each utterance alone, and as part of its recording."""
    model = AcousticModel.load(experiment.model, experiment.lang)
    cuts = list(load_cuts(experiment.features, [part]))
    with torch.no_grad():
        alone = dict(pair for cut in cuts for pair in score(model, [cut]))
        joined = dict(pair for session in group_sessions(cuts, most) for pair in score(model, session))
    return first_pass(experiment, part, alone), first_pass(experiment, part, joined)


def score(model: AcousticModel, cuts: Sequence[Cut]) -> Iterator[tuple[str, Tensor]]:
    """Yield the log-probabilities (T', V) of each cut, all encoded as one recording."""
    group = model.encoder.subsampling
    features = [torch.from_numpy(stored_features(cut)) for cut in cuts]
    # Padded so that no encoder frame spans two utterances.
    whole = [torch.cat([x, x[-1:].expand(-len(x) % group, -1)]) for x in features]
    scores, _ = model(torch.cat(whole)[None], torch.tensor([sum(map(len, whole))]))
    parts = scores[0].split([len(x) // group for x in whole])
    yield from ((cut.id, part) for cut, part in zip(cuts, parts, strict=True))


def first_pass(experiment: Experiment, part: str, scores: dict[str, Tensor]) -> list[Utterance]:
    """Decode with the first-pass scales of the experiment."""
    cuts = dict(keyed_cuts(experiment.features, [part]))
    files = DecodingFiles(experiment.lang, experiment.graphs)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        durations = {key: cut.duration for key, cut in cuts.items()}
        decode_parts(experiment.recipe.decoding, ComputedScores(scores), durations, files, output)
        system = load_systems(experiment.decoding / TUNED_FILE)[FIRST_PASS]
        transcripts = read_system_outputs(output, part, system)
    return [scoring_utterance(cuts[transcript.key], transcript.words) for transcript in transcripts]


def pool(runs: Sequence[Sequence[Utterance]]) -> list[Utterance]:
    """Join the runs of all seeds; utterance ids get the number of the seed."""
    return [Utterance(f"{n}-{u.id}", u.speaker, u.ref, u.hyp) for n, run in enumerate(runs) for u in run]


def rates(runs: Sequence[Sequence[Utterance]]) -> str:
    """Format the WER of each run."""
    return ", ".join(f"{100 * compare(run, run, 'a', 'b').wer_a:.2f}" for run in runs)


if __name__ == "__main__":
    main()
