"""Segments of a stream: endpoints, cuts and failed searches."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from augmem.decoding import SearchConfig
from augmem.streaming import Recognizer, RecognizerOptions
from tests.tiny import ENCODER, RATE, noise

WIDE = SearchConfig(search_beam=50.0, output_beam=50.0, nbest_beam=50.0)


def certain_scores(recognizer: Recognizer, words: list[str], pauses: list[int]) -> torch.Tensor:
    """Return nearly one-hot scores (T, V): two frames for each unit, then `pauses` blanks after each word."""
    units = []
    for word, pause in zip(words, pauses, strict=True):
        units += [unit for unit in recognizer.decoder.lang.pronunciations[word][0] for _ in range(2)] + [0] * pause
    scores = torch.full((len(units), recognizer.model.description.num_units), -12.0)
    scores[torch.arange(len(units)), torch.tensor(units)] = 0.0
    return scores.log_softmax(-1)


def texts_of(recognizer: Recognizer, chunks: list[torch.Tensor]) -> list[str]:
    """Return the final results for these scores, one per segment."""
    stream = recognizer.stream()
    for chunk in chunks:
        stream.add_scores(chunk, stream.encoder_state)
        recognizer.decoder.advance([stream])
    recognizer.decoder.finish([stream])
    return [event.text for event in stream.events() if event.kind == "final"]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["ONE", "TWO"]), st.integers(0, 40)), min_size=1, max_size=30), st.data())
def test_endpoints_and_cuts_lose_and_repeat_no_word(
    package: Path, spoken: list[tuple[str, int]], data: st.DataObject
) -> None:
    words, pauses = [word for word, _ in spoken], [pause for _, pause in spoken]
    options = RecognizerOptions(max_segment=data.draw(st.sampled_from([1.0, 2.0, 5.0]), label="max_segment"))
    recognizer = Recognizer.load(package, options)
    scores = certain_scores(recognizer, words, pauses)
    texts = texts_of(recognizer, list(scores.split(8)))
    assert " ".join(texts).split() == words
    if len(scores) * recognizer.model.frame_shift > 2 * options.max_segment:
        assert len(texts) > 1


def test_nan_scores_end_only_their_segment(package: Path) -> None:
    recognizer = Recognizer.load(package)
    scores = certain_scores(recognizer, ["ONE", "TWO"], [5, 5])
    assert texts_of(recognizer, [torch.full_like(scores[:16], float("nan")), scores]) == ["", "ONE TWO"]


def test_long_speech_is_cut_between_words(package: Path) -> None:
    """Segments follow each other without gaps, none is longer than allowed, and words are in order."""
    recognizer = Recognizer.load(package, RecognizerOptions(WIDE, rules=(), max_segment=2.0))
    events = recognizer.transcribe(np.split(noise(12.0, 5), 60), RATE)
    assert len(events) >= 6 and [event.segment for event in events] == list(range(len(events)))
    begins = [0.0, *(event.end for event in events)]
    assert all(0 < after - before <= 2.0 + ENCODER.centre for before, after in pairwise(begins))
    assert events[-1].end == pytest.approx(12.0 - recognizer.model.encoder.frontend_delay, abs=0.04)
    for before, event in zip(begins, events, strict=False):
        assert all(before <= word.start < word.end <= event.end for word in event.words)
