"""Streams against offline decoding, alone and together, with a packaged model of random weights."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from augmem.decoding import Scales, SearchConfig, SearchState, best_path, find_lattices, path_word_ids
from augmem.encoder import EncoderConfig
from augmem.errors import UserError
from augmem.graph import HLG_FILE
from augmem.model import AcousticModel
from augmem.streaming import (
    Event,
    HotwordLine,
    OnlineFeatures,
    PackageInfo,
    Recognizer,
    RecognizerOptions,
    Stream,
    write_package,
)
from tests.encoder.small import RIVALS
from tests.tiny import ENCODER, RATE, noise, split_packets

WIDE = SearchConfig(search_beam=75.0, output_beam=75.0, max_active=10000, nbest_beam=50.0, nbest_tokens=2000)


@pytest.fixture(scope="module")
def recognizer(package: Path) -> Recognizer:
    return Recognizer.load(package, RecognizerOptions.one_segment(WIDE))


def text_of(events: list[Event]) -> str:
    return " ".join(event.text for event in events if event.text)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 1000), st.floats(0.02, 6.0), st.lists(st.integers(1, 20000), min_size=1, max_size=3))
def test_streaming_equals_offline(recognizer: Recognizer, seed: int, seconds: float, sizes: list[int]) -> None:
    samples = noise(seconds, seed)
    events = recognizer.transcribe(split_packets(samples, sizes), RATE)
    assert text_of(events) == recognizer.transcribe_offline(samples, RATE)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.floats(0.5, 5.0), st.integers(20, 20000), st.sampled_from([8000, 11025, 44100]))
def test_streaming_equals_offline_for_int16_samples_of_any_rate(
    recognizer: Recognizer, seed: int, seconds: float, size: int, rate: int
) -> None:
    samples = (noise(seconds, seed) * 32767).astype(np.int16)
    packets = np.split(samples, range(size, len(samples), size))
    offline = recognizer.transcribe_offline(samples.astype(np.float32) / 32768, rate)
    assert text_of(recognizer.transcribe(packets, rate)) == offline


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(0.5, 5.0), st.lists(st.integers(100, 20000), min_size=1, max_size=3))
def test_scores_and_lattice_equal_offline(recognizer: Recognizer, seed: int, seconds: float, sizes: list[int]) -> None:
    """On the frames of the stream: the model's scores up to rounding in float32, words and score of the best path.

    The output weights of the tiny model are multiplied by 20 and its scores reach -60, so 1e-6 of the largest score
    corresponds to 3e-6 of the encoder's output without that factor.
    """
    stream, features = recognizer.stream(), OnlineFeatures(recognizer.feature_config)
    search, parts = stream.search, []  # of the only segment
    for packet in split_packets(noise(seconds, seed), sizes):
        stream.accept_waveform(packet, RATE)
        recognizer.step([stream])
        features.accept(packet, RATE)
        parts.append(features.take())
    features.finish()
    frames = torch.from_numpy(np.concatenate([*parts, features.take()]))
    recognizer.finish([stream])
    with torch.no_grad():
        scores, lengths = recognizer.model(frames[None], torch.tensor([len(frames)]))
    largest = float(scores.abs().max())
    torch.testing.assert_close(torch.cat(search.log_probs), scores[0], rtol=0, atol=1e-6 * largest)

    decoder, again = recognizer.decoder, SearchState()
    for chunk in search.log_probs:
        decoder.search.advance(again, chunk)
    streamed = decoder.search.lattice(again)
    offline = find_lattices(scores, lengths, decoder.graph, WIDE)[0].lattice
    streamed_path, offline_path = best_path(streamed), best_path(offline)
    assert path_word_ids(streamed, streamed_path) == path_word_ids(offline, offline_path)
    assert streamed.scores[streamed_path].sum() == pytest.approx(offline.scores[offline_path].sum(), abs=1e-3)


def test_results_are_not_empty_and_differ(recognizer: Recognizer) -> None:
    """Otherwise the other tests here would compare empty results."""
    texts = [recognizer.transcribe_offline(noise(4.0, seed), RATE) for seed in range(4)]
    assert len(set(texts)) > 1 and all(texts)


def test_concurrent_streams_get_the_results_of_single_streams(recognizer: Recognizer) -> None:
    audio = [noise(seconds, seed) for seed, seconds in enumerate((1.0, 4.3, 2.2, 3.1))]
    alone = [text_of(recognizer.transcribe([samples], RATE)) for samples in audio]
    streams = [recognizer.stream() for _ in audio]
    for begin in range(0, max(map(len, audio)), 4000):
        for stream, samples in zip(streams, audio, strict=True):
            if begin < len(samples):
                stream.accept_waveform(samples[begin : begin + 4000], RATE)
            else:
                stream.finish()
        recognizer.step(streams)
    recognizer.finish(streams)
    together = [text_of([event for event in stream.events() if event.kind == "final"]) for stream in streams]
    assert together == alone and all(stream.is_done for stream in streams)


def test_words_have_times_and_confidences(recognizer: Recognizer) -> None:
    (event,) = recognizer.transcribe([noise(4.0, 1)], RATE)
    delay = recognizer.model.encoder.frontend_delay
    assert event.words and event.end == pytest.approx(4.0 - delay, abs=0.04)
    times = [time for word in event.words for time in (word.start, word.end)]
    assert times == sorted(times) and times[0] >= 0 and times[-1] <= event.end
    assert all(0 < word.confidence <= 1 for word in event.words)
    assert json.loads(event.to_json())["text"] == event.text


@pytest.fixture(scope="module")
def live(package: Path) -> Recognizer:
    """Recognizer with partial results within encoder segments."""
    return Recognizer.load(package, RecognizerOptions(WIDE, rules=(), max_segment=math.inf, partial_interval=0.08))


def spoken_events(recognizer: Recognizer, samples: np.ndarray) -> list[tuple[float, Event]]:
    """Return the events of a stream with the seconds of audio that had been added before each of them."""
    stream, events = recognizer.stream(), []
    for number, packet in enumerate(np.split(samples, range(640, len(samples), 640)), 1):  # 0.04 s
        stream.accept_waveform(packet, RATE)
        while recognizer.step([stream]):
            pass
        events += [(0.04 * number, event) for event in stream.events()]
    recognizer.finish([stream])
    return events + [(math.inf, event) for event in stream.events()]


def test_partial_results_before_the_end(recognizer: Recognizer) -> None:
    stream = recognizer.stream()
    stream.accept_waveform(noise(4.0, 1), RATE)
    while recognizer.step([stream]):
        pass
    events = stream.events()
    assert len(events) > 1 and {event.kind for event in events} == {"partial"}
    assert all(word.confidence is None for event in events for word in event.words)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.floats(0.5, 5.0))
def test_provisional_scores_change_no_final_result_and_no_stable_word(
    recognizer: Recognizer, live: Recognizer, seed: int, seconds: float
) -> None:
    samples = noise(seconds, seed)
    *partial, (_, final) = spoken_events(live, samples)
    assert final == recognizer.transcribe([samples], RATE)[-1] and final.stable == len(final.words)
    words = [word.text for word in final.words]
    for _, event in partial:
        assert event.kind == "partial"
        assert [word.text for word in event.words[: event.stable]] == words[: event.stable]
    assert [event.stable for _, event in partial] == sorted(event.stable for _, event in partial)


def test_partial_results_include_the_incomplete_encoder_segment(recognizer: Recognizer, live: Recognizer) -> None:
    """The audio since the end of the last partial result is shorter than an encoder segment with its right context."""
    first = spoken_events(recognizer, noise(4.0, 1))[0]
    events = spoken_events(live, noise(4.0, 1))[:-1]
    assert events[0][0] < first[0] and len({round(event.end, 2) for _, event in events}) > 10
    delays = [spoken - event.end for spoken, event in events]
    assert max(delays) < ENCODER.centre + ENCODER.right_context + live.model.encoder.frontend_delay + 0.08
    assert min(delays) < 0.08 + live.model.encoder.frontend_delay


def test_finished_stream_accepts_no_audio(recognizer: Recognizer) -> None:
    stream = recognizer.stream()
    stream.finish()
    with pytest.raises(UserError, match="the stream is finished"):
        stream.accept_waveform(noise(0.1), RATE)


def test_invalid_audio_and_options_are_refused(recognizer: Recognizer) -> None:
    with pytest.raises(UserError, match=r"must be one channel, int16 or float32 \(convert bytes by numpy"):
        recognizer.stream().accept_waveform(bytes(3200), RATE)  # type: ignore[arg-type]
    for options in (
        {"max_segment": 0.0},
        {"max_segment": math.nan},
        {"memory_reset_segments": 0},
        {"partial_interval": 0.0},
    ):
        with pytest.raises(UserError, match=f"^{next(iter(options))} is"):
            RecognizerOptions(**options)


def test_no_audio_gives_no_words(recognizer: Recognizer) -> None:
    assert text_of(recognizer.transcribe([], RATE)) == ""
    assert text_of(recognizer.transcribe([np.zeros(0, np.int16)], RATE)) == ""


@pytest.mark.parametrize("loudness", [1.0, 0.0], ids=["noise", "silence"])
def test_memory_of_a_stream_is_bounded(package: Path, loudness: float) -> None:
    """In two minutes: after the first 64 encoder segments (20 s) no tensor of the stream grows."""
    recognizer = Recognizer.load(package, RecognizerOptions(max_segment=4.0))
    stream, sizes, longest = recognizer.stream(), [], 0
    for packet in np.split(loudness * noise(120.0, 5), 120):
        stream.accept_waveform(packet.astype(np.float32), RATE)
        while recognizer.step([stream]):
            longest = max(longest, stream.search.num_frames)
        sizes.append(sum(tensor.storage().nbytes() for tensor in tensors_of(stream)))  # a view keeps its whole storage
    assert stream.segment >= 20
    assert max(sizes[60:]) <= max(sizes[:60])
    assert longest * recognizer.model.frame_shift <= 4.0 + ENCODER.centre


def tensors_of(stream: Stream) -> list[torch.Tensor]:
    return [*stream.encoder_state.tensors(), stream.frames, stream.scores]


def test_search_options_come_from_the_package(tmp_path: Path, package: Path) -> None:
    narrow = SearchConfig(search_beam=9.0, nbest=3)
    info = PackageInfo(Scales(1.0, 0.0), narrow)
    write_package(tmp_path / "out", package / "model.safetensors", package / "lang", package / HLG_FILE, info)
    assert Recognizer.load(tmp_path / "out").decoder.config == narrow
    assert Recognizer.load(tmp_path / "out", RecognizerOptions(WIDE)).decoder.config == WIDE


@pytest.mark.parametrize("kind", RIVALS)
def test_packages_of_other_encoders_stream_as_they_transcribe(tmp_path: Path, package: Path, kind: str) -> None:
    described = AcousticModel.load(package / "model.safetensors", package / "lang").description
    changed = {"type": kind, "frame_schedule": (0.02, 0.08)}
    torch.manual_seed(3)
    model = AcousticModel(replace(described, encoder=EncoderConfig.from_stored(asdict(described.encoder) | changed)))
    model.output.weight.data *= 20
    model.save(tmp_path / "model.safetensors")
    info = PackageInfo(Scales(1.0, 0.0))
    write_package(tmp_path / "out", tmp_path / "model.safetensors", package / "lang", package / HLG_FILE, info)
    recognizer = Recognizer.load(tmp_path / "out", RecognizerOptions.one_segment(WIDE))
    samples = noise(2.5, 1)
    streamed = text_of(recognizer.transcribe(split_packets(samples, [3000, 9000]), RATE))
    assert streamed and streamed == recognizer.transcribe_offline(samples, RATE)


def test_encoder_that_cannot_stream_is_refused(tmp_path: Path, package: Path) -> None:
    """When the package is loaded, not when the first stream is created."""
    described = AcousticModel.load(package / "model.safetensors", package / "lang").description
    encoder = EncoderConfig.from_stored(asdict(described.encoder) | {"type": "full_context"})
    whole = replace(described, encoder=encoder)
    AcousticModel(whole).save(tmp_path / "model.safetensors")
    info = PackageInfo(Scales(1.0, 0.0))
    write_package(tmp_path / "out", tmp_path / "model.safetensors", package / "lang", package / HLG_FILE, info)
    with pytest.raises(UserError, match=r"encoder\.type full_context needs the whole utterance"):
        Recognizer.load(tmp_path / "out")


def test_recognition_imports_no_training_code(package: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from augmem.streaming import Recognizer, format_events; "
        "import augmem.serving.server, numpy; "
        f"events = Recognizer.load(Path({str(package)!r})).transcribe([numpy.zeros(48000, numpy.int16)], 44100); "
        "format_events('json', [('a', events)]); "
        "unwanted = [m for m in sys.modules if m.split('.')[0] == 'lhotse' or m.startswith(('augmem.training', "
        "'augmem.corpus', 'augmem.objective', 'augmem.recipe', 'augmem.scoring'))]; assert not unwanted, unwanted"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_hotwords_change_the_results_of_their_stream_only(package: Path) -> None:
    """A large bonus makes a word more frequent, a negative one less; partial results follow."""
    recognizer = Recognizer.load(package, RecognizerOptions.one_segment(WIDE))
    samples = noise(3.0, 4)

    def count(*hotwords: HotwordLine) -> tuple[int, int]:
        streams = [recognizer.stream(hotwords), recognizer.stream()]
        for stream in streams:
            stream.accept_waveform(samples, RATE)
        recognizer.finish(streams)
        events, others = (stream.events() for stream in streams)
        assert text_of(others[-1:]) == plain
        assert max(event.text.split().count("ONE") for event in events) == events[-1].text.split().count("ONE")
        return events[-1].text.split().count("ONE"), events[-1].text.split().count("TWO")

    plain = text_of(recognizer.transcribe([samples], RATE))
    assert count(HotwordLine("", "one", -20.0))[0] < plain.split().count("ONE") < count(HotwordLine("", "one", 6.0))[0]
    with pytest.raises(UserError, match=r"1 words are not in the vocabulary of the model \(THREE\)"):
        recognizer.stream([HotwordLine("", "three")])
    of_all = Recognizer.load(package, RecognizerOptions.one_segment(WIDE, (HotwordLine("", "one", -20.0),)))
    assert text_of(of_all.transcribe([samples], RATE)).split().count("ONE") == count(HotwordLine("", "one", -20.0))[0]
