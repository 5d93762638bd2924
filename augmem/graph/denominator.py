"""The denominator of LF-MMI: the total score of all unit sequences, weighted by the phone LM."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import Tensor

from augmem.graph.dense import DenseGraph
from augmem.graph.frames import FrameGraph
from augmem.graph.sparse import SparseGraph
from augmem.tensors import TensorFormat, load_tensors, save_tensors

logger = logging.getLogger(__name__)

FILE_FORMAT = TensorFormat("augmem denominator 1", "a denominator", "run the stage graphs again")


class Denominator:
    """Exact total score of all paths of H o P, with the same H as the numerators.

    Args:
        graph: H o P as a frame graph.
        max_states: graphs of up to this many states are summed as a dense matrix, larger ones as a sparse matrix.

    Example:
        >>> import torch
        >>> half = torch.tensor(0.5).log()
        >>> graph = FrameGraph(                              # outputs 0 and 1, each with probability 1/2 in each frame
        ...     labels=torch.tensor([0, 1]), initial=half.expand(2), final=torch.zeros(2),
        ...     sources=torch.tensor([0, 0, 1, 1]), targets=torch.tensor([0, 1, 0, 1]), scores=half.expand(4),
        ... )
        >>> log_probs = torch.tensor([[[0.9, 0.1], [0.2, 0.8]]]).log()
        >>> Denominator(graph)(log_probs, torch.tensor([2])).exp()
        tensor([0.2500])
    """

    def __init__(self, graph: FrameGraph, max_states: int = 1000) -> None:
        states, arcs = len(graph.labels), len(graph.scores)
        self.graph: DenseGraph | SparseGraph = (DenseGraph if states <= max_states else SparseGraph)(graph)
        matrix = "dense" if isinstance(self.graph, DenseGraph) else "sparse"
        logger.info("denominator: %d states, %d arcs, %s matrix", states, arcs, matrix)

    def __call__(self, log_probs: Tensor, lengths: Tensor) -> Tensor:
        """Return total scores (B,) of log_probs (B, T, V) over lengths (B,) frames; differentiable."""
        return self.graph.score(log_probs, lengths)


def write_denominator(graph: FrameGraph, path: Path) -> None:
    """Write the frame graph of a denominator."""
    save_tensors(path, FILE_FORMAT, graph._asdict())


def read_denominator(path: Path) -> FrameGraph:
    """Read the frame graph of a denominator.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: the file does not contain a denominator.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> import torch
        >>> states, arcs = (torch.tensor([0]), torch.zeros(1), torch.zeros(1)), (torch.tensor([0]), torch.tensor([0]))
        >>> with TemporaryDirectory() as folder:
        ...     write_denominator(FrameGraph(*states, *arcs, torch.zeros(1)), Path(folder, "denominator"))
        ...     denominator = Denominator(read_denominator(Path(folder, "denominator")))
        >>> denominator(torch.tensor([[[-1.0], [-2.0]]]), torch.tensor([2]))
        tensor([-3.])
    """
    tensors, _ = load_tensors(path, FILE_FORMAT)
    with FILE_FORMAT.explain(path):
        return FrameGraph(**tensors)
