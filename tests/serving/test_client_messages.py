"""Checks of the messages of a client."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from augmem.serving.client_messages import HEAD_BYTES, Refusal, check_no_container, parse_first_message


@pytest.mark.parametrize(
    ("kind", "name"), [("WAV", "WAV"), ("OGG", "Ogg"), ("FLAC", "FLAC"), ("AIFF", "AIFF"), ("AU", "AU"), ("CAF", "CAF")]
)
def test_files_that_libsndfile_writes_are_refused_by_name(kind: str, name: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(800), 8000, format=kind)
    with pytest.raises(Refusal, match=rf"file of format {name}\b"):
        check_no_container(file.getvalue()[:HEAD_BYTES])


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81", "WebM"),  # what MediaRecorder of Chromium sends
        (b"ID3\x04\0\0\0\0\0\x23TS", "MP3"),
        (b"\0\0\0\x20ftypisom", "MP4"),
    ],
)
def test_files_of_browsers_and_telephones_are_refused_by_name(head: bytes, name: str) -> None:
    with pytest.raises(Refusal, match=name):
        check_no_container(head)


def test_samples_are_no_container() -> None:
    samples = (8000 * np.sin(np.arange(-50, 50))).astype("<i2")
    for begin in range(len(samples)):
        check_no_container(samples[begin:].tobytes()[:HEAD_BYTES])
    check_no_container(b"RI")


def test_whole_numbers_are_sample_rates_in_both_spellings_of_json() -> None:
    for rate in ("16000", "16000.0", "1.6e4"):
        assert parse_first_message(f'{{"sample_rate": {rate}}}')[:2] == (16000, np.dtype("<i2"))
    for rate in ("16000.5", '"16000"', "true", "null", "3999", "192001", "NaN", "Infinity", "1e400", "[16000]"):
        with pytest.raises(Refusal, match=r"sample_rate .*: must be a whole number from 4000 to 192000"):
            parse_first_message(f'{{"sample_rate": {rate}}}')
