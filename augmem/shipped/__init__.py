"""The model that comes with this project, as a package for the onnx engine, see `augmem.onnx_package`.

In a clone, its lexicon and its language model are links to those in corpora/lm; a wheel has copies.
"""

from pathlib import Path

SHIPPED_MODEL = Path(__file__).parent / "librispeech_5h"
"""English, trained on 5.3 hours of LibriSpeech; README.md there is its card."""
