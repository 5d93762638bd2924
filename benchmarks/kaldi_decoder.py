"""Speed of the first pass and of kaldi-decoder: `python -m benchmarks.kaldi_decoder --exp EXP`, some dev utterances.

For each beam the same scores are searched in the same HLG by this project and by kaldi-decoder (OpenFst), in turn
for every utterance: by its LatticeSimpleDecoder, which makes a lattice but has no limit of active states (left out at
the widest beams, where it does not finish), and by its FasterDecoder, which has the limit but finds only the best path.
One process, one thread. Times are processor seconds, so other work on the machine has little effect. The ratio is the
time of this project over the other. WER is that of the best path, at scale 1. Memory is the peak of the process.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
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

from augmem.automata import to_openfst
from augmem.decoding import (
    DecodingConfig,
    DecodingGraph,
    Lattice,
    best_path,
    best_word_sequences,
    find_lattices,
    path_word_ids,
)
from augmem.experiment import Experiment
from augmem.graph import HLG_FILE
from augmem.lang import Lang
from augmem.model_acoustics import ModelAcoustics
from augmem.openfst import write_openfst
from augmem.references import reference_words

T = TypeVar("T")
BEAMS = ((10.0, 6.0, 3000), (14.0, 8.0, 7000), (20.0, 10.0, 10000))  # search, output, most active states
UNLIMITED = 14.0  # widest search beam for a decoder that keeps every state within it


@dataclass(frozen=True)
class Item:
    """An utterance: scores (T, V), word ids of the reference, and duration in seconds."""

    scores: Tensor
    reference: list[int]
    seconds: float


def main() -> None:
    """Print a row of the table for each beam and decoder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exp", type=Path, required=True)
    parser.add_argument("--every", type=int, default=6, help="use every N-th utterance of dev (%(default)s)")
    parser.add_argument("--search-beam", type=float, choices=[beams[0] for beams in BEAMS], help="only this setting")
    args = parser.parse_args()
    torch.set_num_threads(1)
    experiment = Experiment.load(args.exp)
    lang = Lang.load(experiment.lang)
    items = [item for part in experiment.parts.dev for item in load_items(experiment, part, lang, args.every)]
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
    graph: DecodingGraph, fst: kaldifst.StdConstFst, items: Sequence[Item], search: float, output: float, active: int
) -> None:
    """Search all items with each decoder, in turn for every utterance; print a row for each decoder."""
    name, seconds = f"{search:g} / {output:g} / {active}", sum(item.seconds for item in items)
    config = replace(DecodingConfig(), search_beam=search, output_beam=output, max_active=active, acoustic_scale=1.0)
    simple = kaldi_decoder.LatticeSimpleDecoderConfig(beam=search, lattice_beam=output)
    faster = kaldi_decoder.FasterDecoderOptions(beam=search, min_active=config.min_active, max_active=active)
    others = {"kaldi-decoder, best path": partial(kaldi_words, fst, options=faster)}
    if search <= UNLIMITED:
        others = {"kaldi-decoder, lattice": partial(kaldi_lattice_words, fst, options=simple)} | others
    mine, theirs = [], {decoder: [] for decoder in others}
    for item in items:
        mine.append(measure_time(partial(lattice_of, graph, item.scores, config)))
        for decoder, words_of in others.items():
            theirs[decoder].append(measure_time(partial(words_of, item.scores)))
    listing = [measure_time(partial(list_of, lattice, config)) for lattice, _ in mine]
    found = [[] if lattice.is_empty else path_word_ids(lattice, best_path(lattice)) for lattice, _ in mine]
    density = statistics.mean(lattice.density for lattice, _ in mine)
    more = (f"{total(listing) / seconds:.3f}", f"{density:.1f}", f"{memory():.0f}", "")
    show(name, "this project", found, items, total(mine) / seconds, more)
    if search > UNLIMITED:
        print(f"| {name} | kaldi-decoder, lattice | - | - | | | | - |")
    for decoder, rows in theirs.items():
        ratio = f"{total(mine) / total(rows):.2f}"
        show(name, decoder, [words for words, _ in rows], items, total(rows) / seconds, ("", "", "", ratio))


def load_items(experiment: Experiment, part: str, lang: Lang, every: int) -> list[Item]:
    """Compute the scores of every n-th utterance of a part."""
    acoustics = ModelAcoustics(experiment.model, experiment.lang, experiment.features, [part])
    items = []
    for key, cut in islice(acoustics.cuts.items(), 0, None, every):
        with torch.no_grad():
            log_probs, lengths = acoustics([key])
        items.append(Item(log_probs[0, : lengths[0]], lang.word_ids(" ".join(reference_words(cut))), cut.duration))
    return items


def measure_time(action: Callable[[], T]) -> tuple[T, float]:
    """Return the result of an action and its processor time in seconds."""
    started = time.process_time()
    return action(), time.process_time() - started


def total(rows: Sequence[tuple[object, float]]) -> float:
    """Add up seconds."""
    return sum(seconds for _, seconds in rows)


def lattice_of(graph: DecodingGraph, scores: Tensor, config: DecodingConfig) -> Lattice:
    """Search without repeated attempts, so that both decoders do the same work."""
    return find_lattices(scores[None], torch.tensor([len(scores)]), graph, replace(config, retries=0))[0].lattice


def list_of(lattice: Lattice, config: DecodingConfig) -> object:
    """Make the n-best list."""
    return best_word_sequences(lattice, config)


def openfst(graph: k2.Fsa) -> kaldifst.StdConstFst:
    """Convert a decoding graph for kaldi-decoder."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "HLG.fst"
        write_openfst(path, to_openfst(graph))
        return kaldifst.StdConstFst.read(str(path))


def kaldi_best(
    fst: kaldifst.StdConstFst, scores: Tensor, options: kaldi_decoder.FasterDecoderOptions
) -> tuple[float, list[int]]:
    """Return score and words of the best path of a FasterDecoder for scores (T, V); no words if there is none."""
    return best_of(kaldi_decoder.FasterDecoder(fst, options), scores)


def best_of(
    decoder: kaldi_decoder.FasterDecoder | kaldi_decoder.LatticeSimpleDecoder, scores: Tensor
) -> tuple[float, list[int]]:
    """Return score and words of the best path of a decoder for scores (T, V); no words if there is none."""
    decoder.decode(kaldi_decoder.DecodableCtc(scores.numpy()))
    found, path = decoder.get_best_path()
    if not found:
        return float("-inf"), []
    _, _, words, weight = kaldifst.get_linear_symbol_sequence(path)
    return -(weight.value1 + weight.value2), [word for word in words if word]


def kaldi_lattice_words(
    fst: kaldifst.StdConstFst, scores: Tensor, options: kaldi_decoder.LatticeSimpleDecoderConfig
) -> list[int]:
    """Return the words of the best path of a LatticeSimpleDecoder."""
    return best_of(kaldi_decoder.LatticeSimpleDecoder(fst, options), scores)[1]


def kaldi_words(fst: kaldifst.StdConstFst, scores: Tensor, options: kaldi_decoder.FasterDecoderOptions) -> list[int]:
    """Return the words of the best path of a FasterDecoder."""
    return kaldi_best(fst, scores, options)[1]


def show(
    beams: str, decoder: str, found: Sequence[list[int]], items: Sequence[Item], rtf: float, more: tuple[str, ...]
) -> None:
    """Print a row of the table."""
    errors = sum(
        kaldialign.edit_distance(item.reference, words)["total"] for item, words in zip(items, found, strict=True)
    )
    wer = 100 * errors / sum(len(item.reference) for item in items)
    print(f"| {' | '.join((beams, decoder, f'{wer:.2f}', f'{rtf:.3f}', *more))} |", flush=True)


def memory() -> float:
    """Return the peak resident memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
