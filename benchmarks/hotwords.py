"""Effect of hotwords: `python -m benchmarks.hotwords --exp EXP --part dev-held`.

The hotwords are the rare words of the references (outside the 5000 most probable words of the first-pass language
model) that are in the vocabulary, and as many other rare words, drawn at random. Each utterance is decoded once;
bonuses are applied to its lattice as in streaming recognition. Recall is the share of rare reference words that are
recognised; false alarms are recognised hotwords that are not in the reference at that place. Writes a table.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from augmem.decoding import (
    FIRST_PASS,
    TUNED_FILE,
    DecodingGraph,
    Lattice,
    Scales,
    best_word_sequences,
    find_lattices,
    first_pass_score,
    load_systems,
)
from augmem.decoding.hotwords import Hotword, Hotwords
from augmem.experiment import Experiment
from augmem.graph import HLG_FILE
from augmem.lang import Lang, read_arpa
from augmem.model_acoustics import ModelAcoustics
from augmem.references import scoring_utterance
from augmem.scoring import Utterance, compare, percent, score_system, text_table

FREQUENT = 5000  # words that are not rare
BONUSES = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
HEAD = ("bonus", "WER %", "p", "recall %", "false alarms")


class Benchmark:
    """Lattices of a part.

    Args:
        experiment: a decoded experiment.
        part: the part.
        every: use every n-th utterance.
    """

    def __init__(self, experiment: Experiment, part: str, every: int) -> None:
        self.config, self.lang = experiment.recipe.decoding, Lang.load(experiment.lang)
        self.scales: Scales = load_systems(experiment.decoding / TUNED_FILE)[FIRST_PASS].scales
        acoustics = ModelAcoustics(experiment.model, experiment.lang, experiment.features, [part])
        graph = DecodingGraph.load(experiment.graphs / HLG_FILE, acoustics.origin)
        self.cuts = dict(islice(acoustics.cuts.items(), 0, None, every))
        self.lattices: list[Lattice] = []
        with torch.no_grad():
            for key in self.cuts:
                scores, lengths = acoustics([key])
                self.lattices.append(find_lattices(scores, lengths, graph, self.config)[0].lattice)

    def recognise(self, hotwords: Hotwords) -> list[Utterance]:
        """Return the utterances with the best words of their lattices."""
        found = [self._best(hotwords.apply(lattice, self.lang.word_of)) for lattice in self.lattices]
        return [scoring_utterance(cut, words) for cut, words in zip(self.cuts.values(), found, strict=True)]

    def _best(self, lattice: Lattice) -> tuple[str, ...]:
        paths = best_word_sequences(lattice, self.config, self.lang.silent_ids)
        if not paths:
            return ()
        best = max(paths, key=lambda path: first_pass_score(path, self.scales, self.config.acoustic_scale))
        return tuple(self.lang.word_of[word] for word in best.words)


def rare_words(experiment: Experiment, lang: Lang) -> list[str]:
    """Return the words of the language model outside the most probable ones, sorted."""
    assert experiment.grammar is not None
    model = read_arpa(experiment.grammar)
    order = np.argsort(-model.levels[0].logprob, kind="stable").tolist()
    return sorted({model.words[index] for index in order[FREQUENT:]} & lang.pronunciations.keys())


def choose_hotwords(rare: Sequence[str], utterances: Sequence[Utterance]) -> tuple[list[str], list[str]]:
    """Return the rare words of the references, and as many others."""
    spoken = {word for utterance in utterances for word in utterance.ref}
    wanted, others = [word for word in rare if word in spoken], [word for word in rare if word not in spoken]
    return wanted, random.Random(0).sample(others, len(wanted))


def recall(utterances: Sequence[Utterance], wanted: set[str]) -> float:
    """Return the share of wanted reference words that are recognised."""
    steps = [step for utterance in utterances for step in utterance.steps if step.ref in wanted]
    return sum(step.kind == "hit" for step in steps) / len(steps)


def false_alarms(utterances: Sequence[Utterance], hotwords: set[str]) -> int:
    """Count recognised hotwords that are errors."""
    return sum(step.hyp in hotwords and step.kind != "hit" for utterance in utterances for step in utterance.steps)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exp", type=Path, required=True, help="decoded experiment")
    parser.add_argument("--part", required=True)
    parser.add_argument("--every", type=int, default=1, help="use every n-th utterance (%(default)s)")
    arguments = parser.parse_args()
    experiment = Experiment.load(arguments.exp)
    benchmark = Benchmark(experiment, arguments.part, arguments.every)
    plain = benchmark.recognise(Hotwords(()))
    wanted, others = choose_hotwords(rare_words(experiment, benchmark.lang), plain)
    rows = []
    for bonus in BONUSES:
        found = benchmark.recognise(Hotwords(Hotword((word,), bonus) for word in (*wanted, *others) if bonus))
        p_value = compare(plain, found).matched_pairs.p_value
        wer = score_system(arguments.part, "", found).counts.rate
        alarms = false_alarms(found, {*wanted, *others})
        rows.append((f"{bonus:g}", percent(wer), f"{p_value:.3f}", percent(recall(found, set(wanted))), str(alarms)))
    spoken = sum(word in set(wanted) for utterance in plain for word in utterance.ref)
    print(f"{len(plain)} utterances, {len(wanted)} rare words spoken {spoken} times, {len(others)} others\n")
    print(text_table(HEAD, rows, left=0))


if __name__ == "__main__":
    main()
