"""Getting and opening a Debian package without root, and without dpkg."""

from __future__ import annotations

import io
import logging
import lzma
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

logger = logging.getLogger(__name__)

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60  # bytes: name 16, time 12, owner 6, group 6, mode 8, size 10, end mark 2


def fetch_package(name: str, folder: Path, otherwise: str) -> Path:
    """Have apt download a package into `folder`; return the .deb.

    A download that is interrupted leaves nothing that could be taken for a whole file, and apt itself checks
    the package against the signed index.

    Args:
        name: of the package.
        folder: where it goes, and where one is looked for first.
        otherwise: the end of the message of a failure: what else a user can do than put the file there by hand.

    Raises:
        FileNotFoundError: there is no apt-get here, or it cannot get the package; says what to do instead.
    """
    present = sorted(folder.glob(f"{name}_*.deb"))
    if present:
        return present[-1]
    if shutil.which("apt-get") is None:
        raise FileNotFoundError(f"this system has no apt-get. {_by_hand(name, folder)}; {otherwise}")
    folder.mkdir(parents=True, exist_ok=True)
    for left_by_a_killed_run in folder.glob(".apt-*"):
        shutil.rmtree(left_by_a_killed_run)
    with TemporaryDirectory(prefix=".apt-", dir=folder.absolute()) as temporary:
        _run_apt(name, Path(temporary), f"{_by_hand(name, folder)}; {otherwise}")
        package = next(Path(temporary).glob("*.deb"))
        return package.rename(folder.absolute() / package.name)


def _run_apt(name: str, work: Path, remedy: str) -> None:
    """Download into `work`; where the system's package lists are missing or stale, with lists of our own."""
    if _apt(work, "download", name) is None:
        return
    logger.info("apt-get does not know %s yet: reading the package lists (into a folder of our own)", name)
    for state in ("state/lists/partial", "cache/archives/partial"):
        (work / state).mkdir(parents=True)
    own = (f"Dir::State={work}/state", "Dir::State::status=/dev/null", f"Dir::Cache={work}/cache")
    _apt(work, "update", options=own)
    said = _apt(work, "download", name, options=own)
    if said is not None:
        raise FileNotFoundError(
            f"`apt-get download {name}` failed and said: {said}\n"
            f"Check the network, and that apt's sources are those of Debian or Ubuntu. {remedy}"
        )


def _apt(work: Path, *command: str, options: tuple[str, ...] = ()) -> str | None:
    """Run apt-get in `work`; return None if it succeeded, else the last line that it said."""
    set_options = [word for option in options for word in ("-o", option)]
    result = subprocess.run(
        ["apt-get", "-q", *set_options, *command], cwd=work, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    return (result.stdout.strip().splitlines() or ["nothing"])[-1] if result.returncode else None


def _by_hand(name: str, folder: Path) -> str:
    letter = name[0]
    return (
        f"Otherwise fetch the file {name}_*_all.deb from https://packages.debian.org/stable/{name} (or from "
        f"pool/main/{letter}/{name}/ of any Debian mirror), put it into {folder}, and run this again"
    )


def read_package(package: Path, member: str) -> bytes:
    """The content of one file in a .deb.

    Args:
        package: the .deb: an ar archive that holds data.tar, compressed.
        member: path inside, without a leading slash.

    Raises:
        FileNotFoundError: there is no such package, or no such file in it.
        ValueError: the package is damaged.
    """
    return _read(package, lambda name: name == member, member)[member]


def read_folder(package: Path, folder: str) -> dict[str, bytes]:
    """The regular files that lie directly in one folder of a .deb, by name; errors as in `read_package`."""
    files = _read(package, lambda name: str(PurePosixPath(name).parent) == folder, folder)
    return {PurePosixPath(name).name: content for name, content in files.items()}


def _read(package: Path, wanted: Callable[[str], bool], what: str) -> dict[str, bytes]:
    try:
        with _open_data(package) as archive:
            members = {member.name.removeprefix("./"): member for member in archive if member.isfile()}
            streams = {name: archive.extractfile(member) for name, member in members.items() if wanted(name)}
            files = {name: stream.read() for name, stream in streams.items() if stream is not None}
    except (EOFError, OSError, lzma.LZMAError, tarfile.TarError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{package}: damaged or incomplete package ({error}); delete it and run this again") from error
    if not files:
        raise FileNotFoundError(f"{package}: holds no {what}; is it the right package?")
    return files


def _open_data(package: Path) -> tarfile.TarFile:
    name, data = _data_archive(package.read_bytes())
    return tarfile.open(fileobj=io.BytesIO(_decompress(name, data)))


def _data_archive(content: bytes) -> tuple[str, bytes]:
    """Find data.tar.* among the members of an ar archive."""
    if not content.startswith(_AR_MAGIC):
        raise ValueError("it does not begin as a .deb does")
    position = len(_AR_MAGIC)
    while position + _AR_HEADER <= len(content):
        header = content[position : position + _AR_HEADER]
        name, size = header[:16].decode("ascii").strip().rstrip("/"), int(header[48:58])
        position += _AR_HEADER
        if name.startswith("data.tar"):
            if position + size > len(content):
                raise ValueError(f"{position + size - len(content)} bytes are missing at its end")
            return name, content[position : position + size]
        position += size + size % 2  # members begin at even offsets
    raise ValueError("no data.tar in it")


def _decompress(name: str, data: bytes) -> bytes:
    """tarfile knows gzip and xz by itself; zstd (Ubuntu's choice) needs the zstd program."""
    if not name.endswith(".zst"):
        return lzma.decompress(data) if name.endswith(".xz") else data
    if shutil.which("zstd") is None:
        raise ValueError("it is compressed with zstd: install the program zstd")
    return subprocess.run(["zstd", "-dc"], input=data, check=True, stdout=subprocess.PIPE).stdout
