"""An experiment: a frozen recipe, the folders of its results, and the digests of what it was made from."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from augmem.corpus import Parts, read_parts, transcripts
from augmem.files import sha256_file, sha256_json
from augmem.recipe import Recipe, load_recipe
from augmem.stage_runner import fingerprint
from augmem.training import MODEL_FILE

TUNED_FILE = "tuned.json"


@dataclass(frozen=True)
class Experiment:
    """A frozen recipe and the folders of its results.

    Args:
        recipe: all options, resolved.
        root: the experiment's folder, `exp/<name>`.
    """

    recipe: Recipe
    root: Path

    @classmethod
    def load(cls, root: Path) -> Experiment:
        """Open the experiment in `root` (see `augmem.recipe.freeze_recipe`)."""
        return cls(load_recipe(root), root)

    @property
    def data(self) -> Path:
        """Audio, manifests and features, shared by all experiments on one corpus."""
        return Path(self.recipe.data)

    @property
    def manifests(self) -> Path:
        return self.data / "manifests"

    @property
    def features(self) -> Path:
        """One folder per part; recipes that hear different things must not overwrite each other's."""
        return self.data / "features" / (self.recipe.features.name + self.recipe.storage.suffix)

    @property
    def lang(self) -> Path:
        return self.root / "lang"

    @property
    def lm(self) -> Path:
        return self.root / "lm"

    @property
    def neural_lm(self) -> Path:
        """Apart from the n-gram models, since graphs and training do not depend on it."""
        return self.root / "neural_lm"

    @property
    def graphs(self) -> Path:
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
    def model(self) -> Path:
        return self.training / MODEL_FILE

    def section(self, *names: str) -> dict[str, Any]:
        """Parts of the recipe as plain values, to be named among a stage's inputs."""
        return {name: json.loads(json.dumps(asdict(getattr(self.recipe, name)))) for name in names}

    @property
    def parts(self) -> Parts:
        """Which parts serve for what, as the corpus stage settled it."""
        fingerprint(self.manifests)
        return read_parts(self.manifests)

    def texts(self, parts: Sequence[str]) -> list[str]:
        """Normalised transcripts."""
        return [text for _, text in transcripts(self.manifests, parts)]


def source_digest(source: str | None) -> str:
    """Names, sizes and times of a corpus on disk; empty for one that is fetched."""
    if source is None:
        return ""
    root = Path(source)
    files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
    return sha256_json([(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files])


def file_digests(paths: Sequence[str]) -> list[str]:
    """Content of files that the recipe names.

    Raises:
        FileNotFoundError: one is not there.
    """
    missing = [path for path in paths if not Path(path).is_file()]
    if missing:
        raise FileNotFoundError(f"{missing[0]}: no such file; name an existing one or take it out of the recipe")
    return [sha256_file(Path(path)) for path in paths]


def manifest_digest(folder: Path) -> str:
    """Content of one part's manifests, whatever the compression says of its date."""
    return sha256_json([gzip.decompress(path.read_bytes()).decode() for path in sorted(folder.glob("*.jsonl.gz"))])
