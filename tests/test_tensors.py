"""Safetensors files: contents, and the refusal of pickled, damaged and hostile files."""

from __future__ import annotations

import errno
import json
import os
import pickle
import resource
import struct
from pathlib import Path

import pytest
import torch

from augmem.errors import UserError
from augmem.tensors import TensorFormat, flatten_tree, load_tensors, save_tensors, unflatten_tree

FORMAT = TensorFormat("test 1", "a test file", "write it again")


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_tensors_and_texts_read_back(tmp_path: Path) -> None:
    tensors = {
        "matrix": torch.arange(6.0).view(2, 3).t(), "number": torch.tensor(7), "empty": torch.zeros(0, 4),
        "mask": torch.tensor([True, False]), "half": torch.ones(2, dtype=torch.bfloat16),
    }  # fmt: skip
    save_tensors(tmp_path / "x.safetensors", FORMAT, tensors, {"name": "naïve"})
    found, texts = load_tensors(tmp_path / "x.safetensors", FORMAT)
    assert texts == {"name": "naïve"} and found.keys() == tensors.keys()
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in tensors.items())


def test_equal_contents_give_equal_files(tmp_path: Path) -> None:
    """safetensors itself stores several texts in a random order."""
    for number in range(8):
        save_tensors(tmp_path / str(number), FORMAT, {"x": torch.zeros(3)}, {name: name for name in "abcdef"})
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_a_nested_state_reads_back() -> None:
    state = {"state": {0: {"step": torch.tensor(3.0)}, 12: {}}, "groups": [{"params": [0, 1], "lr": 0.1 + 0.2}]}
    tensors, text = flatten_tree({**state, "none": None, "tensor": "items"})
    assert list(tensors) == ["state.0.step"]
    assert unflatten_tree(tensors, text) == {**state, "none": None, "tensor": "items"}


def header(values: object, length: int | None = None) -> bytes:
    text = json.dumps(values).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


DAMAGED = {
    "empty": b"",
    "text": b"not a file of tensors",
    "header of an exabyte": header({}, 1 << 60),
    "tensor of 2**64 values": header({"x": {"dtype": "F32", "shape": [1 << 62, 4], "data_offsets": [0, 0]}}),
    "tensor larger than the file": header({"x": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}),
    "nested lists": struct.pack("<Q", 10**6) + b"[" * 10**6,
    "another format": header({"__metadata__": {"texts": '{"format": "test 2"}'}}),
    "texts that are no JSON": header({"__metadata__": {"texts": "{"}}),
    "no format": header({}),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(DAMAGED[name])
    with pytest.raises(UserError, match=r"x\.safetensors: not a test file, or damaged \(.*; write it again"):
        load_tensors(path, FORMAT)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_tensors(path, FORMAT, {"x": torch.zeros(9)})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="not fully covered"):
        load_tensors(path, FORMAT)


@pytest.mark.parametrize("asked", ["x.pt", "x.safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickled_file_is_refused_and_runs_no_code(zipped: bool, asked: str, tmp_path: Path) -> None:
    """Also where a file of an earlier release lies beside the missing new one."""
    payload = Payload(tmp_path / "executed")
    torch.save(payload, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"x\.pt: pickled .* augmem convert --trust .*x\.pt"):
        load_tensors(tmp_path / asked, FORMAT)
    assert not payload.path.exists()
    pickle.loads(pickle.dumps(payload))
    assert payload.path.exists()


def test_a_header_that_starts_like_a_pickle_is_none(tmp_path: Path) -> None:
    """The length 0x280 is stored as the bytes 80 02."""
    path = tmp_path / "x.safetensors"
    text = json.dumps({"__metadata__": {"texts": '{"format": "test 1"}'}}).encode().ljust(0x280)
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    assert load_tensors(path, FORMAT) == ({}, {})


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"x\.safetensors: no such file, expected a test file; write it again"):
        load_tensors(tmp_path / "x.safetensors", FORMAT)


def test_errors_of_the_disk_are_os_errors_and_leave_no_file(tmp_path: Path) -> None:
    """Lack of space cannot be produced without privileges; a limit of file size can."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            save_tensors(tmp_path / "x.safetensors", FORMAT, {"x": torch.zeros(1000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG and not list(tmp_path.iterdir())


def test_the_umask_applies(tmp_path: Path) -> None:
    """save_file makes files that only their owner can read."""
    before = os.umask(0o027)
    try:
        save_tensors(tmp_path / "x.safetensors", FORMAT, {"x": torch.zeros(1)})
    finally:
        os.umask(before)
    assert (tmp_path / "x.safetensors").stat().st_mode & 0o777 == 0o640
