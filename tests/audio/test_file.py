"""Audio files: lengths are those of the samples, not of the header; damage is reported; rates are checked."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from augmem.audio import AudioFile
from augmem.audio.mpeg import count_frames
from augmem.errors import UserError

RATE = 16000
SAMPLES = np.random.default_rng(0).normal(scale=0.1, size=3 * RATE).astype(np.float32)


def encode(kind: str, subtype: str = "PCM_16", rate: int = RATE, samples: np.ndarray = SAMPLES) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, samples, rate, format=kind, subtype=subtype)
    return content.getvalue()


def decode(content: bytes) -> tuple[np.ndarray, str]:
    with AudioFile(content) as audio:
        blocks = [block[:, 0] for block in audio.blocks(1600)]
        return np.concatenate(blocks), audio.problem


def without_sizes(content: bytes, kind: str) -> bytes:
    """The header of a recorder that was killed before it wrote the sizes."""
    header = bytearray(content)
    places = {
        "WAV": (4, content.find(b"data") + 4),
        "AIFF": (4, content.find(b"SSND") + 4, content.find(b"COMM") + 10),
        "AU": (8,),
        "FLAC": (22,),
    }[kind]
    for place in places:
        header[place : place + 4] = bytes(4)
    if kind == "FLAC":
        header[21] &= 0xF0
    return bytes(header)


def frames_of(content: bytes) -> list[int]:
    """Begin of each frame of an MP3 file of one bit rate: its header repeats, but for padding."""
    starts = [content.find(b"\xff\xf3")]
    while starts[-1] + 4 < len(content):
        bits = int.from_bytes(content[starts[-1] : starts[-1] + 4], "big")
        kilobits = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)[(bits >> 12 & 15) - 1]
        starts.append(starts[-1] + 72000 * kilobits // RATE + (bits >> 9 & 1))
    return starts


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "AU", "FLAC"])
def test_unfinished_header_is_read_to_the_end_of_the_file(kind: str) -> None:
    whole = encode(kind)
    samples, problem = decode(without_sizes(whole, kind))
    np.testing.assert_array_equal(samples, soundfile.read(io.BytesIO(whole), dtype="float32")[0])
    assert not problem


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "AU", "NIST", "RF64", "FLAC", "MP3", "OGG"])
def test_truncated_file_is_read_once_and_reported(kind: str) -> None:
    subtype = {"MP3": "MPEG_LAYER_III", "OGG": "VORBIS"}.get(kind, "PCM_16")
    whole = encode(kind, subtype)
    complete, problem = decode(whole)
    assert len(complete) == len(SAMPLES) and not problem
    samples, problem = decode(whole[: len(whole) * 2 // 3])
    assert 0.25 * len(SAMPLES) < len(samples) < 0.75 * len(SAMPLES)
    if kind == "OGG":
        assert problem == "its last page is cut: truncated"
    else:
        assert problem == f"truncated: 3.0 s in the header, {len(samples) / RATE:.1f} s in the file"
    assert len(np.unique(samples[-800:])) > 10 or kind == "MP3", "no repeated or padded end"


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000, 0x80000000])
def test_size_in_the_header_of_a_stream_is_ignored(size: int) -> None:
    content = bytearray(encode("WAV"))
    content[40:44] = size.to_bytes(4, "little")
    assert len(decode(bytes(content))[0]) == len(SAMPLES) and not decode(bytes(content))[1]


def test_empty_wav_with_other_chunks_has_no_samples() -> None:
    content = bytearray(encode("WAV", samples=np.zeros(0)) + b"LIST" + (400).to_bytes(4, "little") + bytes(400))
    content[4:8] = (len(content) - 8).to_bytes(4, "little")
    with AudioFile(bytes(content)) as audio:
        assert audio.frames == 0 and not audio.problem


def test_mp3_of_varying_bit_rate_without_number_of_frames(tmp_path: Path) -> None:
    """Silence, then noise, without the first frame: the bit rate of the first frames says nothing about the rest."""
    content = io.BytesIO()
    with soundfile.SoundFile(
        content, "w", RATE, 1, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="VARIABLE", compression_level=0.5
    ) as file:
        file.write(np.concatenate([np.zeros(2 * RATE, np.float32), SAMPLES]))
    whole = content.getvalue()
    starts = frames_of(whole)
    (tmp_path / "a.mp3").write_bytes(whole[starts[1] :])
    assert abs(soundfile.info(tmp_path / "a.mp3").duration - 5.0) > 0.5, "what the header makes of it"
    with AudioFile(tmp_path / "a.mp3") as audio:
        assert audio.frames == (len(starts) - 2) * 576 - 529, "all frames, without the delay of the decoder"
        assert sum(map(len, audio.blocks(1600))) == audio.frames and not audio.problem
        silence, noise = audio.read(0, RATE), audio.read(3 * RATE, RATE)
        assert np.abs(silence).max() < 0.01 < np.abs(noise).mean()


def test_frames_of_an_mp3_file_are_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encode("MP3", "MPEG_LAYER_III")
    path, counted = tmp_path / "a.mp3", []

    def count(found: bytes) -> object:
        counted.append(len(found))
        return count_frames(found)

    path.write_bytes(content)
    monkeypatch.setattr("augmem.audio.file.count_frames", count)
    for start in range(3):
        with AudioFile(path) as audio:
            expected = decode(content)[0][start * RATE :][:800]
            np.testing.assert_allclose(audio.read(start * RATE, 800)[:, 0], expected, atol=1e-6)
    path.write_bytes(content[: len(content) // 2])
    with AudioFile(path) as audio:
        assert sum(map(len, audio.blocks(RATE))) < 2 * RATE and "truncated" in audio.problem
    assert [size for size in counted if size != len(content)] == [len(content) // 2]
    assert counted.count(len(content)) == 1 + 3, "the file once, the bytes each time"


@pytest.mark.parametrize("rate", [1, 3999, 192001, 20_000_000])
def test_absurd_sampling_rates_are_refused(rate: int) -> None:
    with pytest.raises(UserError, match=f"sampling rate {rate} Hz; must be from 4000 to 192000 Hz"):
        AudioFile(encode("WAV", rate=rate))


def test_header_of_billions_of_samples_takes_no_memory() -> None:
    content = bytearray(encode("FLAC"))
    assert content[:8] == b"fLaC\0\0\0\x22"
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4
    with AudioFile(bytes(content)) as audio:
        assert audio.frames == (1 << 36) - 1
        tracemalloc.start()
        with pytest.raises(UserError, match="cannot be decoded"):
            audio.read(0, None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1 << 25
    assert decode(bytes(content))[1] == "truncated: 4294967.3 s in the header, 2.9 s in the file"


def test_shorten_is_explained() -> None:
    content = encode("NIST").replace(b"sample_coding -s3 pcm", b"sample_coding -s26 pcm,embedded-shorten-v2.00")
    assert b"shorten" in content
    with pytest.raises(UserError, match=r"compressed by shorten, .*sph2pipe -f wav IN OUT\.wav"):
        AudioFile(content)


def test_any_bytes_are_audio_or_refused() -> None:
    """Headers with random changes: no other exception than UserError, and no more samples than bytes."""
    draw = np.random.default_rng(1)
    for kind in ("WAV", "AIFF", "AU", "NIST", "FLAC", "RF64"):
        whole = encode(kind, samples=SAMPLES[:800])
        for _ in range(50):
            content = bytearray(whole)
            for place in draw.integers(0, 90, size=3):
                content[place] = draw.integers(256)
            try:
                with AudioFile(bytes(content)) as audio:
                    assert sum(block.size for block in audio.blocks(1600)) <= 16 * len(content)
            except UserError as error:
                assert str(error)
