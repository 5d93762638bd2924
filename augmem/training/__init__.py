"""Training: one loop from audio features to a model, with CTC handing over to lattice-free MMI.

A run may be killed at any moment; started again it goes on from its newest good checkpoint, and on a CPU it ends
with the very weights it would have had undisturbed.
"""

from augmem.training.config import TrainingConfig
from augmem.training.labels import write_labels
from augmem.training.metrics import read_log
from augmem.training.team import Team
from augmem.training.trainer import MODEL_FILE, Trainer
from augmem.training.weights import average_models

__all__ = ["MODEL_FILE", "Team", "Trainer", "TrainingConfig", "average_models", "read_log", "write_labels"]
