"""Self tests of `augmem doctor`: they pass here, and fail if what they test is broken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from augmem import self_tests


def test_k2_scores_are_compared_with_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "are equal" in self_tests.k2_scores()
    monkeypatch.setattr(torch.nn.functional, "ctc_loss", lambda *arguments, **options: torch.tensor(1.0))
    with pytest.raises(ArithmeticError, match=r"CTC score .* by k2, -1\.0000 by torch"):
        self_tests.k2_scores()


def test_a_tiny_batch_is_made_trained_and_decoded() -> None:
    assert self_tests.train_step() == "a batch was made and trained on cpu"
    assert self_tests.decode_batch() == "2 utterances decoded"


def test_a_second_of_audio_is_served() -> None:
    assert "a server recognised a second of audio" in self_tests.serve()


def test_a_server_without_a_result_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(package: Path) -> list[str]:
        return ["partial"]

    monkeypatch.setattr(self_tests, "_stream_to_server", silent)
    with pytest.raises(RuntimeError, match="no final result"):
        self_tests.serve()


def test_an_exported_model_is_run() -> None:
    pytest.importorskip("onnxruntime")
    assert self_tests.export().startswith("ONNX by onnxruntime")
