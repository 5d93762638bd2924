"""Hotwords: phrases that are more probable in a stream than in the language model.

The words of a phrase get a bonus in the lattice, which is lost again if the phrase is not completed. The bonus is a
graph score of a language model whose states are prefixes of phrases, as in shallow-fusion biasing (Zhao et
al., "Shallow-Fusion End-to-End Contextual Biasing", Interspeech 2019).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from augmem.decoding.lattice import Lattice, prune_lattice
from augmem.decoding.rescoring import LanguageModel, TooLarge, rescore_lattice
from augmem.errors import UserError
from augmem.hotword_line import HotwordLine
from augmem.lang import END, Lang, Normalisation, read_lines

logger = logging.getLogger(__name__)

Phrase = tuple[str, ...]
BONUS = 3.0  # nats for each word of a phrase; see RESULTS.md
MAX_BONUS = 20.0
MAX_PHRASES = 5000
MAX_ARCS = 300_000  # of a lattice with bonuses
BEAMS = (6.0, 4.0, 2.0)  # nats; a lattice with more arcs is pruned to them


@dataclass(frozen=True)
class Hotword:
    """A phrase and the bonus of each of its words.

    Args:
        words: normalised words.
        bonus: bonus in nats; negative values make the phrase less probable.
    """

    words: Phrase
    bonus: float = BONUS


class Hotwords(LanguageModel):
    """Bonuses of phrases, as scores of a language model.

    Args:
        hotwords: the phrases; without any, lattices are unchanged.

    Example:
        >>> model = Hotwords([Hotword(("NEW", "YORK"), 2.0)])
        >>> model.sentence(["A", "NEW", "YORK", "TIMES"]), model.sentence(["A", "NEW", "CAR"])
        (4.0, 0.0)
    """

    def __init__(self, hotwords: Iterable[Hotword]) -> None:
        super().__init__(())
        self._bonus = {hotword.words: hotword.bonus * len(hotword.words) for hotword in hotwords}
        self._prefixes: dict[Phrase, float] = {(): 0.0}  # prefix of a phrase -> its part of the bonus
        for words, bonus in self._bonus.items():
            for length in range(1, len(words) + 1):
                part = bonus * length / len(words)
                self._prefixes[words[:length]] = max(part, self._prefixes.get(words[:length], -math.inf))
        self._prefixes.update(self._bonus)
        self._kept = {prefix: self._kept_bonus(prefix) for prefix in self._prefixes}

    def __bool__(self) -> bool:
        return bool(self._bonus)

    def apply(self, lattice: Lattice, words: Mapping[int, str]) -> Lattice:
        """Return a lattice with the bonuses in its graph scores; `lattice` itself if there are no hotwords.

        Args:
            lattice: lattice of one utterance or segment.
            words: word id -> word.
        """
        if not self or lattice.is_empty:
            return lattice
        self.limit_cache()
        for pruned in (lattice, *(prune_lattice(lattice, beam) for beam in BEAMS)):
            with suppress(TooLarge):
                return rescore_lattice(pruned, self, words, MAX_ARCS)
        logger.warning("a lattice of %d frames is too large for hotwords; it is used without them", lattice.num_frames)
        return lattice

    def _kept_bonus(self, prefix: Phrase) -> float:
        """Return the bonus of the longest phrase inside a prefix of another one, kept if that is not completed."""
        inner = (prefix[i:j] for i in range(len(prefix)) for j in range(i + 1, len(prefix) + 1))
        return max((self._bonus[words] for words in inner if words in self._bonus), default=0.0, key=abs)

    def _follow(self, state: Phrase, word: str) -> tuple[Phrase, float]:
        extended = (*state, word)
        if word != END and extended in self._prefixes:
            return extended, self._prefixes[extended] - self._prefixes[state]
        lost = self._prefixes[state] - self._kept[state]
        suffixes = (extended[i:] for i in range(1, len(extended) + 1))
        after = next(words for words in suffixes if words in self._prefixes)
        return after, self._prefixes[after] - lost


def read_hotwords(path: Path) -> list[HotwordLine]:
    """Read lines "phrase<TAB>bonus"; the bonus is optional, and # starts a comment.

    Raises:
        FileNotFoundError: no such file.
        UserError: a bonus is not a number, or there is no phrase.
    """
    found = []
    for number, line in enumerate(read_lines(path), start=1):
        text, _, bonus = (part.strip() for part in line.partition("\t"))
        if text and not text.startswith("#"):
            found.append(HotwordLine(f"{path}:{number}", text, _read_bonus(bonus, f"{path}:{number}")))
    if not found:
        raise UserError(f"{path}: no hotword; write one on each line: phrase<TAB>bonus")
    return found


def _read_bonus(text: str, where: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError as error:
        raise UserError(f"{where}: bonus {text!r} is not a number; write phrase<TAB>bonus") from error


def make_hotwords(written: Sequence[HotwordLine], lang: Lang, bonus: float = BONUS) -> Hotwords:
    """Normalise and check hotwords and make their model.

    Args:
        written: the hotwords.
        lang: the lang folder of the model.
        bonus: default, in nats for each word.

    Raises:
        UserError: a phrase has words that cannot be recognised, a bonus is out of range, or there are too many.
    """
    if len(written) > MAX_PHRASES:
        raise UserError(f"{len(written)} hotwords: at most {MAX_PHRASES}; add words to the model: augmem words")
    hotwords = [_make_hotword(line, lang.normalisation, bonus) for line in written]
    words = dict.fromkeys(word for hotword in hotwords for word in hotword.words)
    if unknown := [word for word in words if word not in lang.pronunciations]:
        raise UserError(
            f"hotwords: {len(unknown)} words are not in the vocabulary of the model ({', '.join(unknown[:10])}); "
            "add them: augmem words MODEL add FILE"
        )
    return Hotwords(hotwords)


def _make_hotword(line: HotwordLine, normalisation: Normalisation, default: float) -> Hotword:
    words = tuple(normalisation(line.text).split())
    bonus = default if line.bonus is None else line.bonus
    if not words:
        raise UserError(f"{line.where}: no word of {line.text!r} remains after normalisation; write it in words")
    if not abs(bonus) <= MAX_BONUS:
        raise UserError(f"{line.where}: bonus {bonus:g} must be from {-MAX_BONUS:g} to {MAX_BONUS:g} nats")
    return Hotword(words, bonus)
