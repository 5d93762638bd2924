"""Training objectives: CTC, frame cross-entropy and lattice-free MMI, pure functions of log probabilities and graphs.

Each returns `Scores`: numerators, denominators and a mask of the utterances whose transcript fits into their frames.
Nothing is averaged; divide `Scores.loss()` by the number of frames.
"""

from augmem.objective.cross_entropy import cross_entropy_scores
from augmem.objective.ctc import ctc_scores
from augmem.objective.mmi import LatticeFreeMmi, occupancy
from augmem.objective.scores import Scores, make_scores

__all__ = ["LatticeFreeMmi", "Scores", "cross_entropy_scores", "ctc_scores", "make_scores", "occupancy"]
