"""`augmem doctor`: check the machine and print how to fix problems."""

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

from augmem.machine import MKL_SWITCH, needs_mkl_switch, torch_version

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
    """Result of one check.

    Args:
        subject: what was checked.
        state: version or measurement.
        remedy: how to fix the problem; empty if there is none.
    """

    subject: str
    state: str
    remedy: str = ""


def doctor() -> int:
    """Run all checks and print the results; return 1 if there are problems, else 0."""
    findings = list(examine())
    for subject, state, remedy in findings:
        print(f"{'ok     ' if not remedy else 'PROBLEM'} {subject:<16} {state}")
        if remedy:
            print(f"        {'':<16} fix: {remedy}")
    problems = sum(bool(finding.remedy) for finding in findings)
    print(f"{problems or 'no'} problem{'s' * (problems != 1)} found")
    return int(problems > 0)


def examine() -> Iterator[Finding]:
    """Run all checks, each after those it depends on."""
    yield examine_python()
    yield from map(examine_package, PACKAGES)
    yield examine_mkl()
    yield run_test("k2 self test", k2_self_test, "local/setup.sh; if it names libpython: apt-get install libpython3.11")
    yield run_test("audio formats", audio_formats, "pip install --upgrade soundfile (libsndfile 1.1 or later)")
    yield examine_space()


def examine_python() -> Finding:
    """Check the Python version: there are k2 wheels for torch 1.13 and CPython 3.10 and 3.11."""
    version = platform.python_version()
    fits = sys.version_info[:2] in ((3, 10), (3, 11))
    return Finding("python", version, "" if fits else "use CPython 3.11, as PYTHON=python3.11 local/setup.sh does")


def examine_package(name: str) -> Finding:
    """Check whether a package is installed, and its version."""
    try:
        return Finding(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding(name, "not installed", "local/setup.sh, then run .venv/bin/augmem")


def examine_mkl() -> Finding:
    """Check whether matrix products use AVX2 (see `augmem.machine`)."""
    if not needs_mkl_switch():
        return Finding("matrix products", f"torch {torch_version()} needs no setting on this processor")
    value = os.environ.get(MKL_SWITCH, "unset")
    remedy = "" if value == "5" else f"export {MKL_SWITCH}=5: this MKL is 3 to 10 times slower on AMD without it"
    return Finding("matrix products", f"AMD with AVX2, {MKL_SWITCH}={value}", remedy)


def run_test(subject: str, test: Callable[[], str], remedy: str) -> Finding:
    """Run a self test; an exception becomes a finding."""
    try:
        return Finding(subject, test())
    except Exception as error:
        return Finding(subject, f"{type(error).__name__}: {error}", remedy)


def k2_self_test() -> str:
    """Compare the CTC score of k2 with the CTC loss of torch."""
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
        raise ArithmeticError(f"CTC score {score.item():.4f} by k2, {-loss.item():.4f} by torch")
    return f"CTC scores of k2 and torch are equal, {time.time() - started:.1f} s"


def audio_formats() -> str:
    """Check that libsndfile reads Opus (carried LibriSpeech), FLAC (official trees) and MP3 (Amazon Queen)."""
    import soundfile

    formats = {*soundfile.available_formats(), *soundfile.available_subtypes("OGG")}
    missing = {"OPUS", "FLAC", "MP3"} - formats
    if missing:
        raise OSError(f"libsndfile {soundfile.__libsndfile_version__} does not read {', '.join(sorted(missing))}")
    return f"libsndfile {soundfile.__libsndfile_version__}"


def examine_space(folder: Path = Path()) -> Finding:
    """Check the free disk space for data/ and exp/."""
    gigabytes = shutil.disk_usage(folder).free / 1e9
    remedy = "" if gigabytes > 2 else "free some space, or choose folders on another disk with --data and --exp"
    return Finding("disk", f"{gigabytes:.0f} GB free in {folder.resolve()}", remedy)
