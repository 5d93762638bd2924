"""`augmem doctor`: check the machine and print how to fix problems."""

from __future__ import annotations

import argparse
import math
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from augmem.machine import MKL_SWITCH, needs_mkl_switch, prepare_libraries, torch_version

if TYPE_CHECKING:
    from augmem.corpus import Batch
    from augmem.model import AcousticModel

PACKAGES = ("torch", "lhotse", "numpy", "soundfile", "jsonargparse", "sentencepiece", "safetensors", "tqdm")
EXTRA_PACKAGES = {
    "prepare": ("kaldilm", "phonetisaurus", "pocketsphinx", "num2words", "kenlm-ex"),
    "graphs": ("kaldilm", "k2"),
    "train": ("tensorboard",),
    "decode": ("k2", "kaldialign", "kenlm-ex", "matplotlib", "jinja2"),
    "serve": ("k2", "kaldi-native-fbank", "websockets", "prometheus-client"),
    "export": (),
}
TASKS = tuple(EXTRA_PACKAGES)


K2_REMEDY = (
    "install the k2 wheel for this torch, CUDA and Python from the wheel pages of k2; if the message names libpython: "
    "apt-get install libpython3.11"
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
    packages = dict.fromkeys([*PACKAGES, *(name for task in tasks for name in EXTRA_PACKAGES[task])])
    yield from map(examine_package, packages)
    yield examine_mkl()
    yield run_test("GPU", gpu, "install a torch that can be imported")
    yield run_test("audio formats", audio_formats, "pip install --upgrade soundfile (libsndfile 1.1 or later)")
    yield run_test("a training step", train_step, "install releases that work together; docs/gpus.md lists them")
    if "k2" in packages:
        yield run_test("k2 self test", k2_self_test, K2_REMEDY)
    if {"decode", "serve"} & set(tasks):
        yield run_test("decoding", decode_batch, K2_REMEDY)
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
        return Finding(name, "not installed", f"{sys.executable} -m pip install {name}, or local/setup.sh in a clone")


def examine_mkl() -> Finding:
    """Check whether matrix products use AVX2 (see `augmem.machine`)."""
    if not needs_mkl_switch():
        return Finding("matrix products", f"torch {torch_version()} needs no setting on this processor")
    value = os.environ.get(MKL_SWITCH, "unset")
    remedy = "" if value == "5" else f"export {MKL_SWITCH}=5: this MKL is 3 to 10 times slower on AMD without it"
    return Finding("matrix products", f"AMD with AVX2, {MKL_SWITCH}={value}", remedy)


def run_test(subject: str, test: Callable[[], str], remedy: str) -> Finding:
    """Run a self test; an exception becomes a finding.

    Args:
        subject: what is tested.
        test: returns a text about the result.
        remedy: how to fix a failure.
    """
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
    device = "with CUDA" if k2.with_cuda else "for the CPU"
    return f"built {device}; CTC scores of k2 and torch are equal, {time.time() - started:.1f} s"


def gpu() -> str:
    """Return the GPUs that torch finds."""
    import torch

    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return ", ".join(names) or "torch finds none; training and decoding use the CPU"


def tiny_batch() -> tuple[AcousticModel, Batch]:
    """Return an untrained model and a batch of two seconds of noise, made by Lhotse from audio files."""
    import numpy as np
    import soundfile
    import torch
    from lhotse import CutSet, Fbank, FbankConfig, MonoCut, Recording, SupervisionSegment
    from lhotse.features.io import MemoryRawWriter

    from augmem.corpus import BatchConfig, training_batches
    from augmem.encoder import EncoderConfig
    from augmem.model import AcousticModel, ModelDescription

    with TemporaryDirectory() as folder:
        cuts = []
        for name in ("a", "b"):
            path = Path(folder) / f"{name}.flac"
            soundfile.write(path, np.random.default_rng(0).uniform(-0.1, 0.1, 16000), 16000)
            text = [SupervisionSegment(name, name, 0.0, 1.0, text="TWO WORDS")]
            cut = MonoCut(name, 0.0, 1.0, 0, supervisions=text, recording=Recording.from_file(path))
            cuts.append(cut.compute_and_store_features(Fbank(FbankConfig(num_mel_bins=20)), MemoryRawWriter()))
        batch = next(training_batches(CutSet.from_cuts(cuts), BatchConfig(workers=0, num_buckets=1), epoch=0))
    torch.manual_seed(0)
    encoder = EncoderConfig(
        dim=16, heads=2, feedforward_dim=32, layers=1, frontend_channels=(2, 3),
        left_context=0.16, centre=0.32, right_context=0.08,
    )  # fmt: skip
    description = ModelDescription(encoder, feature_dim=20, frame_shift=0.01, num_units=5, units_hash="")
    return AcousticModel(description, torch.zeros(20), torch.ones(20)), batch


def train_step() -> str:
    """Train one step on a tiny batch, on the GPU if there is one."""
    started = time.time()
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, batch = tiny_batch()
    model.to(device).train()
    log_probs, lengths = model(batch.features.to(device), batch.lengths.to(device))
    targets, sizes = torch.tensor([[1, 2], [3, 4]], device=device), torch.tensor([2, 2], device=device)
    loss = torch.nn.functional.ctc_loss(log_probs.transpose(0, 1), targets, lengths, sizes)
    loss.backward()
    torch.optim.Adam(model.parameters()).step()
    if not all(bool(torch.isfinite(weight).all()) for weight in model.parameters()):
        raise ArithmeticError(f"weights are not finite after a step with loss {loss.item():.3f}")
    return f"a batch was made and trained on {device}, {time.time() - started:.1f} s"


def decode_batch() -> str:
    """Decode a tiny batch with a graph of all unit sequences."""
    started = time.time()
    import k2
    import torch

    from augmem.decoding import DecodingConfig, DecodingGraph, best_path, find_lattices, words_on

    model, batch = tiny_batch()
    with torch.no_grad():
        log_probs, lengths = model.eval()(batch.features, batch.lengths)
    graph = DecodingGraph(k2.ctc_topo(max_token=4))
    lattices = [found.lattice for found in find_lattices(log_probs, lengths, graph, DecodingConfig())]
    units = [words_on(lattice, best_path(lattice)) for lattice in lattices]
    return f"{len(units)} utterances decoded, {time.time() - started:.1f} s"


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


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the option for a task."""
    parser.add_argument("--task", choices=TASKS, help="check what this task needs (all tasks)")


if __name__ == "__main__":  # by run.sh, in environments that may lack what `augmem doctor` itself imports
    prepare_libraries()
    options = argparse.ArgumentParser(description=__doc__)
    add_options(options)
    sys.exit(doctor(options.parse_args().task))
