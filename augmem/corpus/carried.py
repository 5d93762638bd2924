"""The copy of mini LibriSpeech that comes with this project: one tar file with Opus audio and transcripts per part.

<folder>/train-clean-5.tar     <part>/<speaker>/<chapter>/<utterance>.opus and <speaker>-<chapter>.trans.txt
<folder>/SHA256SUMS            hashes of all other files, in the format of sha256sum
"""

from __future__ import annotations

import logging
import tarfile
from functools import partial
from pathlib import Path, PurePosixPath

from augmem.corpus.reader import Parts
from augmem.corpus.unpacking import unpack_once
from augmem.errors import UserError
from augmem.files import sha256_file

logger = logging.getLogger(__name__)

CARRIED = Path(__file__).parents[2] / "corpora" / "mini_librispeech"
CARRIED_PARTS = Parts(("train-clean-5",), ("dev-held",), ("test-held",))
HELD_OUT_SPEAKERS = {"dev-held": ("4088", "4406"), "test-held": ("5652", "8226")}
"""Part -> speakers of train-clean-100 that it consists of."""
CHECKSUMS = "SHA256SUMS"
_REMEDY = "restore it with: git checkout -- corpora/mini_librispeech"


def unpack_part(part: str, target: Path, carried: Path = CARRIED) -> Path:
    """Unpack a carried part into `target`/`part`, unless that has been done.

    Args:
        part: one of `CARRIED_PARTS`.
        target: folder for the unpacked parts.
        carried: folder of the tar files and their checksums.

    Returns:
        the folder of the part.

    Raises:
        UserError: the tar file is missing, or its checksum is wrong.
    """
    archive, folder = carried / f"{part}.tar", target / part
    digest = expected_digest(archive)
    unpack_once(folder, digest, partial(_unpack, archive, digest))
    return folder


def expected_digest(file: Path) -> str:
    """Return the SHA-256 of a file as listed in SHA256SUMS in the same folder.

    Raises:
        UserError: there is no list, or the file is not in it.
    """
    path = file.with_name(CHECKSUMS)
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; the audio comes with a clone of the project: {_REMEDY}, or give the folder of "
            "LibriSpeech with --corpus-dir"
        )
    lines = (line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    digests = {name.lstrip("*"): digest for digest, name in lines}
    if file.name not in digests:
        raise UserError(f"{path}: no line for {file.name}; {_REMEDY}")
    return digests[file.name]


def _unpack(archive: Path, digest: str, folder: Path) -> None:
    if not archive.is_file():
        raise UserError(f"{archive}: no such file; {_REMEDY}")
    if (found := sha256_file(archive)) != digest:
        size = archive.stat().st_size
        raise UserError(
            f"{archive}: damaged or truncated ({size} bytes, SHA-256 {found[:16]}..., but {CHECKSUMS} has "
            f"{digest[:16]}...); {_REMEDY}"
        )
    extract_part(archive, archive.stem, folder)
    logger.info("unpacked %s", archive)


def extract_part(archive: Path, part: str, folder: Path) -> None:
    """Write the files of a part's tar archive.

    Args:
        archive: tar file whose members are named `part`/...
        part: name of the part.
        folder: receives the files, without the leading `part`.

    Raises:
        UserError: the archive cannot be read, or a member's name points outside `part`.
    """
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in filter(tarfile.TarInfo.isfile, tar):
                path = folder / _relative_name(archive, part, member.name)
                path.parent.mkdir(parents=True, exist_ok=True)
                stream = tar.extractfile(member)
                path.write_bytes(stream.read() if stream else b"")
    except tarfile.TarError as error:
        raise UserError(f"{archive}: not a tar archive, or truncated ({error}); {_REMEDY}") from error


def _relative_name(archive: Path, part: str, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.parts[:1] != (part,) or len(path.parts) < 2 or ".." in path.parts:
        raise UserError(f"{archive}: member {name} is outside {part}/; {_REMEDY}")
    return path.relative_to(part)
