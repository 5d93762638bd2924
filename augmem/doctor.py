"""`augmem doctor`: is this machine fit to run the project, and if not, what mends it?"""

from __future__ import annotations

import math
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from augmem.machine import MKL_SWITCH, torch_version, wants_mkl_switch

PACKAGES = (
    "torch",
    "k2",
    "lhotse",
    "numpy",
    "kaldilm",
    "kaldialign",
    "sentencepiece",
    "phonetisaurus",
    "soundfile",
)


class Finding(NamedTuple):
    """One line of the doctor's report; `remedy` is empty where all is well."""

    subject: str
    state: str
    remedy: str = ""


def doctor() -> int:
    """Print the report; return 0 if nothing is wrong, else 1."""
    findings = list(examine())
    for subject, state, remedy in findings:
        print(f"{'ok   ' if not remedy else 'WRONG'} {subject:<16} {state}")
        if remedy:
            print(f"      {'':<16} to mend: {remedy}")
    wrong = sum(bool(finding.remedy) for finding in findings)
    print("all is well" if not wrong else f"{wrong} thing(s) to mend")
    return int(wrong > 0)


def examine() -> Iterator[Finding]:
    """All findings, in the order of what depends on what."""
    yield examine_python()
    yield from map(examine_package, PACKAGES)
    yield examine_mkl()
    yield guarded("k2 self test", k2_self_test, "local/setup.sh; if it names libpython: apt-get install libpython3.11")
    yield guarded("MP3 reading", mp3_support, "pip install --upgrade soundfile (libsndfile 1.1 or later)")
    yield examine_space()


def examine_python() -> Finding:
    """CPython 3.10 and 3.11 have k2 wheels for torch 1.13; newer Pythons need newer wheels."""
    version = platform.python_version()
    fits = sys.version_info[:2] in ((3, 10), (3, 11))
    return Finding("python", version, "" if fits else "use CPython 3.11, as PYTHON=python3.11 local/setup.sh does")


def examine_package(name: str) -> Finding:
    """Whether a package is installed, and which release."""
    try:
        return Finding(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, "not installed", "local/setup.sh, then run .venv/bin/augmem")


def examine_mkl() -> Finding:
    """Whether matrix products take the fast path (see `augmem.machine`)."""
    if not wants_mkl_switch():
        return Finding("matrix products", f"torch {torch_version()} picks its fast path by itself")
    value = os.environ.get(MKL_SWITCH, "unset")
    remedy = "" if value == "5" else f"export {MKL_SWITCH}=5: this MKL is 3 to 10 times slower on AMD without it"
    return Finding("matrix products", f"AMD with AVX2, {MKL_SWITCH}={value}", remedy)


def guarded(subject: str, test: Callable[[], str], remedy: str) -> Finding:
    """Run a self test; any failure at all is a finding, never a traceback."""
    try:
        return Finding(subject, test())
    except Exception as error:
        return Finding(subject, f"{type(error).__name__}: {error}", remedy)


def k2_self_test() -> str:
    """k2's CTC score of a two-unit target must equal torch's own CTC loss."""
    started = time.time()
    import k2
    import torch

    log_probs = torch.randn(1, 20, 4, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    graph = k2.ctc_graph([[1, 2]])
    dense = k2.DenseFsaVec(log_probs, torch.tensor([[0, 0, 20]], dtype=torch.int32))
    score = k2.intersect_dense(graph, dense, output_beam=30.0).get_tot_scores(log_semiring=True, use_double_scores=True)
    loss = torch.nn.functional.ctc_loss(
        log_probs.transpose(0, 1),
        torch.tensor([[1, 2]]),
        torch.tensor([20]),
        torch.tensor([2]),
        reduction="sum",
    )
    if not math.isclose(score.item(), -loss.item(), abs_tol=1e-3):
        raise ArithmeticError(f"k2 says {score.item():.4f}, torch says {-loss.item():.4f}")
    return f"CTC score equals torch's, {time.time() - started:.1f} s"


def mp3_support() -> str:
    """The Amazon Queen corpus is MP3; libsndfile reads that since 1.1."""
    import soundfile

    if "MP3" not in soundfile.available_formats():
        raise OSError(f"libsndfile {soundfile.__libsndfile_version__} has no MP3")
    return f"libsndfile {soundfile.__libsndfile_version__}"


def examine_space(folder: Path = Path()) -> Finding:
    """Free disk space where data/ and exp/ go."""
    gigabytes = shutil.disk_usage(folder).free / 1e9
    remedy = "" if gigabytes > 2 else "free some space, or name other disks with --data and --exp"
    return Finding("disk", f"{gigabytes:.0f} GB free in {folder.resolve()}", remedy)
