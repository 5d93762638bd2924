"""Option names of earlier releases, accepted for one release with a note."""

from __future__ import annotations

RENAMED: dict[str, str] = {
    "decoding.insertion_penalties": "decoding.word_insertion_bonuses",
    "training.final_learning_rate": "training.min_lr_ratio",
    "training.weights": "training.checkpoint_averaging",
}
"""Old name -> new name, both as in `--section.field`."""
