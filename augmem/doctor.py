"""`augmem doctor`: check the machine and print how to fix problems."""

from __future__ import annotations

import argparse
import logging
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from augmem import self_tests
from augmem.machine import MKL_SWITCH, needs_mkl_switch, prepare_libraries, torch_version

REQUIRED_PACKAGES = ("torch", "lhotse", "numpy", "soundfile", "jsonargparse", "sentencepiece", "safetensors", "tqdm")
EXTRA_PACKAGES = {
    "prepare": ("kaldilm", "phonetisaurus", "pocketsphinx", "num2words", "kenlm-ex"),
    "graphs": ("kaldilm", "k2"),
    "train": ("tensorboard",),
    "decode": ("k2", "kaldialign", "kenlm-ex", "numba", "matplotlib", "jinja2"),
    "serve": ("k2", "kaldi-native-fbank", "websockets", "prometheus-client"),
    "export": ("onnxruntime",),
}
TASKS = tuple(EXTRA_PACKAGES)

K2_REMEDY = (
    "install the k2 wheel for this torch, CUDA and Python from the wheel pages of k2; if the message names libpython: "
    f"apt-get install libpython{sys.version_info.major}.{sys.version_info.minor}"
)
RELEASES_REMEDY = "install releases that work together; docs/gpus.md lists them"


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


def doctor(task: str | None = None) -> int:
    """Run all checks and print the results; return 1 if there are problems, else 0.

    Args:
        task: one of `TASKS`; None: all of them.
    """
    findings = list(examine((task,) if task else TASKS))
    for subject, state, remedy in findings:
        print(f"{'ok     ' if not remedy else 'PROBLEM'} {subject:<16} {state}")
        if remedy:
            print(f"        {'':<16} fix: {remedy}")
    problems = sum(bool(finding.remedy) for finding in findings)
    print(f"{problems or 'no'} problem{'s' * (problems != 1)} found")
    return int(problems > 0)


def examine(tasks: Sequence[str] = TASKS) -> Iterator[Finding]:
    """Run the checks of some tasks, each after those it depends on."""
    yield examine_python()
    packages = dict.fromkeys([*REQUIRED_PACKAGES, *(name for task in tasks for name in EXTRA_PACKAGES[task])])
    yield from map(examine_package, packages)
    yield examine_mkl()
    yield run_test("GPU", find_gpus, "install a torch that can be imported")
    yield run_test("audio formats", check_audio_formats, "pip install --upgrade soundfile (libsndfile 1.1 or later)")
    yield run_test("a training step", self_tests.train_step, RELEASES_REMEDY)
    if "prepare" in tasks:
        yield examine_kaldifeat()
    if "k2" in packages:
        yield run_test("k2 self test", self_tests.k2_scores, K2_REMEDY)
    if {"decode", "serve"} & set(tasks):
        yield run_test("decoding", self_tests.decode_batch, K2_REMEDY)
    if "serve" in tasks:
        yield run_test("serving", self_tests.serve, K2_REMEDY)
    if "export" in tasks:
        yield run_test("export", self_tests.export, f"pip install onnx onnxruntime; else {RELEASES_REMEDY}")
    yield examine_space()


def examine_python() -> Finding:
    """Check the Python version."""
    remedy = "" if sys.version_info >= (3, 10) else "use CPython 3.10 or later"
    return Finding("python", f"{platform.python_version()} ({sys.executable})", remedy)


def examine_package(name: str) -> Finding:
    """Check whether a package is installed, and its version."""
    try:
        return Finding(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        # pip installs wheels of k2 for any Python: their tags do not name one.
        install = K2_REMEDY if name == "k2" else f"{sys.executable} -m pip install {name}"
        return Finding(name, "not installed", f"in a clone local/setup.sh, else {install}")


def examine_kaldifeat() -> Finding:
    """Check the optional extractor kaldifeat, if it is installed."""
    if examine_package("kaldifeat").remedy:
        return Finding("kaldifeat", "not installed; needed by --features.extractor kaldifeat only")
    return run_test("kaldifeat", self_tests.kaldifeat_features, "run local/install_kaldifeat.sh again")


def examine_mkl() -> Finding:
    """Check whether matrix products use AVX2 (see `augmem.machine`)."""
    if not needs_mkl_switch():
        return Finding("matrix products", f"torch {torch_version()} needs no setting on this processor")
    value = os.environ.get(MKL_SWITCH, "unset")
    remedy = "" if value == "5" else f"export {MKL_SWITCH}=5: this MKL is 3 to 10 times slower on AMD without it"
    return Finding("matrix products", f"AMD with AVX2, {MKL_SWITCH}={value}", remedy)


def run_test(subject: str, test: Callable[[], str], remedy: str) -> Finding:
    """Run a self test without its log; an exception becomes a finding.

    Args:
        subject: what is tested.
        test: returns a text about the result.
        remedy: how to fix a failure.
    """
    logging.disable(logging.WARNING)
    try:
        return Finding(subject, test())
    except Exception as error:
        return Finding(subject, f"{type(error).__name__}: {error}", remedy)
    finally:
        logging.disable(logging.NOTSET)


def find_gpus() -> str:
    """Return the GPUs that torch finds."""
    import torch

    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return ", ".join(names) or "torch finds none; training and decoding use the CPU"


def check_audio_formats() -> str:
    """Check that libsndfile reads Opus (carried LibriSpeech), FLAC (official trees) and MP3 (Amazon Queen)."""
    import soundfile

    formats = {*soundfile.available_formats(), *soundfile.available_subtypes("OGG")}
    missing = {"OPUS", "FLAC", "MP3"} - formats
    if missing:
        raise OSError(f"libsndfile {soundfile.__libsndfile_version__} does not read {', '.join(sorted(missing))}")
    return f"libsndfile {soundfile.__libsndfile_version__}"


def examine_space() -> Finding:
    """Check the free disk space for data/ and exp/."""
    gigabytes = shutil.disk_usage(Path()).free / 1e9
    remedy = "" if gigabytes > 2 else "free some space, or choose folders on another disk with --data and --exp"
    return Finding("disk", f"{gigabytes:.0f} GB free in {Path.cwd()}", remedy)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the option for a task."""
    parser.add_argument("--task", choices=TASKS, help="check what this task needs (all tasks)")


if __name__ == "__main__":  # by run.sh, in environments that may lack what `augmem doctor` itself imports
    prepare_libraries()
    options = argparse.ArgumentParser(description=__doc__)
    add_options(options)
    sys.exit(doctor(options.parse_args().task))
