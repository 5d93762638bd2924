"""Environment variables set before torch and numpy are imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from augmem import machine


@pytest.mark.parametrize(
    ("processor", "torch", "wanted"),
    [
        ("vendor_id : AuthenticAMD\nflags : fpu avx2 sse\n", "1.13.1", True),
        ("vendor_id : AuthenticAMD\nflags : fpu avx sse\n", "1.13.1", False),
        ("vendor_id : GenuineIntel\nflags : fpu avx2 sse\n", "1.13.1", False),
        ("vendor_id : AuthenticAMD\nflags : fpu avx2 sse\n", "2.1.0", False),
    ],
)
def test_the_mkl_switch_is_set_for_amd_with_avx2_and_mkl_2020_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processor: str, torch: str, wanted: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(processor)
    monkeypatch.setattr(machine, "torch_version", lambda: torch)
    assert machine.needs_mkl_switch(tmp_path / "cpuinfo") is wanted


def test_the_mkl_switch_is_not_set_without_cpuinfo(tmp_path: Path) -> None:
    assert not machine.needs_mkl_switch(tmp_path / "none")


def test_the_command_sets_the_variables_before_it_imports_torch() -> None:
    script = "import augmem.cli, sys; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(("given", "kept"), [(None, "1"), ("3", "3")])
def test_numpy_uses_one_thread_unless_set(given: str | None, kept: str) -> None:
    others = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    environment = others if given is None else others | {"OPENBLAS_NUM_THREADS": given}
    script = """
import atexit, os, sys
from augmem.cli import main
atexit.register(lambda: print("threads:", os.environ["OPENBLAS_NUM_THREADS"]))
sys.argv = ["augmem", "kaldi", "--help"]
main()
"""
    result = subprocess.run([sys.executable, "-c", script], check=True, env=environment, capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == f"threads: {kept}"
