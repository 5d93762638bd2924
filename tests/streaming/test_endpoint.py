"""Endpoint rules and cut positions."""

from __future__ import annotations

from augmem.streaming import KALDI_RULES, EndpointRule
from augmem.streaming.endpoint import cut_position, is_endpoint


def test_rules_of_kaldi() -> None:
    none_complete, far = float("inf"), 3.0
    assert not is_endpoint(KALDI_RULES, True, 0.4, 0.0, 9)
    assert is_endpoint(KALDI_RULES, True, 0.5, 1.9, 9)
    assert not is_endpoint(KALDI_RULES, True, 0.5, far, 9) and is_endpoint(KALDI_RULES, True, 1.0, far, 9)
    assert not is_endpoint(KALDI_RULES, True, 1.9, none_complete, 9)
    assert is_endpoint(KALDI_RULES, True, 2.0, none_complete, 9)
    assert not is_endpoint(KALDI_RULES, False, 4.9, 0.0, 9) and is_endpoint(KALDI_RULES, False, 5.0, none_complete, 9)
    assert is_endpoint([EndpointRule(after_words=False, length=20)], False, 0, none_complete, 20)


def test_cut_is_in_the_longest_late_pause() -> None:
    words = [(0, 9), (30, 40), (52, 60), (64, 99)]
    assert cut_position(words, 100) == 46  # not in the longer pause at 9, which is in the first half
    assert cut_position(words[:1], 100) == 55  # in the silence at the end
    assert cut_position([(0, 40), (46, 99)], 100) == 43  # not within the last word
    assert cut_position([(4, 9), (15, 99)], 100) == 100  # not at 12, in the first eighth
    assert cut_position([(80, 99)], 100) == 40  # before the only word
    assert cut_position([(0, 99)], 100) == cut_position([], 100) == 100
