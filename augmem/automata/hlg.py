"""HLG, the decoding graph: a transducer from model outputs to words, weighted by lexicon and n-gram grammar."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from augmem.automata.fsa import count_states_and_arcs
from augmem.automata.lexicon import build_lexicon
from augmem.automata.topology import build_topology
from augmem.errors import UserError
from augmem.graph import Biphones
from augmem.lang import Lang
from augmem.lazy_k2 import k2

logger = logging.getLogger(__name__)

BYTES_PER_ARC = 500  # of LG composed; 490 measured for 9.4 million arcs, 410 for 10.2 (benchmarks/graph.py, RESULTS.md)


class SizeLog:
    """Runs the steps of building a graph; logs and stores the size and time of each result.

    Attributes:
        sizes: step -> its states, arcs and seconds.
    """

    def __init__(self) -> None:
        self.sizes: dict[str, dict[str, float]] = {}

    def __call__(self, name: str, step: Callable[[], k2.Fsa]) -> k2.Fsa:
        """Run one step.

        Raises:
            UserError: the resulting graph is empty.
        """
        start = perf_counter()
        fsa = step()
        states, arcs = count_states_and_arcs(fsa)
        seconds = round(perf_counter() - start, 3)
        self.sizes[name] = {"states": states, "arcs": arcs, "seconds": seconds}
        logger.info("%-22s %9d states %10d arcs %8.2f s", name, states, arcs, seconds)
        if not arcs:
            raise UserError(f"{name} has no arcs: lexicon and grammar share no word; run stages lang and lm again")
        return fsa


def read_grammar(path: Path) -> k2.Fsa:
    """Read G in OpenFst's text form with costs and ids of words.txt, as kaldilm writes it.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the file is not an FST.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such grammar; run the stage lm first")
    try:
        return k2.Fsa.from_openfst(path.read_text(encoding="utf-8"), acceptor=False)
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not an FST in OpenFst's text form ({reason}); run the stage lm again") from error


def build_hlg(
    lang: Lang, topology: str, grammar: k2.Fsa, log: SizeLog | None = None, biphones: Biphones = ()
) -> k2.Fsa:
    """Compose and determinise H o L o G, with disambiguation symbols inserted before and removed after it.

    Args:
        lang: lexicon and symbol tables.
        topology: name of H.
        grammar: G with back-off label #0, see `read_grammar`.
        log: records the size of each intermediate graph.
        biphones: context of H.

    Returns:
        an arc-sorted transducer from outputs to words: `scores` of lexicon and grammar, ragged `aux_labels` of word
        ids, and `word_starts`, 1 on the arcs where a word starts.
    """
    log = log or SizeLog()
    lexicon = log("L_disambig", lambda: k2.arc_sort(_relabel_first_units(build_lexicon(lang, True), lang)))
    grammar = log("G", lambda: k2.arc_sort(grammar))
    graph = log("LG composed", lambda: k2.connect(k2.compose(lexicon, grammar)))
    warn_of_memory(graph.num_arcs, available_memory())
    graph = log("LG determinised", lambda: k2.connect(k2.determinize(graph)))
    _remove_disambiguation(graph, lang)
    graph = log("LG without epsilons", lambda: k2.connect(k2.remove_epsilon(graph)))
    graph.aux_labels = graph.aux_labels.remove_values_eq(0)
    graph = k2.arc_sort(_restore_first_units(graph, lang))
    frames = build_topology(topology, lang.num_units, biphones)
    return log("HLG", lambda: k2.arc_sort(k2.connect(k2.compose(frames, graph))))


def to_decoding_graph(hlg: k2.Fsa) -> k2.Fsa:
    """Return HLG as k2's intersection reads it: a sorted FsaVec that keeps its scores as `lm_scores`.

    Stored in this form, the file is mapped and used without copies.
    """
    hlg = k2.arc_sort(hlg)
    hlg.lm_scores = hlg.scores.clone()
    return k2.create_fsa_vec([hlg])


def _relabel_first_units(lexicon: k2.Fsa, lang: Lang) -> k2.Fsa:
    """Give the first units of words labels of their own, above all token ids.

    Determinisation moves word labels to where the word is unambiguous; afterwards only these labels show where a word
    starts. They do not enlarge the graph: they occur only after the end of a word, which a disambiguation symbol marks
    where necessary.
    """
    words, labels = lexicon.aux_labels, lexicon.labels.clone()
    labels[(words > 0) & (words < lang.words["#0"])] += len(lang.tokens)
    lexicon.labels = labels
    return lexicon


def _restore_first_units(graph: k2.Fsa, lang: Lang) -> k2.Fsa:
    """Undo `_relabel_first_units`, and mark the arcs by `word_starts`."""
    labels = graph.labels.clone()
    first = labels >= len(lang.tokens)
    labels[first] -= len(lang.tokens)
    graph.labels, graph.word_starts = labels, first.int()
    return graph


def _remove_disambiguation(graph: k2.Fsa, lang: Lang) -> None:
    """Turn disambiguation symbols into epsilons on both sides."""
    labels = graph.labels.clone()
    labels[(labels >= lang.tokens["#0"]) & (labels < len(lang.tokens))] = 0
    graph.labels = labels
    values = graph.aux_labels.values
    values[values >= lang.words["#0"]] = 0


def warn_of_memory(composed_arcs: int, available: float) -> None:
    """Log a warning if building HLG is likely to need more memory than is available (bytes)."""
    needed = BYTES_PER_ARC * composed_arcs
    if needed > available:
        logger.warning(
            "HLG will need about %.1f GB of memory and %.1f GB are free: prune the first-pass language model more "
            "(lm.first_pass_pruning), or lower lm.first_pass_order",
            needed / 1e9, available / 1e9,
        )  # fmt: skip


def available_memory() -> float:
    """Return the available memory in bytes; infinity on systems without /proc/meminfo."""
    meminfo = Path("/proc/meminfo")
    lines = meminfo.read_text().splitlines() if meminfo.exists() else []
    found = [1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return found[0] if found else float("inf")
