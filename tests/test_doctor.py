"""Checks of the machine."""

from __future__ import annotations

import pytest

from augmem.doctor import Finding, audio_formats, doctor, examine_package, k2_self_test, run_test


def test_opus_flac_and_mp3_can_be_read() -> None:
    assert audio_formats().startswith("libsndfile 1.")


def test_the_k2_self_test_passes() -> None:
    assert "are equal" in k2_self_test()


def test_a_missing_package_is_reported_with_its_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("augmem.doctor.PACKAGES", ("no-such-package",))
    assert doctor() == 1
    printed = capsys.readouterr().out
    assert "PROBLEM no-such-package" in printed and "fix: local/setup.sh" in printed
    assert printed.endswith(" found\n")


def test_a_failing_self_test_is_a_finding() -> None:
    def broken() -> str:
        raise ImportError("libpython3.11.so.1.0: cannot open shared object file")

    assert run_test("k2", broken, "apt-get install libpython3.11") == Finding(
        "k2", "ImportError: libpython3.11.so.1.0: cannot open shared object file", "apt-get install libpython3.11"
    )
    assert examine_package("no-such-package").remedy
