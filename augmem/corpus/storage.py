"""File formats of features: Lhotse's archives, or Lhotse Shar, which is tar files with the manifests of their cuts.

With both, the manifest of a part gives for each cut a file and a byte range in it (tar members are not compressed).
Training therefore reads both at random, in the same batches. Shar is for sharing features: it is complete in itself and
read by `CutSet.from_shar(in_dir=...)`.

Lilcom predicts each frame from the one before and rounds the difference in steps of 1/32. An archive starts a new
prediction every 500 frames, Shar with every cut: longer cuts may differ by a step between the two formats, both within
half a step of the computed features.
"""

from __future__ import annotations

import tarfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lhotse import LilcomChunkyWriter
from lhotse.cut import Cut, MonoCut
from lhotse.shar import SharWriter
from lhotse.utils import fastcopy

from augmem.errors import UserError, check_option

SHAR = "shar"
_COMPRESSED = ".llc"  # Shar's suffix of a lilcom-compressed matrix


@dataclass(frozen=True)
class StorageConfig:
    """File format of features.

    Args:
        form: archive (Lhotse's own format) or shar (Lhotse Shar, to share features with others).
        file_cuts: cuts per file; also the unit of work of a process.
    """

    form: Literal["archive", "shar"] = "archive"
    file_cuts: int = 100

    def __post_init__(self) -> None:
        check_option("storage.form", self.form, self.form in _WRITERS, f"be one of {', '.join(_WRITERS)}")
        check_option("storage.file_cuts", self.file_cuts, self.file_cuts >= 1, "be at least 1")

    @property
    def suffix(self) -> str:
        """Suffix of the folder name, so that folders of both formats can exist side by side."""
        return "" if self.form == "archive" else f"-{self.form}"


def write_features(config: StorageConfig, cuts: Iterable[MonoCut], folder: Path, number: int) -> list[MonoCut]:
    """Write one file of a part.

    Args:
        config: file format.
        cuts: cuts with features in memory, read one by one.
        folder: existing folder of the part.
        number: number of the file, from 0.

    Returns:
        the cuts with features in the file, whose path is relative to `folder`.
    """
    return _WRITERS[config.form](cuts, folder, number)


def _write_archive(cuts: Iterable[MonoCut], folder: Path, number: int) -> list[MonoCut]:
    path = folder / f"feats-{number:05d}.lca"
    with LilcomChunkyWriter(path) as writer:
        return [_with_location(cut, path.name, writer.write(cut.id, cut.features.load())) for cut in cuts]


def _write_shar(cuts: Iterable[MonoCut], folder: Path, number: int) -> list[MonoCut]:
    """Write a shard. Its cuts have no recordings, because in Shar every cut starts at 0, where its audio may not."""
    (folder / SHAR).mkdir(exist_ok=True)
    path = folder / SHAR / f"features.{number:06d}.tar"
    with SharWriter(folder / SHAR, {"features": "lilcom"}, shard_size=None, shard_suffix=f".{number:06d}") as writer:
        written = []
        for cut in cuts:
            writer.write(cut.drop_recording())
            written.append(_with_location(cut, f"{SHAR}/{path.name}", ""))
    ranges = _byte_ranges(path) if written else {}
    return [_with_location(cut, cut.features.storage_path, ranges[cut.id]) for cut in written]


_WRITERS: dict[str, Callable[[Iterable[MonoCut], Path, int], list[MonoCut]]] = {
    "archive": _write_archive,
    "shar": _write_shar,
}


def _with_location(cut: MonoCut, path: str, key: str) -> MonoCut:
    """Return the cut with the location of its features.

    Args:
        cut: cut with features.
        path: file.
        key: offset in the file and length of each chunk, in bytes, separated by commas. A matrix in Shar is one chunk
            of any length: Lhotse can read it as a whole, or starting from one of its first 500 frames.
    """
    features = fastcopy(cut.features, storage_type=LilcomChunkyWriter.name, storage_path=path, storage_key=key)
    return fastcopy(cut, features=features)


def _byte_ranges(path: Path) -> dict[str, str]:
    """Return `offset,length` of each cut's matrix in a shard."""
    with tarfile.open(path) as shard:
        return {
            member.name.removesuffix(_COMPRESSED): f"{member.offset_data},{member.size}"
            for member in shard
            if member.name.endswith(_COMPRESSED)
        }


@contextmanager
def explain_damage(cut: Cut) -> Iterator[None]:
    """Name the file in errors that occur while reading a cut's features.

    Raises:
        UserError: lilcom cannot decompress them.
    """
    try:
        yield
    except ValueError as error:
        path = Path(cut.features.storage_path)
        folder = path.parent.parent if path.parent.name == SHAR else path.parent
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: features of {cut.id} are damaged ({reason}); {_remedy(folder)}") from error


def _remedy(folder: Path) -> str:
    return f"copy the file again, or remove {folder} and compute the features of the part again (stage features)"


def check_files(cuts: Iterable[MonoCut], folder: Path) -> None:
    """Check that every file of a part exists and is long enough for its cuts.

    Raises:
        FileNotFoundError: a file is missing.
        UserError: a file is truncated.
    """
    lengths: dict[Path, int] = defaultdict(int)
    for cut in cuts:
        path = Path(cut.features.storage_path)
        lengths[path] = max(lengths[path], sum(map(int, cut.features.storage_key.split(","))))
    remedy = _remedy(folder)
    for path, length in lengths.items():
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file, but part {folder.name} needs it; {remedy}")
        if path.stat().st_size < length:
            raise UserError(f"{path}: {path.stat().st_size} bytes, {length} are needed: truncated; {remedy}")
