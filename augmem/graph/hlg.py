"""HLG, the decoding graph: frames in, words out, weighted by the lexicon and an n-gram grammar."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import k2

from augmem.graph.fsa import size_of
from augmem.graph.lexicon_fst import build_lexicon
from augmem.graph.topology import Biphones, build_topology

if TYPE_CHECKING:
    from augmem.lang import Lang

_LOG = logging.getLogger(__name__)

BYTES_PER_ARC = 500  # of LG composed; 490 measured for 9.4 million arcs, 410 for 10.2 (benchmarks/graph.py, RESULTS.md)


class Origin(NamedTuple):
    """What a decoding graph was made of, and keeps as attributes; a model must be of the same to be decoded with it.

    Args:
        lang_hash: content hash of the lang folder.
        topology: name of H.
        context: of its classes (`context_hash`).
    """

    lang_hash: str
    topology: str
    context: str = ""


class SizeLog:
    """Runs the steps of building a graph; logs and remembers each result's size and time."""

    def __init__(self) -> None:
        self.sizes: dict[str, dict[str, float]] = {}

    def __call__(self, name: str, step: Callable[[], k2.Fsa]) -> k2.Fsa:
        """Run one step.

        Raises:
            ValueError: nothing is left of the graph.
        """
        start = perf_counter()
        fsa = step()
        states, arcs = size_of(fsa)
        seconds = round(perf_counter() - start, 3)
        self.sizes[name] = {"states": states, "arcs": arcs, "seconds": seconds}
        _LOG.info("%-22s %9d states %10d arcs %8.2f s", name, states, arcs, seconds)
        if not arcs:
            raise ValueError(f"{name} has no arcs: lexicon and grammar share no word; run stages lang and lm again")
        return fsa


def read_grammar(path: Path) -> k2.Fsa:
    """Read G as kaldilm writes it (OpenFst text: costs, words.txt ids), with scores also kept as `lm_scores`.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: it is not an FST.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such grammar; run the stage lm first")
    try:
        grammar = k2.Fsa.from_openfst(path.read_text(encoding="utf-8"), acceptor=False)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: not an FST in OpenFst's text form; run the stage lm again") from error
    grammar.lm_scores = grammar.scores.clone()
    return grammar


def build_hlg(
    lang: Lang, topology: str, grammar: k2.Fsa, log: SizeLog | None = None, biphones: Biphones = ()
) -> k2.Fsa:
    """Compose and determinise H o L o G; disambiguation symbols are used and removed on the way.

    Args:
        lang: lexicon and symbol tables.
        topology: name of H.
        grammar: G with back-off label #0, as `read_grammar` gives it.
        biphones: context of H.

    Returns:
        A sorted transducer from outputs to words: `scores` of lexicon and grammar, `lm_scores` of the grammar
            alone, ragged `aux_labels`, word ids, and `begun`, 1 on the arcs with which a word begins.
    """
    log = log or SizeLog()
    lexicon = log("L_disambig", lambda: k2.arc_sort(_first_units_apart(build_lexicon(lang, disambiguate=True), lang)))
    grammar = log("G", lambda: k2.arc_sort(grammar))
    graph = log("LG composed", lambda: k2.connect(k2.compose(lexicon, grammar)))
    warn_of_memory(graph.num_arcs, available_memory())
    graph = log("LG determinised", lambda: k2.connect(k2.determinize(graph)))
    _remove_disambiguation(graph, lang)
    graph = log("LG without epsilons", lambda: k2.connect(k2.remove_epsilon(graph)))
    graph.aux_labels = graph.aux_labels.remove_values_eq(0)
    graph = k2.arc_sort(_first_units_marked(graph, lang))
    frames = build_topology(topology, lang.num_units, biphones)
    return log("HLG", lambda: k2.arc_sort(k2.connect(k2.compose(frames, graph))))


def mark_origin(graph: k2.Fsa, origin: Origin) -> k2.Fsa:
    """The graph, with its origin as attributes `lang_hash`, `topology` and `context`."""
    for name, value in origin._asdict().items():
        setattr(graph, name, value)
    return graph


def check_origin(graph: k2.Fsa, origin: Origin, path: Path) -> None:
    """Refuse a graph of another origin than the model's. Graphs made elsewhere say nothing of theirs.

    Args:
        graph: as read from `path`.
        origin: the model's.

    Raises:
        ValueError: naming both origins, and the remedy.
    """
    for name, wanted in origin._asdict().items():
        found = getattr(graph, name, wanted)
        if found != wanted:
            raise ValueError(
                f"{path}: the graph's {name} is {found}, the model's {wanted}: its words would come out wrong; "
                "run the graphs stage of the model's own experiment"
            )


def _first_units_apart(lexicon: k2.Fsa, lang: Lang) -> k2.Fsa:
    """L_disambig with labels of their own for the first units of words.

    Determinisation moves words to where they are certain, so that afterwards only such labels tell where a word begins.
    They cost nothing: only after the end of a word, which a disambiguation symbol marks where it must, can they follow.
    """
    words, labels = lexicon.aux_labels, lexicon.labels.clone()
    labels[(words > 0) & (words < lang.words["#0"])] += len(lang.tokens)
    lexicon.labels = labels
    return lexicon


def _first_units_marked(graph: k2.Fsa, lang: Lang) -> k2.Fsa:
    """The graph with the units' usual labels again, and first ones marked by `begun`."""
    labels = graph.labels.clone()
    first = labels >= len(lang.tokens)
    labels[first] -= len(lang.tokens)
    graph.labels, graph.begun = labels, first.int()
    return graph


def _remove_disambiguation(graph: k2.Fsa, lang: Lang) -> None:
    """Turn disambiguation symbols into epsilons on both sides."""
    labels = graph.labels.clone()
    labels[(labels >= lang.tokens["#0"]) & (labels < len(lang.tokens))] = 0
    graph.labels = labels
    values = graph.aux_labels.values
    values[values >= lang.words["#0"]] = 0


def warn_of_memory(composed_arcs: int, available: float) -> None:
    """Say beforehand if building HLG is likely to need more memory than there is, in bytes."""
    needed = BYTES_PER_ARC * composed_arcs
    if needed > available:
        _LOG.warning(
            "HLG will need about %.1f GB of memory and %.1f GB are free: prune the first-pass language model more "
            "(lm.first_pass_pruning), or lower lm.first_pass_order",
            needed / 1e9, available / 1e9,
        )  # fmt: skip


def available_memory() -> float:
    """Bytes that may still be had; without limit where the system does not tell."""
    meminfo = Path("/proc/meminfo")
    lines = meminfo.read_text().splitlines() if meminfo.exists() else []
    found = [1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return found[0] if found else float("inf")
