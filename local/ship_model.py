"""Make the model of the package, augmem/shipped/librispeech_5h, from an experiment: `python -m local.ship_model EXP`.

Lexicon and language model there are links to the carried ones: the graph of this model has the larger, rescoring
language model, since the onnx engine does not rescore. Its scales are chosen by this engine on every sixteenth
utterance of dev-held: those of the experiment belong to lists of hypotheses, and an LM scale of 2 or more in the graph
loses words to the beam. `python -m benchmarks.shipped_model --card` then measures the model and writes the table of its
card.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from shutil import copyfile
from typing import Any, NamedTuple

from augmem.experiment import Experiment
from augmem.files import read_json
from augmem.onnx_engine import OnnxRecognizer
from augmem.onnx_export import export_onnx_package
from augmem.onnx_package import FILES, open_onnx_package, write_onnx_package_file
from augmem.packaging import read_experiment
from augmem.shipped import SHIPPED_MODEL
from benchmarks.shipped_model import clean, read_part, recognise


class Scales(NamedTuple):
    """Scales of the decoding graph."""

    lm_scale: float
    word_insertion_bonus: float


SCALES = tuple(Scales(lm, bonus) for lm in (0.8, 1.0, 1.2, 1.4) for bonus in (0.0, 0.5, 1.0))
EVERY = 16  # N of every N-th utterance of dev-held


def ship(exp: Path, folder: Path = SHIPPED_MODEL) -> None:
    """Replace the model of a package by that of an experiment.

    Args:
        exp: a decoded experiment whose vocabulary is that of the carried lexicon.
        folder: the package, which has a lexicon and a language model.
    """
    with tempfile.TemporaryDirectory() as temporary:
        exported = Path(temporary) / "package"
        export_onnx_package(read_experiment(exp), Experiment.load(exp).grammar, exported)
        for name in (FILES.model, FILES.tokens):
            copyfile(exported / name, folder / name)
        reseal(folder, read_json(exported / "package.json"))


def tune_scales(folder: Path) -> dict[str, float]:
    """Return the scales with the fewest word errors; `folder` has the last ones tried."""
    errors: dict[Scales, int] = {}
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["AUGMEM_CACHE"] = temporary  # of one graph after the other
        speeches = read_part("dev-held", Path(temporary), EVERY)
        for scales in SCALES:
            reseal(folder, read_json(folder / "package.json") | scales._asdict())
            found = recognise(OnnxRecognizer(folder), speeches, clean)
            errors[scales] = sum(utterance.counts.errors for utterance in found.utterances)
            print(f"{scales}: {errors[scales]} errors", flush=True)
    return min(errors, key=lambda scales: errors[scales])._asdict()


def reseal(folder: Path, found: dict[str, Any]) -> None:
    """Write package.json for the present files of a package, with the values of a package.json."""
    write_onnx_package_file(folder, {name: found[name] for name in found if name not in ("format", "hashes", "sha256")})
    open_onnx_package(folder)


if __name__ == "__main__":
    ship(Path(sys.argv[1]))
    reseal(SHIPPED_MODEL, read_json(SHIPPED_MODEL / "package.json") | tune_scales(SHIPPED_MODEL))
    print(*(f"{SHIPPED_MODEL / name}: {(SHIPPED_MODEL / name).stat().st_size:,} bytes" for name in FILES), sep="\n")
