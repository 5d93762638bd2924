"""What this machine needs before torch and numpy are imported."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path

MKL_SWITCH = "MKL_DEBUG_CPU_TYPE"


def prepare_libraries() -> None:
    """Settings that libraries read when they are loaded; what the user has set stays."""
    prefer_fast_mkl()
    # numpy's BLAS has only small products here; its idle threads spin, and took nine tenths of a core from a server.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def prefer_fast_mkl() -> None:
    """Let the MKL inside torch 1.13 use AVX2 on AMD processors: matrix products become 3 to 10 times faster.

    That MKL (2020.0) takes a slow path on processors it does not know; it obeys MKL_DEBUG_CPU_TYPE, which later
    releases ignore. It reads the variable when it is loaded, so this must run before torch is imported.
    """
    if wants_mkl_switch():
        os.environ.setdefault(MKL_SWITCH, "5")


def wants_mkl_switch(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor is an AMD one with AVX2 and torch is a release that carries MKL 2020.0."""
    if not cpuinfo.exists():
        return False
    flags = cpuinfo.read_text(encoding="utf-8")
    return "AuthenticAMD" in flags and " avx2 " in flags and torch_version().startswith("1.13.")


def torch_version() -> str:
    """The installed torch's version, without importing it; empty if there is none."""
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return ""
