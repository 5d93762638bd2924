"""Download and read Debian packages, without root and without dpkg."""

from __future__ import annotations

import io
import logging
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

import arpy

from augmem.compressed import DAMAGE, decompress, limit_size
from augmem.errors import UserError
from augmem.programs import ProgramError, describe_failure

logger = logging.getLogger(__name__)

_AR_MAGIC = b"!<arch>\n"


def fetch_package(name: str, folder: Path, alternative: str) -> Path:
    """Download a package by apt, unless it is there already; apt checks it against the signed index.

    Args:
        name: name of the package.
        folder: folder for the package.
        alternative: end of the error message: what the user can do instead.

    Returns:
        path of the .deb; an interrupted download leaves no such file.

    Raises:
        FileNotFoundError: there is no apt-get, or it cannot download the package.
    """
    present = sorted(folder.glob(f"{name}_*.deb"))
    if present:
        return present[-1]
    if shutil.which("apt-get") is None:
        raise FileNotFoundError(f"there is no apt-get on this system. {_by_hand(name, folder)}; {alternative}")
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".apt-*"):  # of a killed run
        shutil.rmtree(leftover)
    with TemporaryDirectory(prefix=".apt-", dir=folder.absolute()) as temporary:
        _run_apt(name, Path(temporary), f"{_by_hand(name, folder)}; {alternative}")
        package = next(Path(temporary).glob("*.deb"))
        return package.rename(folder.absolute() / package.name)


def _run_apt(name: str, work: Path, remedy: str) -> None:
    """Download into `work`; if the system's package lists are missing or outdated, with new lists in `work`."""
    if _apt(work, "download", name) is None:
        return
    logger.info("apt-get does not find %s: downloading package lists to a temporary folder", name)
    for state in ("state/lists/partial", "cache/archives/partial"):
        (work / state).mkdir(parents=True)
    own = (f"Dir::State={work}/state", "Dir::State::status=/dev/null", f"Dir::Cache={work}/cache")
    _apt(work, "update", options=own)
    error = _apt(work, "download", name, options=own)
    if error is not None:
        raise FileNotFoundError(
            f"`apt-get download {name}` failed: {error}\n"
            f"Check the network, and that apt's sources are those of Debian or Ubuntu. {remedy}"
        )


def _apt(work: Path, *command: str, options: tuple[str, ...] = ()) -> str | None:
    """Run apt-get in `work`; return None if it succeeded, otherwise the last line of its output."""
    set_options = [word for option in options for word in ("-o", option)]
    result = subprocess.run(
        ["apt-get", "-q", *set_options, *command], cwd=work, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    return (result.stdout.strip().splitlines() or ["no output"])[-1] if result.returncode else None


def _by_hand(name: str, folder: Path) -> str:
    letter = name[0]
    return (
        f"Or download the file {name}_*_all.deb from https://packages.debian.org/stable/{name} (or from "
        f"pool/main/{letter}/{name}/ of any Debian mirror), put it into {folder}, and run again"
    )


def read_package(package: Path, member: str) -> bytes:
    """Read one file of a .deb.

    Args:
        package: the .deb: an ar archive with a compressed data.tar.
        member: path in the package, without a leading slash.

    Raises:
        FileNotFoundError: there is no such package, or no such file in it.
        UserError: the package is damaged.
    """
    return _read(package, lambda name: name == member, member)[member]


def read_folder(package: Path, folder: str) -> dict[str, bytes]:
    """Read the regular files directly in one folder of a .deb; return {name: content}.

    Raises:
        FileNotFoundError: there is no such package, or no file in the folder.
        UserError: the package is damaged.
    """
    files = _read(package, lambda name: _is_in(name, folder), folder)
    return {PurePosixPath(name).name: content for name, content in files.items()}


def _is_file(member: tarfile.TarInfo) -> bool:
    """Return whether an entry is a file; sparse ones, of any size without content, are not."""
    return member.isfile() and not member.issparse()


def _is_in(name: str, folder: str) -> bool:
    path = PurePosixPath(name)
    return str(path.parent) == folder and path.name not in (".", "..")


def _read(package: Path, wanted: Callable[[str], bool], what: str) -> dict[str, bytes]:
    try:
        with _open_data(package) as archive:
            members = {member.name.removeprefix("./"): member for member in archive if _is_file(member)}
            streams = {name: archive.extractfile(member) for name, member in members.items() if wanted(name)}
            files = {name: stream.read() for name, stream in streams.items() if stream is not None}
    except (*DAMAGE, OSError, ProgramError, arpy.ArchiveFormatError, tarfile.TarError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise UserError(f"{package}: damaged or incomplete package ({error}); delete it and run again") from error
    if not files:
        raise FileNotFoundError(f"{package}: has no {what}; is it the right package?")
    return files


def _open_data(package: Path) -> tarfile.TarFile:
    name, data = _data_archive(package)
    with _decompress(name, data, str(package)) as stream:
        content = stream.read()
    return tarfile.open(fileobj=io.BytesIO(content), mode="r:")


def _data_archive(package: Path) -> tuple[str, bytes]:
    """Return name and content of data.tar.* among the members of an ar archive."""
    content = package.read_bytes()
    if not content.startswith(_AR_MAGIC):  # arpy would also follow a "thin" archive's paths to other files
        raise ValueError("not an ar archive")
    with arpy.Archive(fileobj=io.BytesIO(content)) as archive:
        for member in archive.infolist():
            name = str(member.name, "ascii")
            if name.startswith("data.tar"):
                return name, archive.open(member).read()
    raise ValueError("no data.tar in it")


@contextmanager
def _decompress(name: str, data: bytes, package: str) -> Iterator[IO[bytes]]:
    """Decompress gzip, xz, and zstd (used by Ubuntu; needs the program zstd)."""
    if not name.endswith(".zst"):
        with decompress(io.BytesIO(data), package) as stream:
            yield stream
        return
    if shutil.which("zstd") is None:
        raise ValueError("it is compressed with zstd: install the program zstd")
    with TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        with subprocess.Popen(["zstd", "-dc"], stdin=file, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout and process.stderr
            try:
                yield limit_size(process.stdout, package, len(data))
            except BaseException:
                process.kill()
                raise
            log = process.stderr.read()
    if process.returncode:
        raise ProgramError(f"zstd {describe_failure(process.returncode, log)}")
