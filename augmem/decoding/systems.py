"""Systems: how one hypothesis of an n-best list is chosen, with confidences for its words.

The systems `first_pass`, `rescored` and `neural` choose the hypothesis with the highest score

    score(words) = am + lm_scale * lm + word_insertion_bonus * number of words

in the list of the same name. `mbr` converts the scores of one of these systems to posterior probabilities and chooses
the hypothesis with the lowest expected number of word errors (minimum Bayes risk).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augmem.decoding.lattice_posteriors import minimum_bayes_risk, posteriors, word_confidences
from augmem.decoding.nbest import WordSequence
from augmem.decoding.records import NbestEntry, UtteranceKey, read_nbest
from augmem.errors import UserError
from augmem.files import read_json

MBR = "mbr"
TUNED_FILE = "tuned.json"
MAX_RISK_HYPOTHESES = 50  # the cost of the expected errors grows with the square


@dataclass(frozen=True)
class Scales:
    """Weights of one system.

    Args:
        lm_scale: weight of the language model score; the acoustic score has weight 1.
        word_insertion_bonus: score added for each word.
        posterior_scale: factor of the scores in the posterior probabilities of hypotheses, calibrated on dev.

    Example:
        >>> Scales(lm_scale=2.0, word_insertion_bonus=0.5).score(am=-10.0, lm=-3.0, words=2)
        -15.0
    """

    lm_scale: float = 1.0
    word_insertion_bonus: float = 0.0
    posterior_scale: float = 0.1

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Scales:
        """Read scales from a JSON object with more fields, such as a system of tuned.json.

        Raises:
            KeyError: a scale is missing.
        """
        # The last release wrote insertion_penalty.
        bonus = values["word_insertion_bonus"] if "word_insertion_bonus" in values else values["insertion_penalty"]
        return Scales(values["lm_scale"], bonus, values["posterior_scale"])

    def score(self, am: float, lm: float, words: int) -> float:
        """Combine the scores of one hypothesis."""
        return am + self.lm_scale * lm + self.word_insertion_bonus * words


def first_pass_score(sequence: WordSequence, scales: Scales, acoustic_scale: float) -> float:
    """Score a word sequence of a lattice, offline and in streaming recognition.

    Args:
        sequence: result of `best_word_sequences`.
        acoustic_scale: acoustic scale of the search that made the lattice.
    """
    return scales.score((sequence.total - sequence.graph) / acoustic_scale, sequence.graph, len(sequence.words))


@dataclass(frozen=True)
class System:
    """A tuned system.

    Args:
        nbest_list: name of the list it chooses from.
        scales: weights of the scores.
        minimum_risk: choose by minimum Bayes risk, not by the highest score.
    """

    nbest_list: str
    scales: Scales
    minimum_risk: bool = False

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {"nbest_list": self.nbest_list, "minimum_risk": self.minimum_risk, **asdict(self.scales)}


@dataclass(frozen=True)
class SystemOutput:
    """The words that a system recognised in one utterance.

    Args:
        key: the utterance.
        words: the words; none if no word was recognised, or if the search failed (logged, and in summary.json).
        times: begin and end of each word in seconds.
        confidences: posterior probability of each word.
    """

    key: UtteranceKey
    words: tuple[str, ...]
    times: tuple[tuple[float, float], ...] = ()
    confidences: tuple[float, ...] = ()


def load_systems(tuned_file: Path) -> dict[str, System]:
    """Read the systems of a tuned.json, by name.

    Raises:
        FileNotFoundError: the file does not exist.
        UserError: the file has another format.
    """
    if not tuned_file.exists():
        raise FileNotFoundError(f"{tuned_file}: the scales have not been tuned; run stage decode")
    try:
        systems = read_json(tuned_file)["systems"]
        return {
            name: System(values["nbest_list"], Scales.from_json(values), values["minimum_risk"])
            for name, values in systems.items()
        }
    except (KeyError, TypeError) as error:
        raise UserError(f"{tuned_file}: field {error} is missing; run stage decode again") from error


def read_system_outputs(decode_dir: Path, part: str, system: System) -> list[SystemOutput]:
    """Read the n-best lists of a part, and choose a hypothesis for every utterance."""
    return [choose_hypothesis(entry, system) for entry in read_nbest(decode_dir, part)]


def choose_hypothesis(entry: NbestEntry, system: System) -> SystemOutput:
    """Choose the hypothesis of one utterance, and compute the confidences of its words."""
    listed = entry.lists[system.nbest_list]
    if not listed:
        return SystemOutput(entry.key, ())
    scores = np.array([system.scales.score(h.am, h.lm, len(h.words)) for h in listed])
    ranked = np.argsort(-scores, kind="stable")[:MAX_RISK_HYPOTHESES]
    words = [listed[n].words for n in ranked]
    probabilities = posteriors(scores[ranked], system.scales.posterior_scale)
    place = minimum_bayes_risk(words, probabilities) if system.minimum_risk else 0
    confidences = word_confidences(words[place], words, probabilities)
    return SystemOutput(entry.key, words[place], listed[ranked[place]].times, tuple(confidences))
