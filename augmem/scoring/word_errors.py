"""Word errors of any two transcripts: pairing, rewriting by a GLM, normalisation and alignment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from augmem.scoring.alignment import GAP, Utterance, WordPair, align
from augmem.scoring.alternatives import KALDI, SCLITE, align_networks, build_network, split_alternatives
from augmem.scoring.glm import GlobalMap
from augmem.scoring.pairing import Mode, Pair, pair_passages
from augmem.scoring.transcripts import Transcript

AlignmentCosts = Literal["kaldi", "sclite"]
_MARKS = ("{", "/", "}", "@")


@dataclass(frozen=True)
class WordErrors:
    """Rules that turn two transcripts into scored utterances.

    Args:
        costs: costs of edits: "kaldi": all edits cost 1, as in Kaldi's compute-wer and icefall; "sclite": deletions
            and insertions cost 3 and substitutions 4, with the ties of sclite; None: sclite for NIST's formats.
        mode: what to do with utterances that the hypothesis lacks; see `pair_passages`.
        glm: GLM file that rewrites both sides; None: none.
        case_sensitive: whether upper and lower case differ with a GLM or sclite's costs; Kaldi's always differ.
        normalise: makes words of a text; None: words are separated by white space.
    """

    costs: AlignmentCosts | None = None
    mode: Mode = "strict"
    glm: Path | None = None
    case_sensitive: bool = False
    normalise: Callable[[str], str] | None = None

    def costs_of(self, ref: Transcript) -> AlignmentCosts:
        """Return the costs for a reference."""
        return self.costs or ("kaldi" if ref.format == "text" else "sclite")

    def __call__(self, ref: Transcript, hyp: Transcript) -> list[Utterance]:
        """Return the utterances of a reference and a hypothesis.

        Raises:
            UserError: they do not belong together, or a line or the GLM is invalid.
        """
        of_ref, of_hyp = (_Texts(self, side, name, ref) for side, name in ((ref, "ref"), (hyp, "hyp")))
        return [self._utterance(pair, of_ref, of_hyp, ref) for pair in pair_passages(ref, hyp, self.mode)]

    def ignores_case(self, ref: Transcript) -> bool:
        """Return whether upper and lower case are equal."""
        return not self.case_sensitive and (self.glm is not None or self.costs_of(ref) == "sclite")

    def _utterance(self, pair: Pair, of_ref: _Texts, of_hyp: _Texts, ref: Transcript) -> Utterance:
        sides = of_ref.tokens(pair.ref), of_hyp.tokens(pair.hyp)
        is_plain = not any(token in _MARKS for side in sides for token in side)
        if is_plain and self.costs_of(ref) == "kaldi":
            steps = align(*sides)
        else:
            one, two = (
                build_network(side, f"{texts.path}, {pair.id}")
                for side, texts in zip(sides, (of_ref, of_hyp), strict=True)
            )
            steps = align_networks(one, two, SCLITE if self.costs_of(ref) == "sclite" else KALDI)
        return _make_utterance(pair, steps)


def _make_utterance(pair: Pair, steps: list[WordPair]) -> Utterance:
    """Return the utterance with the words of an alignment."""
    ref, hyp = ([word for word in side if word != GAP] for side in zip(*steps, strict=True)) if steps else ([], [])
    return Utterance(pair.id, pair.speaker, ref, hyp, pair.session, steps)


class _Texts:
    """Makes the tokens of the texts of one transcript."""

    def __init__(self, rules: WordErrors, transcript: Transcript, name: str, ref: Transcript) -> None:
        self.path = transcript.path
        self._glm = GlobalMap(rules.glm, transcript.format, name) if rules.glm else None
        self._has_marks = transcript.format != "text" or self._glm is not None
        self._normalise = rules.normalise
        self._ignore_case = rules.ignores_case(ref)

    def tokens(self, texts: list[str]) -> list[str]:
        """Return the words and marks of alternatives of an utterance."""
        rewritten = " ".join(map(self._glm, texts) if self._glm else texts)
        tokens = split_alternatives(rewritten) if self._has_marks else rewritten.split()
        words = self._words(tokens) if self._normalise else tokens
        return [word.lower() for word in words] if self._ignore_case else words

    def _words(self, tokens: list[str]) -> list[str]:
        """Normalise the words between marks of alternatives."""
        assert self._normalise is not None
        if not self._has_marks or not any(token in _MARKS for token in tokens):
            return self._normalise(" ".join(tokens)).split()
        words: list[str] = []
        passage: list[str] = []
        for token in [*tokens, ""]:
            if token in (*_MARKS, ""):
                words += [*self._normalise(" ".join(passage)).split(), token]
                passage = []
            else:
                passage.append(token)
        return words[:-1]
