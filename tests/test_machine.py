"""The MKL switch is set only where it helps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from augmem import machine
from augmem.doctor import Finding, doctor, examine_package, guarded, k2_self_test


@pytest.mark.parametrize(
    ("processor", "torch", "wanted"),
    [
        ("vendor_id : AuthenticAMD\nflags : fpu avx2 sse\n", "1.13.1", True),
        ("vendor_id : AuthenticAMD\nflags : fpu avx sse\n", "1.13.1", False),
        ("vendor_id : GenuineIntel\nflags : fpu avx2 sse\n", "1.13.1", False),
        ("vendor_id : AuthenticAMD\nflags : fpu avx2 sse\n", "2.1.0", False),
    ],
)
def test_only_amd_with_avx2_and_the_old_mkl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processor: str, torch: str, wanted: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(processor)
    monkeypatch.setattr(machine, "torch_version", lambda: torch)
    assert machine.wants_mkl_switch(tmp_path / "cpuinfo") is wanted


def test_no_cpuinfo_means_no_switch(tmp_path: Path) -> None:
    assert not machine.wants_mkl_switch(tmp_path / "none")


def test_the_switch_is_decided_before_torch_is_loaded() -> None:
    script = "import augmem.cli, sys; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(("given", "kept"), [(None, "1"), ("3", "3")])
def test_numpys_threads_do_not_spin_unless_wanted(given: str | None, kept: str) -> None:
    others = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    environment = others if given is None else others | {"OPENBLAS_NUM_THREADS": given}
    script = "import augmem, os; print(os.environ['OPENBLAS_NUM_THREADS'])"
    result = subprocess.run([sys.executable, "-c", script], check=True, env=environment, capture_output=True, text=True)
    assert result.stdout.strip() == kept


def test_k2_agrees_with_torch() -> None:
    assert "equals torch's" in k2_self_test()


def test_what_is_missing_comes_with_its_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augmem.doctor.PACKAGES", ("no-such-package",))
    assert doctor() == 1
    printed = capsys.readouterr().out
    assert "WRONG no-such-package" in printed and "to mend: local/setup.sh" in printed


def test_a_failing_self_test_is_a_finding() -> None:
    def broken() -> str:
        raise ImportError("libpython3.11.so.1.0: cannot open shared object file")

    assert guarded("k2", broken, "apt-get install libpython3.11") == Finding(
        "k2", "ImportError: libpython3.11.so.1.0: cannot open shared object file", "apt-get install libpython3.11"
    )
    assert examine_package("no-such-package").remedy
