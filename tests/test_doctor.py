"""Checks of the machine."""

from __future__ import annotations

import sys

import pytest
import torch

from augmem.doctor import (
    Finding,
    audio_formats,
    decode_batch,
    doctor,
    examine_package,
    k2_self_test,
    run_test,
    train_step,
)


def test_opus_flac_and_mp3_can_be_read() -> None:
    assert audio_formats().startswith("libsndfile 1.")


def test_the_k2_self_test_passes() -> None:
    assert "are equal" in k2_self_test()


def test_a_missing_package_is_reported_with_its_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augmem.doctor.PACKAGES", ("no-such-package",))
    assert doctor("export") == 1
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


def test_a_tiny_batch_is_made_trained_and_decoded() -> None:
    assert "a batch was made and trained on" in train_step()
    assert "2 utterances decoded" in decode_batch()


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


def test_gpus_that_torch_finds_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    from augmem.doctor import gpu

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"GPU {number}")
    assert gpu() == "GPU 0"
