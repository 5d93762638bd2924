"""An experiment: its recipe, the folders of its results and the digests of its inputs."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from augmem.corpus import Parts, read_parts, transcripts
from augmem.files import explain_damaged_file, sha256_file, sha256_json
from augmem.recipe import Recipe, load_recipe
from augmem.stage_runner import Options, fingerprint
from augmem.training import MODEL_FILE

WITHOUT_EFFECT = (
    "decoding.device",
    "training.batches.workers",
    "training.checkpoint_every",
    "training.device",
    "training.keep_checkpoints",
    "training.log_every",
    "training.max_nonfinite",
)
"""Options that do not affect the result of a stage: a change does not forbid to resume or to use it."""


@dataclass(frozen=True)
class Experiment:
    """The recipe of an experiment and the folders of its results.

    Args:
        recipe: all options, resolved.
        root: the experiment folder, `exp/<name>`.
        run: file with the options of the run, if they are not the experiment's own (see `augmem.run_options`).

    Example:
        >>> experiment = Experiment(Recipe(data="data/mine"), Path("exp/mine"))
        >>> str(experiment.manifests), str(experiment.lang)
        ('data/mine/manifests', 'exp/mine/lang')
    """

    recipe: Recipe
    root: Path
    run: Path | None = None

    @classmethod
    def load(cls, root: Path, run: Path | None = None) -> Experiment:
        """Load the experiment in a folder, with its own options or those of a run."""
        return cls(load_recipe(root, run), root, run)

    @property
    def data(self) -> Path:
        """Folder of audio, manifests and features, shared by all experiments on a corpus."""
        return Path(self.recipe.data)

    @property
    def manifests(self) -> Path:
        return self.data / "manifests"

    @property
    def features(self) -> Path:
        """Folder of features by part; recipes with different features use different folders."""
        return self.data / "features" / (self.recipe.features.name + self.recipe.storage.suffix)

    @property
    def lang(self) -> Path:
        return self.root / "lang"

    @property
    def lm(self) -> Path:
        return self.root / "lm"

    @property
    def grammar(self) -> Path | None:
        """The language model of the decoding graph; None if it has been deleted."""
        path = self.lm / "first_pass.arpa"
        return path if path.is_file() else None

    @property
    def neural_lm(self) -> Path:
        """Folder of the neural language model, separate from `lm` because graphs do not depend on it."""
        return self.root / "neural_lm"

    @property
    def training_graphs(self) -> Path:
        """Phone LM and context, which training reads."""
        return self.root / "training_graphs"

    @property
    def graphs(self) -> Path:
        """The decoding graph."""
        return self.root / "graphs"

    @property
    def training(self) -> Path:
        return self.root / "train"

    @property
    def decoding(self) -> Path:
        return self.root / "decode"

    @property
    def scores(self) -> Path:
        return self.root / "score"

    @property
    def streaming(self) -> Path:
        return self.root / "streaming"

    @property
    def latency(self) -> Path:
        return self.root / "latency.json"

    @property
    def model(self) -> Path:
        return self.training / MODEL_FILE

    def section(self, *names: str) -> dict[str, Any]:
        """Return sections of the recipe for the inputs of a stage, without options that do not affect its result."""
        return {name: Options(section_values(self.recipe, name), section_values(Recipe(), name)) for name in names}

    @property
    def parts(self) -> Parts:
        """Train, dev and test parts, as resolved by the corpus stage."""
        fingerprint(self.manifests)
        return read_parts(self.manifests)

    @property
    def held_out(self) -> tuple[str, ...]:
        """Dev and test parts, each once."""
        return tuple(dict.fromkeys((*self.parts.dev, *self.parts.test)))

    def texts(self, parts: Sequence[str]) -> list[str]:
        """Return the normalised transcripts of parts."""
        return [text for _, text in transcripts(self.manifests, parts)]


def section_values(recipe: Recipe, name: str) -> dict[str, Any]:
    """Return a section of a recipe as JSON values, without options that do not affect results."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(getattr(recipe, name))))
    for option in WITHOUT_EFFECT:
        section, *folders, key = option.split(".")
        if section == name:
            reduce(dict.__getitem__, folders, values).pop(key)
    return values


def source_digest(source: str | None) -> str:
    """Return a digest of the names, sizes and times of all files of a corpus; empty if it has no path."""
    if source is None:
        return ""
    root = Path(source)
    files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
    return sha256_json([(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files])


def file_digests(paths: Sequence[str]) -> list[str]:
    """Return the content hashes of files named in the recipe.

    Raises:
        FileNotFoundError: a file does not exist.
    """
    missing = [path for path in paths if not Path(path).is_file()]
    if missing:
        raise FileNotFoundError(f"{missing[0]}: no such file; correct the path or remove it from the recipe")
    return [sha256_file(Path(path)) for path in paths]


def manifest_digest(folder: Path) -> str:
    """Return a digest of the uncompressed manifests of a part; gzip headers contain a date."""
    return sha256_json([_decompress(path) for path in sorted(folder.glob("*.jsonl.gz"))])


def _decompress(path: Path) -> str:
    with explain_damaged_file(path, "run stage corpus again"):
        return gzip.decompress(path.read_bytes()).decode()
