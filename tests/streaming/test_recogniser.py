"""Streams against offline decoding, alone and together, on a tiny random model; packages; formats; endpoints."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from augmem.decoding import Scales, SearchConfig, best_path, find_lattices, words_on
from augmem.decoding.online import StreamSearch
from augmem.model import AcousticModel
from augmem.streaming import (
    KALDI_RULES,
    EndpointRule,
    Event,
    OnlineFeatures,
    Recognizer,
    RecognizerOptions,
    Word,
    write_package,
)
from augmem.streaming.endpoint import endpoint
from augmem.streaming.formats import write_events
from augmem.streaming.recogniser import boundary
from tests.tiny import ENCODER, make_package, noise

RATE = 16000
WIDE = SearchConfig(search_beam=50.0, output_beam=50.0, nbest_beam=50.0)
ONE_SEGMENT = RecognizerOptions(decoding=WIDE, rules=(), max_segment=float("inf"))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="module")
def recogniser(package: Path) -> Recognizer:
    return Recognizer.load(package, ONE_SEGMENT)


def text(events: list[Event]) -> str:
    return " ".join(event.text for event in events if event.text)


def packets_of(samples: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """Packets of these sizes, round and round."""
    cuts = np.cumsum([sizes[n % len(sizes)] for n in range(len(samples) // min(sizes) + 1)])
    return [packet for packet in np.split(samples, cuts[cuts < len(samples)]) if len(packet)]


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 1000), st.floats(0.02, 6.0), st.lists(st.integers(1, 20000), min_size=1, max_size=3))
def test_streaming_equals_offline(recogniser: Recognizer, seed: int, seconds: float, sizes: list[int]) -> None:
    samples = noise(seconds, seed)
    assert text(recogniser.transcribe(packets_of(samples, sizes), RATE)) == recogniser.offline(samples, RATE)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.floats(0.5, 5.0), st.integers(20, 20000), st.sampled_from([8000, 11025, 44100]))
def test_any_rate_and_whole_numbers(recogniser: Recognizer, seed: int, seconds: float, size: int, rate: int) -> None:
    samples = (noise(seconds, seed) * 32767).astype(np.int16)
    packets = np.split(samples, range(size, len(samples), size))
    offline = recogniser.offline(samples.astype(np.float32) / 32768, rate)
    assert text(recogniser.transcribe(packets, rate)) == offline


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(0.5, 5.0), st.lists(st.integers(100, 20000), min_size=1, max_size=3))
def test_scores_and_lattice_equal_offline(recogniser: Recognizer, seed: int, seconds: float, sizes: list[int]) -> None:
    """On the frames the stream heard: the model's scores, to float32's rounding; words and score of the best path.

    The tiny model's weights are sharpened twentyfold and its scores go down to -60; a millionth of that is 3e-6 of an
    encoder's that was not sharpened.
    """
    stream, features = recogniser.stream(), OnlineFeatures(recogniser.feature_config)
    search, frames = stream.search, []  # of the only segment
    for packet in packets_of(noise(seconds, seed), sizes):
        stream.accept_waveform(packet, RATE)
        recogniser.step([stream])
        features.accept(packet, RATE)
        frames.append(features.take())
    features.finish()
    heard = torch.from_numpy(np.concatenate([*frames, features.take()]))
    recogniser.finish([stream])
    with torch.no_grad():
        whole, lengths = recogniser.model(heard[None], torch.tensor([len(heard)]))
    largest = float(whole.abs().max())
    torch.testing.assert_close(torch.cat(search.log_probs), whole[0], rtol=0, atol=1e-6 * largest)

    again, *chunks, last = StreamSearch(), *search.log_probs
    for chunk in chunks:
        recogniser.search.advance([again], [chunk], False)
    streamed = recogniser.search.advance([again], [last], True)[0].lattice
    offline = find_lattices(whole, lengths, recogniser.graph, WIDE)[0].lattice
    mine, theirs = best_path(streamed), best_path(offline)
    assert words_on(streamed, mine) == words_on(offline, theirs)
    assert streamed.scores[mine].sum() == pytest.approx(offline.scores[theirs].sum(), abs=1e-3)


def test_something_is_heard(recogniser: Recognizer) -> None:
    """Else the tests beside this one would compare nothing with nothing."""
    found = [recogniser.offline(noise(4.0, seed), RATE) for seed in range(4)]
    assert len(set(found)) > 1 and all(found)


def test_streams_in_lockstep_hear_what_each_hears_alone(recogniser: Recognizer) -> None:
    audio = [noise(seconds, seed) for seed, seconds in enumerate((1.0, 4.3, 2.2, 3.1))]
    alone = [text(recogniser.transcribe([samples], RATE)) for samples in audio]
    streams = [recogniser.stream() for _ in audio]
    for begin in range(0, max(map(len, audio)), 4000):
        for stream, samples in zip(streams, audio, strict=True):
            if begin < len(samples):
                stream.accept_waveform(samples[begin : begin + 4000], RATE)
            else:
                stream.finish()
        recogniser.step(streams)
    recogniser.finish(streams)
    together = [text([event for event in stream.events() if event.kind == "final"]) for stream in streams]
    assert together == alone and all(stream.is_done for stream in streams)


def test_words_have_times_and_confidences(recogniser: Recognizer) -> None:
    (event,) = recogniser.transcribe([noise(4.0, 1)], RATE)
    delay = recogniser.model.encoder.frontend_delay
    assert event.words and event.end == pytest.approx(4.0 - delay, abs=0.04)
    times = [time for word in event.words for time in (word.start, word.end)]
    assert times == sorted(times) and times[0] >= 0 and times[-1] <= event.end
    assert all(0 < word.confidence <= 1 for word in event.words)
    assert json.loads(event.to_json())["text"] == event.text


def test_partial_results_grow_and_a_reset_forgets(recogniser: Recognizer) -> None:
    stream = recogniser.stream()
    for _ in range(2):
        stream.accept_waveform(noise(4.0, 1), RATE)
        while recogniser.step([stream]):
            pass
        events = stream.events()
        assert len(events) > 1 and {event.kind for event in events} == {"partial"}
        assert all(0.05 <= word.confidence <= 0.95 for event in events for word in event.words)
        stream.reset()
    with pytest.raises(ValueError, match="was finished"):
        stream.finish()
        stream.accept_waveform(noise(0.1), RATE)


def test_what_no_stream_can_work_with_is_refused(recogniser: Recognizer) -> None:
    with pytest.raises(ValueError, match=r"want one channel, int16 or float32 \(of bytes make them by numpy"):
        recogniser.stream().accept_waveform(bytes(3200), RATE)  # type: ignore[arg-type]
    for options in ({"max_segment": 0.0}, {"max_segment": math.nan}, {"memory_slots": 0}):
        with pytest.raises(ValueError, match=f"^{next(iter(options))} is"):
            RecognizerOptions(**options)


def test_no_audio_at_all(recogniser: Recognizer) -> None:
    assert text(recogniser.transcribe([], RATE)) == ""
    assert text(recogniser.transcribe([np.zeros(0, np.int16)], RATE)) == ""


def test_long_speech_is_cut_between_words(package: Path) -> None:
    """Segments follow one another without a gap, none is longer than allowed, and words keep their order."""
    recogniser = Recognizer.load(package, RecognizerOptions(decoding=WIDE, rules=(), max_segment=2.0))
    events = recogniser.transcribe(np.split(noise(12.0, 5), 60), RATE)
    assert len(events) >= 6 and [event.segment for event in events] == list(range(len(events)))
    begins = [0.0, *(event.end for event in events)]
    chunk = ENCODER.centre
    assert all(0 < after - before <= 2.0 + chunk for before, after in pairwise(begins))
    assert events[-1].end == pytest.approx(12.0 - recogniser.model.encoder.frontend_delay, abs=0.04)
    for before, event in zip(begins, events, strict=False):
        assert all(before <= word.start < word.end <= event.end for word in event.words)


@pytest.mark.parametrize("loudness", [1.0, 0.0], ids=["speech", "silence"])
def test_what_a_stream_keeps_is_bounded(package: Path, loudness: float) -> None:
    """Two minutes; after the first 64 segments (20 s) nothing that a stream holds is larger than it has been."""
    recogniser = Recognizer.load(package, RecognizerOptions(max_segment=4.0))
    stream, kept, longest = recogniser.stream(), [], 0
    for packet in np.split(loudness * noise(120.0, 5), 120):
        stream.accept_waveform(packet.astype(np.float32), RATE)
        while recogniser.step([stream]):
            longest = max(longest, stream.search.num_frames)
        tensors = [*stream.state.values(), stream.frames, stream.held]
        kept.append(sum(tensor.storage().nbytes() for tensor in tensors))  # a view keeps all it looks at
    assert stream.segment >= 20
    assert max(kept[60:]) <= max(kept[:60])
    assert longest * recogniser.model.frame_shift <= 4.0 + ENCODER.centre


def clear_speech(recogniser: Recognizer, words: list[str], pauses: list[int]) -> torch.Tensor:
    """Scores (T, V) of an encoder that is all but certain: each unit two frames, and so many blanks after each word."""
    units = []
    for word, pause in zip(words, pauses, strict=True):
        units += [unit for unit in recogniser.lang.pronunciations[word][0] for _ in range(2)] + [0] * pause
    certain = torch.full((len(units), recogniser.model.description.num_units), -12.0)
    certain[torch.arange(len(units)), torch.tensor(units)] = 0.0
    return certain.log_softmax(-1)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["ONE", "TWO"]), st.integers(0, 40)), min_size=1, max_size=30), st.data())
def test_no_word_is_lost_or_doubled_at_a_segments_edge(
    package: Path, spoken: list[tuple[str, int]], data: st.DataObject
) -> None:
    """Endpoints and forced cuts wherever they fall, in speech that leaves nothing to guess."""
    words, pauses = [word for word, _ in spoken], [pause for _, pause in spoken]
    options = RecognizerOptions(max_segment=data.draw(st.sampled_from([1.0, 2.0, 5.0]), label="longest"))
    recogniser = Recognizer.load(package, options)
    stream, scores = recogniser.stream(), clear_speech(recogniser, words, pauses)
    for chunk in scores.split(8):
        stream.held = torch.cat([stream.held, chunk])
        recogniser._search([stream], closing=False)
    recogniser._search([stream], closing=True)
    finals = [event for event in stream.events() if event.kind == "final"]
    assert text(finals).split() == words
    if len(scores) * recogniser.model.frame_shift > 2 * options.max_segment:
        assert len(finals) > 1


def test_scores_that_are_no_numbers_end_a_segment_and_no_more(package: Path) -> None:
    recogniser = Recognizer.load(package, RecognizerOptions())
    stream, scores = recogniser.stream(), clear_speech(recogniser, ["ONE", "TWO"], [5, 5])
    for chunk in (torch.full_like(scores[:16], float("nan")), scores):
        stream.held = torch.cat([stream.held, chunk])
        recogniser._search([stream], closing=False)
    recogniser._search([stream], closing=True)
    silent, heard = (event for event in stream.events() if event.kind == "final")
    assert (silent.text, heard.text) == ("", "ONE TWO")


def test_a_cut_goes_through_the_longest_late_pause() -> None:
    words = [(0, 9), (30, 40), (52, 60), (64, 99)]
    assert boundary(words, 100) == 46  # not the longer pause at 9, which is in the first half
    assert boundary(words[:1], 100) == 55  # in the silence that follows
    assert boundary([(0, 40), (46, 99)], 100) == 43  # not through a word that goes on
    assert boundary([(4, 9), (15, 99)], 100) == 100  # a cut at 12 would free next to nothing
    assert boundary([(80, 99)], 100) == 40  # before a word that goes on
    assert boundary([(0, 99)], 100) == boundary([], 100) == 100


def test_kaldis_rules() -> None:
    no, far = float("inf"), 3.0
    assert not endpoint(KALDI_RULES, True, 0.4, 0.0, 9)
    assert endpoint(KALDI_RULES, True, 0.5, 1.9, 9)
    assert not endpoint(KALDI_RULES, True, 0.5, far, 9) and endpoint(KALDI_RULES, True, 1.0, far, 9)
    assert not endpoint(KALDI_RULES, True, 1.9, no, 9) and endpoint(KALDI_RULES, True, 2.0, no, 9)
    assert not endpoint(KALDI_RULES, False, 4.9, 0.0, 9) and endpoint(KALDI_RULES, False, 5.0, no, 9)
    assert endpoint([EndpointRule(after_words=False, length=20)], False, 0, no, 20)


def test_a_package_needs_no_training_code(package: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from augmem.streaming import Recognizer; "
        "from augmem.streaming.formats import write_events; import augmem.serving, numpy; "
        f"heard = Recognizer.load(Path({str(package)!r})).transcribe([numpy.zeros(48000, numpy.int16)], 44100); "
        "write_events('json', [('a', heard)]); "
        "unwanted = [m for m in sys.modules if m.split('.')[0] == 'lhotse' or m.startswith(('augmem.training', "
        "'augmem.corpus', 'augmem.objective', 'augmem.recipe', 'augmem.scoring'))]; assert not unwanted, unwanted"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_packages_that_are_none(tmp_path: Path, package: Path) -> None:
    with pytest.raises(FileNotFoundError, match="augmem package --exp"):
        Recognizer.load(tmp_path)
    for content, message in {
        '{"format": "other"}': "format is 'other'",
        "[]": "format is None",
        '{"format": "augmem package 1"}': "'features'.*package the model again",
        '{"format": "augmem package 1", "features": {"bins": 1}, "scales": {}}': "'bins'.*package the model again",
    }.items():
        (tmp_path / "package.json").write_text(content)
        with pytest.raises(ValueError, match=f"package.json: .*{message}"):
            Recognizer.load(tmp_path)


def test_a_package_replaces_nothing_but_a_package(tmp_path: Path, package: Path) -> None:
    """`--output` of an experiment's own folder, or of a home, must not delete it."""

    def write(output: Path) -> None:
        lang, graph = package / "lang", package / "HLG.pt"
        write_package(output, package / "model.pt", lang, graph, Scales(1.0, 0.0), "card", "licence", {})

    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("all of it")
    for output in (tmp_path / "thesis", tmp_path / "thesis" / "chapter.tex"):
        with pytest.raises(ValueError, match="holds something else than a packaged model"):
            write(output)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "all of it"
    (tmp_path / "model").mkdir()
    for _ in range(2):  # an empty folder, then the package in it
        write(tmp_path / "model")
    assert (tmp_path / "model" / "package.json").is_file()


def test_an_encoder_that_cannot_stream_is_refused(tmp_path: Path, package: Path) -> None:
    """At once, not when the first speaker comes."""
    lang, graph = package / "lang", package / "HLG.pt"
    described = AcousticModel.load(package / "model.pt", lang).description
    whole = replace(described, encoder=replace(described.encoder, type="full_context"))
    AcousticModel(whole).save(tmp_path / "model.pt")
    write_package(tmp_path / "out", tmp_path / "model.pt", lang, graph, Scales(1.0, 0.0), "card", "licence", {})
    with pytest.raises(ValueError, match=r"encoder\.type full_context needs the whole utterance"):
        Recognizer.load(tmp_path / "out")


def test_transcribe_writes_files_down(package: Path, tmp_path: Path) -> None:
    samples = noise(4.0, 1)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    command = [sys.executable, "-m", "augmem.cli", "transcribe", "--package", str(package), "--one-segment"]
    done = subprocess.run([*command, "--format", "ctm", str(tmp_path / "a.wav")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    words = [line.split()[4] for line in done.stdout.splitlines()]
    default = RecognizerOptions(rules=(), max_segment=float("inf"))
    assert " ".join(words) == text(Recognizer.load(package, default).transcribe([samples], RATE)) != ""
    done = subprocess.run([*command, str(tmp_path / "b.wav")], capture_output=True, text=True)
    assert done.returncode == 1 and "b.wav: no such file" in done.stderr and "Traceback" not in done.stderr


def test_formats() -> None:
    words = (Word("GOOD", 3601.0, 3601.5, 0.9), Word("DAY", 3601.6, 3602.0, 0.5))
    heard = [("speech/a.wav", [Event("final", 0, words, 3602.1), Event("final", 1, (), 3603.0)])]
    assert write_events("text", heard) == "GOOD DAY\n"
    assert write_events("ctm", heard) == "a 1 3601.00 0.50 GOOD 0.900\na 1 3601.60 0.40 DAY 0.500\n"
    assert write_events("srt", heard) == "1\n01:00:01,000 --> 01:00:02,000\nGOOD DAY\n\n"
    assert write_events("vtt", heard) == "WEBVTT\n\n01:00:01.000 --> 01:00:02.000\nGOOD DAY\n\n"
    assert [json.loads(line)["segment"] for line in write_events("json", heard).splitlines()] == [0, 1]
