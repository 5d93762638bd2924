"""Speed of the first pass: `python -m benchmarks.decoding --exp EXP`, some dev utterances, one process, one thread.

For each beam the same scores are searched on the same HLG by this project (k2) and by kaldi-decoder (OpenFst), in turn
for every utterance: by its LatticeSimpleDecoder, which makes a lattice as this project does but knows no limit of
states (it is left out at the widest beams, where it would not come to an end), and by its FasterDecoder, which has the
limit but finds the best path alone. Seconds are the processor's, so that other work on the machine does not show. The
ratio is this project's seconds over the other's. WER is the best path's, at scale 1; the n-best list comes on top of
the search. Memory is the process's highest so far.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import k2
import kaldi_decoder
import kaldialign
import kaldifst
import torch
from torch import Tensor

from augmem.decoding import (
    DecodingConfig,
    DecodingGraph,
    Lattice,
    Utterance,
    best_path,
    best_word_sequences,
    find_lattices,
    words_on,
)
from augmem.experiment import Experiment
from augmem.graph import HLG_FILE
from augmem.lang import Lang
from augmem.stages import ModelScores, decoding_utterances

T = TypeVar("T")
BEAMS = ((10.0, 6.0, 3000), (14.0, 8.0, 7000), (20.0, 10.0, 10000))  # search, output, most active states
UNLIMITED = 14.0  # widest search beam for a decoder that keeps every state within it


@dataclass(frozen=True)
class Item:
    """An utterance to search: its scores (T, V), its reference's word ids, and seconds."""

    scores: Tensor
    reference: list[int]
    seconds: float


def main() -> None:
    """Print a line of the table for each beam and decoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exp", type=Path, required=True)
    parser.add_argument("--every", type=int, default=6, help="take every N-th utterance of dev (%(default)s)")
    parser.add_argument("--search-beam", type=float, choices=[beams[0] for beams in BEAMS], help="this setting alone")
    args = parser.parse_args()
    torch.set_num_threads(1)
    experiment = Experiment.load(args.exp)
    lang = Lang.load(experiment.lang)
    items = [item for part in experiment.parts.dev for item in scored(experiment, part, lang, args.every)]
    graph = DecodingGraph.load(experiment.graphs / HLG_FILE)
    fst = openfst(graph.fsa[0])
    seconds = sum(item.seconds for item in items)
    print(f"{len(items)} utterances, {seconds:.0f} s; HLG of {graph.fsa.num_arcs:,} arcs\n")
    print(
        "| beam / lattice beam / states | decoder | WER % | RTF | n-best on top | arcs a frame | memory, MiB | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for beams in BEAMS:
        if args.search_beam in (None, beams[0]):
            side_by_side(graph, fst, items, *beams)


def side_by_side(
    graph: DecodingGraph, fst: kaldifst.StdVectorFst, items: Sequence[Item], search: float, output: float, active: int
) -> None:
    """Search everything with each decoder, in turn for every utterance; a line of the table for each."""
    name, seconds = f"{search:g} / {output:g} / {active}", sum(item.seconds for item in items)
    config = replace(DecodingConfig(), search_beam=search, output_beam=output, max_active=active)
    simple = kaldi_decoder.LatticeSimpleDecoderConfig(beam=search, lattice_beam=output)
    faster = kaldi_decoder.FasterDecoderOptions(beam=search, min_active=config.min_active, max_active=active)
    others = {"kaldi-decoder, best path": partial(kaldi_words, fst, options=faster)}
    if search <= UNLIMITED:
        others = {"kaldi-decoder, lattice": partial(kaldi_lattice_words, fst, options=simple)} | others
    mine, theirs = [], {decoder: [] for decoder in others}
    for item in items:
        mine.append(timed(partial(lattice_of, graph, item.scores, config)))
        for decoder, words_of in others.items():
            theirs[decoder].append(timed(partial(words_of, item.scores)))
    listing = [timed(partial(list_of, lattice, config)) for lattice, _ in mine]
    found = [[] if lattice.is_empty else words_on(lattice, best_path(lattice)) for lattice, _ in mine]
    density = statistics.mean(lattice.density for lattice, _ in mine)
    more = (f"{total(listing) / seconds:.3f}", f"{density:.1f}", f"{memory():.0f}", "")
    show(name, "this project", found, items, total(mine) / seconds, more)
    if search > UNLIMITED:
        print(f"| {name} | kaldi-decoder, lattice | - | - | | | | - |")
    for decoder, rows in theirs.items():
        ratio = f"{total(mine) / total(rows):.2f}"
        show(name, decoder, [words for words, _ in rows], items, total(rows) / seconds, ("", "", "", ratio))


def scored(experiment: Experiment, part: str, lang: Lang, every: int) -> list[Item]:
    """Every N-th utterance of a part, scored by the model."""
    scores = ModelScores(experiment.model, experiment.lang, experiment.features, [part])

    def item(utterance: Utterance) -> Item:
        with torch.no_grad():
            log_probs, lengths = scores([utterance])
        return Item(log_probs[0, : lengths[0]], lang.word_ids(" ".join(utterance.reference)), utterance.duration)

    return [item(utterance) for utterance in islice(decoding_utterances(experiment, part), 0, None, every)]


def timed(action: Callable[[], T]) -> tuple[T, float]:
    """What an action gives, and the seconds of processor it takes."""
    started = time.process_time()
    return action(), time.process_time() - started


def total(rows: Sequence[tuple[object, float]]) -> float:
    """Seconds of all."""
    return sum(seconds for _, seconds in rows)


def lattice_of(graph: DecodingGraph, scores: Tensor, config: DecodingConfig) -> Lattice:
    """The first pass's lattice; no second attempts, so that both decoders do the same work."""
    return find_lattices(scores[None], torch.tensor([len(scores)]), graph, replace(config, retries=0))[0].lattice


def list_of(lattice: Lattice, config: DecodingConfig) -> object:
    """The n-best list."""
    return best_word_sequences(lattice, config)


def openfst(graph: k2.Fsa) -> kaldifst.StdVectorFst:
    """A decoding graph for kaldi-decoder: units raised by one (0 is epsilon there), final weights on states.

    An arc of several words becomes a chain, whose further arcs have no unit.
    """
    fst = kaldifst.StdVectorFst()
    for _ in range(graph.shape[0]):
        fst.add_state()
    fst.start = 0
    arcs, words, scores = graph.arcs.values().tolist(), graph.aux_labels.tolist(), graph.scores.tolist()
    for (source, target, unit, _), out, score in zip(arcs, words, scores, strict=True):
        if unit == -1:
            fst.set_final(source, -score)
            continue
        spelt = out if isinstance(out, list) else [out]
        inner = [fst.add_state() for _ in spelt[1:]]
        states, label, cost = [source, *inner, target], unit + 1, -score
        for place, word in enumerate(spelt or [0]):
            end = target if place + 1 >= len(spelt) else states[place + 1]
            fst.add_arc(states[place], kaldifst.StdArc(label, word, cost, end))
            label, cost = 0, 0.0
    return fst


def kaldi_best(
    fst: kaldifst.StdVectorFst, scores: Tensor, options: kaldi_decoder.FasterDecoderOptions
) -> tuple[float, list[int]]:
    """Score and words of kaldi-decoder's best path for (T, V) scores; nothing if there is none."""
    return best_of(kaldi_decoder.FasterDecoder(fst, options), scores)


def best_of(
    decoder: kaldi_decoder.FasterDecoder | kaldi_decoder.LatticeSimpleDecoder, scores: Tensor
) -> tuple[float, list[int]]:
    """Score and words of a decoder's best path for (T, V) scores; nothing if there is none."""
    decoder.decode(kaldi_decoder.DecodableCtc(scores.numpy()))
    found, path = decoder.get_best_path()
    if not found:
        return float("-inf"), []
    _, _, words, weight = kaldifst.get_linear_symbol_sequence(path)
    return -(weight.value1 + weight.value2), [word for word in words if word]


def kaldi_lattice_words(
    fst: kaldifst.StdVectorFst, scores: Tensor, options: kaldi_decoder.LatticeSimpleDecoderConfig
) -> list[int]:
    """Words on the best path of kaldi-decoder's lattice, which is what costs the time."""
    return best_of(kaldi_decoder.LatticeSimpleDecoder(fst, options), scores)[1]


def kaldi_words(fst: kaldifst.StdVectorFst, scores: Tensor, options: kaldi_decoder.FasterDecoderOptions) -> list[int]:
    """Its words alone."""
    return kaldi_best(fst, scores, options)[1]


def show(
    beams: str, decoder: str, found: Sequence[list[int]], items: Sequence[Item], rtf: float, more: tuple[str, ...]
) -> None:
    """A line of the table."""
    errors = sum(
        kaldialign.edit_distance(item.reference, words)["total"] for item, words in zip(items, found, strict=True)
    )
    wer = 100 * errors / sum(len(item.reference) for item in items)
    print(f"| {' | '.join((beams, decoder, f'{wer:.2f}', f'{rtf:.3f}', *more))} |", flush=True)


def memory() -> float:
    """Highest resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
