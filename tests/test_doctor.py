"""Checks of the machine."""

from __future__ import annotations

import sys
from importlib import metadata

import pytest
import torch

from augmem.corpus import extractor
from augmem.doctor import Finding, check_audio_formats, doctor, examine_kaldifeat, examine_package, run_test


def test_opus_flac_and_mp3_can_be_read() -> None:
    assert check_audio_formats().startswith("libsndfile 1.")


def test_a_missing_package_is_reported_with_its_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augmem.doctor.REQUIRED_PACKAGES", ("no-such-package",))
    assert doctor("train") == 1
    printed = capsys.readouterr().out
    assert "PROBLEM no-such-package" in printed and "-m pip install no-such-package" in printed
    assert printed.endswith(" found\n")


def test_a_failing_self_test_is_a_finding() -> None:
    def broken() -> str:
        raise ImportError("libpython3.11.so.1.0: cannot open shared object file")

    assert run_test("k2", broken, "apt-get install libpython3.11") == Finding(
        "k2", "ImportError: libpython3.11.so.1.0: cannot open shared object file", "apt-get install libpython3.11"
    )
    assert examine_package("no-such-package").remedy


def test_k2_is_not_to_be_installed_from_the_package_index(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("augmem.doctor.metadata.version", absent)
    assert "pip install torch" in examine_package("torch").remedy
    remedy = examine_package("k2").remedy
    assert "wheel pages of k2" in remedy and "pip install" not in remedy


def test_no_batch_is_a_problem(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, *arguments: object, **options: object) -> None:
        raise TypeError("missing data_source")

    monkeypatch.setattr("augmem.corpus.batches._CutSampler.__init__", refuse)
    assert doctor("train") == 1
    printed = capsys.readouterr().out
    assert "PROBLEM a training step" in printed and "missing data_source" in printed
    assert printed.endswith("1 problem found\n")


def test_training_needs_no_k2_and_decoding_does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "k2", None)
    assert doctor("train") == 0
    assert doctor("decode") == 1
    assert "wheel pages of k2" in capsys.readouterr().out


@pytest.mark.parametrize(("task", "subject"), [("serve", "serving"), ("export", "export")])
def test_serving_and_export_are_tried(
    task: str, subject: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise OSError("no port")

    monkeypatch.setattr("augmem.serving.server.RecognitionServer.start", broken)
    monkeypatch.setattr(torch.onnx, "export", broken)
    assert doctor(task) == 1
    printed = capsys.readouterr().out
    assert f"PROBLEM {subject:<16} OSError: no port" in printed
    assert printed.endswith("1 problem found\n")


def test_kaldifeat_is_optional_but_must_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kaldifeat", None)  # as if built for another torch
    extractor.cache_clear()
    for installed, remedy in ((False, ""), (True, "run local/install_kaldifeat.sh again")):
        found = Finding("kaldifeat", "1.24" if installed else "not installed", "" if installed else "pip install")
        monkeypatch.setattr("augmem.doctor.examine_package", lambda name, found=found: found)
        assert examine_kaldifeat().remedy == remedy


def test_gpus_that_torch_finds_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    from augmem.doctor import find_gpus

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"GPU {number}")
    assert find_gpus() == "GPU 0"
