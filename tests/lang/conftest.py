"""Artificial sentences of a small grammar, and a lang folder made from them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from augmem.lang import LangConfig, prepare_lang

NOUNS = [
    "captain",
    "pilot",
    "jungle",
    "temple",
    "crystal",
    "plane",
    "dinosaur",
    "princess",
    "valley",
    "amazon",
]
VERBS = ["takes", "finds", "wants", "flies", "opens", "reads", "hides", "sees", "gives", "breaks"]
ENDS = ["", "today", "in the hotel", "with a red record", "before it's too late", "for the boys"]


def make_sentences(seed: int, count: int) -> list[str]:
    """Draw normalised sentences from a small grammar with frequent and rare words."""
    draw = random.Random(seed)
    sentences = []
    for _ in range(count):
        noun, other = (NOUNS[min(int(draw.expovariate(0.3)), len(NOUNS) - 1)] for _ in range(2))
        article = draw.choice(["the", "the", "a", "every"])
        sentences.append(f"{article} {noun} {draw.choice(VERBS)} {article} {other} {draw.choice(ENDS)}".strip().upper())
    return sentences


@pytest.fixture(scope="session")
def train_texts() -> list[str]:
    return make_sentences(1, 400)


@pytest.fixture(scope="session")
def dev_texts() -> dict[str, list[str]]:
    return {
        "near": make_sentences(2, 40),
        "far": ["THE ZEBRA READS A RECORD", "EVERY PILOT YODELS", *make_sentences(3, 20)],
    }


@pytest.fixture(scope="session")
def lang_dir(train_texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lang")
    prepare_lang(LangConfig(g2p="none"), train_texts, folder)
    return folder
