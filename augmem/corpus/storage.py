"""How features lie on disk: in Lhotse's archives, or as Lhotse Shar, tar files beside the manifests of their cuts.

Either way a part's own manifest names, for each cut, a file and the bytes of it that hold its features: a tar file is
not compressed, so a member of one is such a stretch too. Training therefore plans the same batches from both and reads
them at random, and what holds of the one (resumption, processes, sessions) holds of the other. Shar is for passing
features on: it is complete in itself, and read in sequence by whoever has Lhotse: `CutSet.from_shar(in_dir=...)`.

Lilcom rounds each frame in steps of 1/32 from where it expects it. An archive begins anew every 500 frames, Shar with
every cut: longer cuts may differ by a step between the two, and both lie within half a step of what was computed;
shorter ones are equal.
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

SHAR = "shar"
_COMPRESSED = ".llc"  # what Shar calls a lilcom-compressed matrix


@dataclass(frozen=True)
class StorageConfig:
    """How features lie on disk.

    Args:
        form: archive, Lhotse's own; or shar, Lhotse Shar, which can be copied and read by others.
        file_cuts: cuts in a file: more are fewer files, but a file is the least that a process computes.
    """

    form: Literal["archive", "shar"] = "archive"
    file_cuts: int = 100

    def __post_init__(self) -> None:
        if self.form not in _WRITERS:
            raise ValueError(f"storage.form={self.form!r}: must be one of {', '.join(_WRITERS)}")
        if self.file_cuts < 1:
            raise ValueError(f"storage.file_cuts={self.file_cuts}: must be at least 1")

    @property
    def suffix(self) -> str:
        """What the name of a folder of such features ends in; the two forms may lie side by side."""
        return "" if self.form == "archive" else f"-{self.form}"


def write_features(config: StorageConfig, cuts: Iterable[MonoCut], folder: Path, number: int) -> list[MonoCut]:
    """Write file `number` of a part.

    Args:
        config: in what form.
        cuts: with features in memory; taken one by one.
        folder: of the part; it must exist.
        number: of the file, from 0.

    Returns:
        the cuts, with features in that file, by a path relative to `folder`.
    """
    return _WRITERS[config.form](cuts, folder, number)


def _write_archive(cuts: Iterable[MonoCut], folder: Path, number: int) -> list[MonoCut]:
    path = folder / f"feats-{number:05d}.lca"
    with LilcomChunkyWriter(path) as writer:
        return [_placed(cut, path.name, writer.write(cut.id, cut.features.load())) for cut in cuts]


def _write_shar(cuts: Iterable[MonoCut], folder: Path, number: int) -> list[MonoCut]:
    """A shard; its cuts have no recordings, since Shar has every cut begin at 0, where its audio does not."""
    (folder / SHAR).mkdir(exist_ok=True)
    path = folder / SHAR / f"features.{number:06d}.tar"
    with SharWriter(folder / SHAR, {"features": "lilcom"}, shard_size=None, shard_suffix=f".{number:06d}") as writer:
        written = []
        for cut in cuts:
            writer.write(cut.drop_recording())
            written.append(_placed(cut, f"{SHAR}/{path.name}", ""))
    places = _places(path) if written else {}
    return [_placed(cut, cut.features.storage_path, places[cut.id]) for cut in written]


_WRITERS: dict[str, Callable[[Iterable[MonoCut], Path, int], list[MonoCut]]] = {
    "archive": _write_archive,
    "shar": _write_shar,
}


def _placed(cut: MonoCut, path: str, key: str) -> MonoCut:
    """The cut with its features in a stretch of a file; `key` says where it begins and how long its chunks are.

    A matrix of Shar's is one chunk, whatever its length: it can be read whole, or from one of its first 500 frames on.
    """
    features = fastcopy(cut.features, storage_type=LilcomChunkyWriter.name, storage_path=path, storage_key=key)
    return fastcopy(cut, features=features)


def _places(path: Path) -> dict[str, str]:
    """Where in a shard each cut's matrix begins, and how long it is."""
    with tarfile.open(path) as shard:
        return {
            member.name.removesuffix(_COMPRESSED): f"{member.offset_data},{member.size}"
            for member in shard
            if member.name.endswith(_COMPRESSED)
        }


@contextmanager
def naming_damage(cut: Cut) -> Iterator[None]:
    """For reading a cut's features: damage inside a file, whose length betrays nothing, is said with its name.

    Raises:
        ValueError: lilcom cannot make anything of them.
    """
    try:
        yield
    except ValueError as error:
        path = Path(cut.features.storage_path)
        folder = path.parent.parent if path.parent.name == SHAR else path.parent
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: damaged where it holds {cut.id} ({reason}); {_remedy(folder)}") from error


def _remedy(folder: Path) -> str:
    return f"copy it here again, or remove {folder} and compute the part's features anew (stage features)"


def check_files(cuts: Iterable[MonoCut], folder: Path) -> None:
    """See that every file of a part is there, and as long as its cuts need it.

    Raises:
        FileNotFoundError: one is missing.
        ValueError: one has been cut short.
    """
    lengths: dict[Path, int] = defaultdict(int)
    for cut in cuts:
        path = Path(cut.features.storage_path)
        lengths[path] = max(lengths[path], sum(map(int, cut.features.storage_key.split(","))))
    remedy = _remedy(folder)
    for path, length in lengths.items():
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file, but part {folder.name} has features in it; {remedy}")
        if path.stat().st_size < length:
            raise ValueError(f"{path}: {path.stat().st_size} bytes, {length} are needed: truncated; {remedy}")
