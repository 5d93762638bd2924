"""Make the model of the package, augmem/shipped/librispeech_5h, from an experiment: `python -m local.ship_model EXP`.

Lexicon and language model there are links to the carried ones: the graph of this model has the larger, rescoring
language model, since the onnx engine does not rescore. Therefore its scales are those of rescoring: on every tenth
utterance of dev-held, those of the first pass (LM scale 2) lose ten points, since the beam is too narrow for them.
`python -m benchmarks.shipped_model --card` then measures the model and writes the table of its card.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from shutil import copyfile
from typing import Any

from augmem.decoding import RESCORED, TUNED_FILE, load_systems
from augmem.experiment import Experiment
from augmem.files import read_json
from augmem.onnx_export import export_onnx_package
from augmem.onnx_package import FILES, open_onnx_package, write_onnx_package_file
from augmem.packaging import read_experiment
from augmem.shipped import SHIPPED_MODEL


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
        reseal(folder, read_json(exported / "package.json") | rescoring_scales(exp))


def rescoring_scales(exp: Path) -> dict[str, float]:
    """Return the scales tuned for the rescoring language model."""
    system = load_systems(Experiment.load(exp).decoding / TUNED_FILE)[RESCORED]
    return {"lm_scale": system.scales.lm_scale, "word_insertion_bonus": system.scales.word_insertion_bonus}


def reseal(folder: Path, found: dict[str, Any]) -> None:
    """Write package.json for the present files of a package, with the values of a package.json."""
    write_onnx_package_file(folder, {name: found[name] for name in found if name not in ("format", "hashes", "sha256")})
    open_onnx_package(folder)


if __name__ == "__main__":
    ship(Path(sys.argv[1]))
    print(*(f"{SHIPPED_MODEL / name}: {(SHIPPED_MODEL / name).stat().st_size:,} bytes" for name in FILES), sep="\n")
