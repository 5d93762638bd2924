"""Files are complete or absent."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from augmem.errors import UserError
from augmem.files import (
    atomic_path,
    check_distinct_names,
    explain_damaged_file,
    explain_full_disk,
    file_name,
    read_json,
    sha256_file,
    sha256_json,
    temporary_folder,
    write_json,
)


def test_an_error_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for name in ("first", "second"):
        with atomic_path(path) as temporary:
            temporary.mkdir()
            (temporary / name).touch()
    assert [item.name for item in path.iterdir()] == ["second"]


def test_json_reads_back_and_a_damaged_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "value.json"
    write_json(path, {"word": "naïve", "count": 2})
    assert read_json(path) == {"word": "naïve", "count": 2}
    path.write_text('{"word": ')
    with pytest.raises(UserError, match=r"value\.json: not a JSON file"):
        read_json(path)


def test_files_with_the_same_name_are_refused() -> None:
    check_distinct_names([Path("a/x.wav"), Path("a/y.wav")])
    with pytest.raises(UserError, match=r"^b/x\.flac: its results would be named x, like those of a/x\.wav"):
        check_distinct_names([Path("a/x.wav"), Path("b/x.flac")])


def test_hashes(tmp_path: Path) -> None:
    path = tmp_path / "bytes"
    path.write_bytes(b"augmented memory" * 100_000)
    assert sha256_file(path) == hashlib.sha256(b"augmented memory" * 100_000).hexdigest()
    assert sha256_json({"a": 1, "b": [2]}) == sha256_json({"b": [2], "a": 1}) != sha256_json({"a": 1, "b": [3]})


def test_a_full_disk_is_reported_with_a_remedy() -> None:
    """Every write to /dev/full fails for lack of space."""
    full = pytest.raises(OSError, match=r"the disk of exp is full; finished results are safe")
    with full, explain_full_disk(Path("exp")):
        Path("/dev/full").write_text("a")


def test_other_errors_of_the_disk_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError), explain_full_disk(tmp_path):
        tmp_path.read_text()


def test_file_names_stay_in_their_folder(tmp_path: Path) -> None:
    names = ["../../x", "/etc/x", "a/b", "a%2Fb", "..", ".", "", "a\0b", "a\\b", "é" * 300, "é" * 301]
    made = {file_name(name, ".TextGrid") for name in names} | {file_name(name) for name in names}
    assert len(made) == 2 * len(names), "different names stay different"
    for name in made:
        (tmp_path / name).write_text("")
    assert {path.name for path in tmp_path.iterdir()} == made


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_a_halved_file_is_named_with_a_remedy(tmp_path: Path, name: str) -> None:
    write_json(tmp_path / "a.json", {"words": list(range(99))})
    (tmp_path / "a.json.gz").write_bytes(gzip.compress((tmp_path / "a.json").read_bytes()))
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    damaged = pytest.raises(UserError, match=rf"{name}: damaged or incomplete \(.+\); copy it again")
    with damaged, explain_damaged_file(path, "copy it again"):
        content = path.read_bytes()
        json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)


SMALL_DISK = """
mount -t tmpfs -o size=2m small "$1" && TMPDIR="$1" exec "$2" -c "$3"
"""
WRITERS = """
from augmem.errors import UserError
from augmem.files import temporary_folder
from augmem.programs import run_program
writers = [
    lambda path: path.write_bytes(bytes(4_000_000)),
    lambda path: run_program(["sh", "-c", 'head -c 4000000 /dev/zero > "$0"', path]),
]
for writer in writers:
    try:
        with temporary_folder() as folder:
            writer(folder / "large")
    except UserError as error:
        print(error)
"""


def test_a_full_disk_of_temporary_files_is_named(tmp_path: Path) -> None:
    """A disk of 2 MB in a mount namespace, filled by this program and by one that it runs."""
    command = ["unshare", "-rm", "sh", "-c", SMALL_DISK, "sh", str(tmp_path), sys.executable, WRITERS]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        pytest.skip(f"no mount namespaces here: {result.stderr}")
    message = f"the disk of $TMPDIR ({tmp_path}) is full; free some space or set TMPDIR to another folder, and run the"
    assert [line.removesuffix(" same command again") for line in result.stdout.splitlines()] == [message] * 2


def test_other_errors_pass_through_a_temporary_folder() -> None:
    with pytest.raises(FileNotFoundError), temporary_folder() as folder:
        (folder / "none").read_text()
    with pytest.raises(UserError, match=r"^wrong$"), temporary_folder() as folder:
        raise UserError("wrong")
    assert not folder.exists()
