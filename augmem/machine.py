"""Settings of this machine and its C library; environment variables to set before torch and numpy are imported."""

from __future__ import annotations

import ctypes
import os
from importlib import metadata
from pathlib import Path

MKL_SWITCH = "MKL_DEBUG_CPU_TYPE"


def prepare_libraries() -> None:
    """Set environment variables that libraries read when they are loaded, unless the user has set them.

    Call it before torch and numpy are imported. The commands, benchmarks and tests of augmem do; `import augmem` does
    not. Without it, torch 1.13 computes matrix products 3 to 10 times slower on AMD processors.

    Example:
        >>> prepare_libraries()
        >>> int(os.environ["OPENBLAS_NUM_THREADS"]) > 0
        True
    """
    prefer_fast_mkl()
    # numpy is used for small matrix products only; idle threads of its BLAS spin and used 0.9 cores of a server.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def prefer_fast_mkl() -> None:
    """Make the MKL of torch 1.13 use AVX2 on AMD processors: matrix products become 3 to 10 times faster.

    MKL 2020.0 uses AVX2 on Intel processors only, unless MKL_DEBUG_CPU_TYPE is 5; later releases ignore the variable.
    It is read when MKL is loaded.
    """
    if needs_mkl_switch():
        os.environ.setdefault(MKL_SWITCH, "5")


def needs_mkl_switch(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether this is an AMD processor with AVX2 and a torch release with MKL 2020.0."""
    if not cpuinfo.exists():
        return False
    flags = cpuinfo.read_text(encoding="utf-8")
    return "AuthenticAMD" in flags and " avx2 " in flags and torch_version().startswith("1.13.")


def torch_version() -> str:
    """Return the installed version of torch without importing it; empty if it is not installed."""
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return ""


def release_freed_memory() -> None:
    """Return memory that this process has freed to the system, where the C library can (glibc).

    Before a fork: the child would keep the freed pages as soon as the parent uses them again.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)
