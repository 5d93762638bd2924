"""Parts of LibriSpeech from OpenSLR, through Lhotse."""

from __future__ import annotations

import gzip
import logging
import shutil
import tarfile
import zlib
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

from lhotse.recipes.librispeech import LIBRISPEECH, MINI_LIBRISPEECH, download_librispeech

from augmem.errors import UserError

logger = logging.getLogger(__name__)

OPENSLR = "http://www.openslr.org/resources"
_COMPLETED = ".completed"  # written by Lhotse into the folder of a part
PUBLISHED_PARTS = (*MINI_LIBRISPEECH, *LIBRISPEECH)


def find_downloaded(part: str, folder: Path) -> Path | None:
    """Return the folder of a part that has been downloaded and unpacked completely; None if it has not."""
    path = folder / "LibriSpeech" / part
    return path if (path / _COMPLETED).is_file() else None


def download_part(part: str, folder: Path, server: str = OPENSLR) -> Path:
    """Download and unpack a part, unless that has been done; an interrupted download resumes.

    Args:
        part: one of `PUBLISHED_PARTS`.
        folder: receives the archive and `LibriSpeech/part`.
        server: address of OpenSLR's resources, or of a mirror with the same layout.

    Returns:
        the folder of the part.

    Raises:
        UserError: the server cannot be reached or lacks the part, or the archive is truncated or damaged.
    """
    if done := find_downloaded(part, folder):
        return done
    archive = folder / f"{part}.tar.gz"
    logger.info("downloading %s to %s (resumes if interrupted)", part, folder)
    try:
        path = Path(download_librispeech(folder, dataset_parts=[part], base_url=server)) / part
        _check_checksum(archive)
    except (EOFError, tarfile.TarError, gzip.BadGzipFile, zlib.error) as error:
        (folder / "LibriSpeech" / part / _COMPLETED).unlink(missing_ok=True)
        reason = " ".join(str(error).split())
        raise UserError(
            f"{archive}: truncated or damaged ({reason}); run again to fetch the rest, and if that does not help, "
            "delete it and run again"
        ) from error
    except (URLError, HTTPException, ConnectionError, TimeoutError) as error:
        raise UserError(
            f"could not download {part} from {server}: {error}. Fetch its archive from https://www.openslr.org/12 "
            "(mini LibriSpeech: /31), unpack it, and give its folder with --corpus-dir"
        ) from error
    finally:
        _remove_remains(part, folder, archive)
    return path


def _check_checksum(archive: Path) -> None:
    """Read a gzip file to its end, where its checksum is; unpacking stops at the last file in it."""
    with gzip.open(archive) as stream:
        while stream.read(1 << 20):
            pass


def _remove_remains(part: str, folder: Path, archive: Path) -> None:
    """Remove a partly unpacked part, and the empty file of a failed download."""
    if not find_downloaded(part, folder):
        shutil.rmtree(folder / "LibriSpeech" / part, ignore_errors=True)
        if archive.is_file() and archive.stat().st_size == 0:
            archive.unlink()
