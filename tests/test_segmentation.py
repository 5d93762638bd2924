"""Segmentation of recordings with damaged texts, on simulated recognition."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import soundfile

from augmem.cli import parse_and_run
from augmem.commands.segment import format_summary
from augmem.corpus import CorpusConfig, prepare_corpus
from augmem.corpus.manifests import read_cuts
from augmem.errors import UserError
from augmem.lang import biased_model
from augmem.segmentation import (
    ADDED,
    DIFFERENT,
    LONG,
    MISSING,
    SHORTER,
    SegmentConfig,
    divide,
    recognise_recording,
    segment_recording,
)
from augmem.streaming import Word
from tests.tiny import RATE, noise

VOCABULARY = [f"W{number}" for number in range(400)]


def make_words(words: list[str], pause_after: set[int], pause: float = 0.5) -> list[Word]:
    """Return words of 0.4 s, with pauses after some of them."""
    found, at = [], 0.0
    for number, word in enumerate(words):
        found.append(Word(word, round(at, 3), round(at + 0.4, 3), 1.0))
        at += 0.4 + (pause if number in pause_after else 0.0)
    return found


def test_agreeing_pieces_are_joined_up_to_the_maximum_duration() -> None:
    words = [f"W{i}" for i in range(120)]
    found = divide(words, make_words(words, set(range(4, 120, 5))), SegmentConfig())
    assert not found.dropped and [word for piece in found.kept for word in piece.text] == words
    assert all(20 < piece.end - piece.begin <= 30 for piece in found.kept[:-1])
    for before, after in zip(found.kept, found.kept[1:], strict=False):
        assert after.begin - before.end == pytest.approx(0.5 - 2 * 0.15)


@pytest.mark.parametrize(
    ("text", "spoken", "reason"),
    [
        ("A B C D X E F", "A B C D E F", ADDED),
        ("A B C D E F", "A B C D X E F", MISSING),
        ("A B C D X F", "A B C D E F", DIFFERENT),
    ],
)
def test_pieces_that_differ_are_dropped_with_the_reason(text: str, spoken: str, reason: str) -> None:
    found = divide(text.split(), make_words(spoken.split(), {2}), SegmentConfig())
    assert [piece.text for piece in found.kept] == [("A", "B", "C")]
    assert [piece.reason for piece in found.dropped] == [reason]
    assert f"dropped 1 pieces (1 {reason})" in format_summary(found)


def test_a_word_of_the_text_at_a_pause_drops_both_pieces() -> None:
    found = divide(
        ["A", "B", "C", "X", "D", "E", "F", "G", "H"],
        make_words(["A", "B", "C", "D", "E", "F", "G", "H"], {2, 5}),
        SegmentConfig(),
    )
    assert [piece.text for piece in found.kept] == [("G", "H")]
    assert [piece.reason for piece in found.dropped] == [ADDED, ADDED]


def test_long_and_short_pieces_are_dropped() -> None:
    words = [f"W{i}" for i in range(100)]
    spoken = make_words(words, {97})
    found = divide(words, spoken, SegmentConfig(fewest_words=3))
    assert [piece.reason for piece in found.dropped] == [LONG, SHORTER] and not found.kept


@pytest.mark.parametrize("seed", range(3))
def test_recall_and_precision_with_random_damage(seed: int) -> None:
    """5 % of the words of the text are deleted, inserted or exchanged; 3 % of the recognised words are wrong."""
    rng = random.Random(seed)
    spoken = [rng.choice(VOCABULARY) for _ in range(2000)]
    changes = [lambda word: [], lambda word: [word, rng.choice(VOCABULARY)], lambda word: ["WRONG"]]
    text = [new for word in spoken for new in (rng.choice(changes)(word) if rng.random() < 0.05 else [word])]
    recognised = [word if rng.random() > 0.03 else "ERROR" for word in spoken]
    words = make_words(recognised, {i for i in range(2000) if rng.random() < 0.25})
    truth = {word.start: actual for word, actual in zip(words, spoken, strict=True)}
    found = divide(text, words, SegmentConfig())
    kept = wrong = 0
    for piece in found.kept:
        actual = [word for start, word in truth.items() if piece.begin <= start < piece.end]
        kept += len(actual)
        wrong += actual != list(piece.text)
    assert wrong == 0
    assert kept / len(spoken) > 0.5


def test_the_biased_model_prefers_the_order_of_the_text_and_is_normalised() -> None:
    model = biased_model([*VOCABULARY, "W0", "W7"])
    number = {word: index for index, word in enumerate(model.words)}

    def score(*ngram: str) -> float:
        return float(model.score(np.array([[number[word] for word in ngram]]))[0])

    assert score("W5", "W6") > score("W5", "W7") > score("W5", "W9")  # W7 follows W5 after one word
    assert score("<s>", "W300") > -3.5 and score("W5", "</s>") > -3
    for history in (("<s>",), ("W0",), ("W5", "W6"), ("W399",)):
        assert sum(10 ** score(*history, word) for word in model.words[1:]) == pytest.approx(1, abs=1e-6)


def test_a_recording_becomes_a_corpus_folder(package: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The text is what the model recognises in the noise with a model of a similar text."""
    audio, words = tmp_path / "talk.wav", ["ONE", "TWO", "TWO"]
    soundfile.write(audio, noise(8.0, 2), RATE, subtype="FLOAT")
    text = " ".join(
        word.text for word in recognise_recording(audio, words, package)[0] if not word.text.startswith("<")
    )
    (tmp_path / "talk.txt").write_text(f"{text.lower()}.\n")
    command = ["segment", str(audio), str(tmp_path / "talk.txt"), "--package", str(package)]
    command += ["--fewest-words", "1", "--pause", "0.04", "--output", str(tmp_path / "corpus")]
    assert parse_and_run(command) == 0
    assert "kept " in capsys.readouterr().out
    config = CorpusConfig("folder", str(tmp_path / "corpus"), dev=("train",), allow_overlap=True)
    prepare_corpus(config, tmp_path / "download", tmp_path / "manifests")
    for cut in read_cuts(tmp_path / "manifests" / "train"):
        assert cut.supervisions[0].text in text and 0 <= cut.start < cut.end <= 8.0
    with pytest.raises(UserError, match=r"train\.tsv exists; choose another folder"):
        parse_and_run(command)


def test_invalid_input_is_refused_and_nothing_is_written(package: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("one two one\n")
    (tmp_path / "empty.txt").write_text("...\n")
    (tmp_path / "a.wav").write_text("hello")
    for text, message in (("text.txt", "a.wav: cannot be read as audio"), ("empty.txt", "empty.txt: 0 words")):
        with pytest.raises(UserError, match=message):
            segment_recording(tmp_path / "a.wav", tmp_path / text, package, tmp_path / "corpus", SegmentConfig())
    assert not (tmp_path / "corpus").exists()
    for options, message in (({"longest": 0.0}, "--longest is 0"), ({"padding": -1.0}, "--padding is -1")):
        with pytest.raises(UserError, match=message):
            SegmentConfig(**options)
