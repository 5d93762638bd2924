"""Debian packages: read without dpkg, downloaded by an apt-get that may fail."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augmem.corpus.debian import fetch_package, read_package
from augmem.errors import UserError
from tests.corpus.corpora import debian_archive, debian_package

NAME = "some-game"
ALTERNATIVE = "or name the file with --corpus-dir FILE."
Apt = Callable[[str], None]


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apt:
    """Return a function that replaces apt-get by a shell script."""

    def install(script: str) -> None:
        program = tmp_path / "bin" / "apt-get"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/bin:/usr/bin")

    return install


@pytest.mark.parametrize("compression", ["xz", "gz", ""])
def test_file_of_a_package_is_read(tmp_path: Path, compression: str) -> None:
    package = debian_package(tmp_path / "a.deb", {"usr/share/a": b"other", "usr/share/game": b"odd"}, compression)
    assert read_package(package, "usr/share/game") == b"odd"


def test_package_built_by_dpkg_is_read(tmp_path: Path) -> None:
    control = tmp_path / "tree" / "DEBIAN" / "control"
    control.parent.mkdir(parents=True)
    control.write_text("Package: a\nVersion: 1\nArchitecture: all\nMaintainer: me <me@here>\nDescription: a\n")
    (tmp_path / "tree" / "data").write_bytes(bytes(range(256)))
    command = ["dpkg-deb", "-Zxz", "--root-owner-group", "--build", str(tmp_path / "tree"), str(tmp_path / "a.deb")]
    try:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    except FileNotFoundError:
        pytest.skip("no dpkg-deb here")
    assert read_package(tmp_path / "a.deb", "data") == bytes(range(256))


def test_missing_file_in_a_package_is_named(tmp_path: Path) -> None:
    package = debian_package(tmp_path / "a.deb", {"usr/share/a": b"other"})
    with pytest.raises(FileNotFoundError, match=r"a\.deb: has no usr/share/b; is it the right package\?"):
        read_package(package, "usr/share/b")


@pytest.mark.parametrize("compression", ["xz", "gz", "zst"])
def test_package_that_expands_without_bound_is_refused(
    tmp_path: Path, compression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compression == "zst" and shutil.which("zstd") is None:
        pytest.skip("no zstd here")
    monkeypatch.setattr("augmem.compressed.FREE_SIZE", 1 << 18)
    package = debian_package(tmp_path / "a.deb", {"usr/share/a": bytes(2 << 20)}, compression)
    with pytest.raises(UserError, match=r"a\.deb: expands to over \d+ MB, more than 100 times its size"):
        read_package(package, "usr/share/a")


def test_sparse_entries_are_no_files(tmp_path: Path) -> None:
    """GNU tar's sparse entries have any size without content."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.GNU_FORMAT) as archive:
        entry = tarfile.TarInfo("usr/share/a")
        entry.type = tarfile.GNUTYPE_SPARSE
        archive.addfile(entry)
    tar = bytearray(content.getvalue())
    tar[483:495] = b"%011o\0" % (1 << 32)  # its size when expanded
    tar[148:156] = b"%06o\0 " % (sum(tar[:148]) + 8 * 32 + sum(tar[156:512]))
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        assert archive.getmembers()[0].size == 1 << 32
    with pytest.raises(FileNotFoundError, match=r"a\.deb: has no usr/share/a"):
        read_package(debian_archive(tmp_path / "a.deb", "data.tar", bytes(tar)), "usr/share/a")


@given(st.data())
def test_truncated_package_is_an_error(tmp_path: Path, data: st.DataObject) -> None:
    package = debian_package(tmp_path / "a.deb", {"usr/share/a": bytes(range(256)) * 9})
    content = package.read_bytes()
    package.write_bytes(content[: data.draw(st.integers(0, len(content) - 2))])
    with pytest.raises(UserError, match=r"a\.deb: damaged or incomplete package .*delete it"):
        read_package(package, "usr/share/a")


def test_package_is_downloaded(tmp_path: Path, apt: Apt) -> None:
    apt("echo package > some-game_1.0_all.deb")
    package = fetch_package(NAME, tmp_path / "download", ALTERNATIVE)
    assert package == tmp_path / "download" / "some-game_1.0_all.deb"
    assert package.read_text() == "package\n"
    assert list(package.parent.iterdir()) == [package]


def test_existing_package_is_not_downloaded_again(tmp_path: Path, apt: Apt) -> None:
    apt("echo called; exit 1")
    present = tmp_path / "some-game_1.0_all.deb"
    present.touch()
    assert fetch_package(NAME, tmp_path, ALTERNATIVE) == present


@pytest.mark.parametrize(
    "script", ["echo 'E: Unable to locate package'; exit 100", "echo half > some-game_1.0_all.deb; exit 100"]
)
def test_failure_of_apt_is_explained(tmp_path: Path, apt: Apt, script: str) -> None:
    apt(script)
    with pytest.raises(
        FileNotFoundError, match=r"(?s)failed: .*Check the network.*packages\.debian\.org.*--corpus-dir"
    ):
        fetch_package(NAME, tmp_path / "download", ALTERNATIVE)
    assert not list((tmp_path / "download").iterdir())


def test_outdated_package_lists_are_updated(tmp_path: Path, apt: Apt) -> None:
    """apt-get finds the package only after an update, into folders with write access."""
    apt(
        'case "$*" in *update) touch state/updated;; *) [ -e state/updated ] && echo new > some-game_1.0_all.deb;; esac'
    )
    assert fetch_package(NAME, tmp_path / "download", ALTERNATIVE).read_text() == "new\n"


def test_missing_apt_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no apt-get.*packages\.debian\.org.*--corpus-dir"):
        fetch_package(NAME, tmp_path, ALTERNATIVE)


def test_killed_download_leaves_no_package(tmp_path: Path, apt: Apt) -> None:
    """kill -9 in mid-download: the partial file is not used, and the next run removes it."""
    apt("echo half > some-game_1.0_all.deb; touch started; exec sleep 60")
    download = tmp_path / "download"
    code = (
        "from pathlib import Path; from augmem.corpus.debian import fetch_package; "
        f"fetch_package({NAME!r}, Path({str(download)!r}), {ALTERNATIVE!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, env=dict(os.environ))
    while not list(download.glob(".apt-*/started")):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not list(download.glob("*.deb"))
    (tmp_path / "bin" / "apt-get").write_text("#!/bin/sh\necho whole > some-game_1.0_all.deb\n")
    assert fetch_package(NAME, download, ALTERNATIVE).read_text() == "whole\n"
    assert [path.name for path in download.iterdir()] == ["some-game_1.0_all.deb"]
