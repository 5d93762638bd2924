"""Training of acoustic models: CTC, then lattice-free MMI.

A run may be interrupted at any time. Started again, it resumes from its newest checkpoint, and on a CPU it ends with
exactly the weights of an uninterrupted run.
"""

from augmem.training.build import build_trainer
from augmem.training.checkpoint import write_checkpoint
from augmem.training.config import TrainingConfig
from augmem.training.distributed import DistributedContext
from augmem.training.labels import save_labels, write_labels
from augmem.training.launch import default_processes, launch_processes
from augmem.training.log import read_log
from augmem.training.trainer import MODEL_FILE, Trainer

__all__ = [
    "MODEL_FILE",
    "DistributedContext",
    "Trainer",
    "TrainingConfig",
    "build_trainer",
    "default_processes",
    "launch_processes",
    "read_log",
    "save_labels",
    "write_checkpoint",
    "write_labels",
]
