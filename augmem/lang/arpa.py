"""ARPA back-off language models: reading, scoring by the true back-off walk, perplexity, normalisation.

For an n-gram model with histories h, p(w | h) is the listed probability if "h w" is listed, and otherwise
bow(h) * p(w | h without its first word), bow(h) being 1 where h is not listed. Logarithms have base 10, as in
the files.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from augmem.lang.text_files import lines

NGram = tuple[str, ...]
START, END = "<s>", "</s>"
UNKNOWN_WORDS = ("<UNK>", "<unk>")
IMPOSSIBLE = -99.0  # what ARPA files write for log10(0)


class Weights(NamedTuple):
    """What a file lists for one n-gram, in log10."""

    logprob: float
    backoff: float


class Perplexity(NamedTuple):
    """A model's fit to a text; unknown words are counted, not scored, and </s> is scored once a sentence."""

    sentences: int
    words: int
    oov: int
    log10: float

    @property
    def value(self) -> float:
        """10 ** (- mean log10 probability of known words and sentence ends)."""
        scored = self.sentences + self.words - self.oov
        return 10 ** (-self.log10 / scored) if scored else math.nan

    @property
    def oov_rate(self) -> float:
        """Share of words that are not in the vocabulary."""
        return self.oov / self.words if self.words else 0.0


@dataclass(frozen=True)
class ArpaModel:
    """An ARPA file in memory: every listed n-gram with its weights, and the number listed for each order."""

    ngrams: dict[NGram, Weights]
    counts: tuple[int, ...]

    @property
    def order(self) -> int:
        """Longest n-gram."""
        return len(self.counts)

    @property
    def unknown_word(self) -> str | None:
        """The model's word for unknown words, if it has one."""
        return next((word for word in UNKNOWN_WORDS if (word,) in self.ngrams), None)

    def logprob(self, word: str, history: Sequence[str]) -> float:
        """log10 p(word | history), by the back-off walk; the word must be listed."""
        context = tuple(history[-(self.order - 1) :]) if self.order > 1 else ()
        score = 0.0
        while (*context, word) not in self.ngrams:
            if not context:
                raise ValueError(f"{word} is not in the language model")
            score += self.backoff(context)
            context = context[1:]
        listed = (*context, word)
        return score + self.ngrams[listed].logprob

    def backoff(self, history: NGram) -> float:
        """log10 of the back-off weight of a history; 0 where it is not listed."""
        listed = self.ngrams.get(history)
        return listed.backoff if listed else 0.0

    def epsilon_logprob(self, word: str, history: Sequence[str]) -> float:
        """The best a graph with epsilon back-off arcs can do: any number of back-offs, needed or not."""
        context = tuple(history[-(self.order - 1) :]) if self.order > 1 else ()
        best, score = -math.inf, 0.0
        while True:
            listed = self.ngrams.get((*context, word))
            best = max(best, score + listed.logprob) if listed else best
            if not context:
                return best
            score += self.backoff(context)
            context = context[1:]

    def perplexity(self, texts: Iterable[str]) -> Perplexity:
        """Score normalised sentences; to the words behind it an unknown word is <UNK>, or a gap."""
        sentences = words = oov = 0
        total = 0.0
        for text in texts:
            history = [START]
            for word in text.split():
                known = (word,) in self.ngrams and word not in UNKNOWN_WORDS
                total += self.logprob(word, history) if known else 0.0
                oov += not known
                history.append(word if known else self.unknown_word or "")
            total += self.logprob(END, history)
            sentences, words = sentences + 1, words + len(text.split())
        return Perplexity(sentences, words, oov, total)


def needed_ngrams(texts: Iterable[str], order: int, words: Container[str]) -> set[NGram]:
    """Every n-gram up to `order` that a model of these words can be asked for by scoring these texts."""
    needed: set[NGram] = {(word,) for word in UNKNOWN_WORDS}
    unknown = next((word for word in UNKNOWN_WORDS if word in words), "")
    for text in texts:
        sentence = (START, *(word if word in words else unknown for word in text.split()), END)
        for length in range(1, order + 1):
            needed.update(sentence[i : i + length] for i in range(len(sentence) - length + 1))
    return needed


def arpa_head(path: Path) -> tuple[int, set[str]]:
    """The order and the words of the model in an ARPA file, which is read to the end of its 1-grams."""
    order, words, inside = 0, set[str](), False
    for line in lines(path):
        if line.startswith("\\"):
            if inside:
                break
            inside = line.startswith("\\1-grams:")
        elif inside:
            words.update(line.split()[1:2])
        else:
            order += line.startswith("ngram ")
    return order, words


def read_arpa(path: Path, keep: Container[NGram] | None = None) -> ArpaModel:
    """Read an ARPA file (may be .gz).

    Args:
        keep: read only these n-grams into memory (see `needed_ngrams`): that way a model of hundreds of
            millions of n-grams can score a dev set.
    Raises:
        FileNotFoundError, ValueError: naming file, line, fault and remedy.
    """
    ngrams: dict[NGram, Weights] = {}
    counts: list[int] = []
    order = seen = 0
    number = 0
    for number, line in enumerate(lines(path), start=1):
        fields = line.split()
        if not fields:
            continue
        if order and not line.startswith("\\"):
            ngram, weights = _entry(fields, order, f"{path}:{number}")
            seen += 1
            if keep is None or ngram in keep:
                ngrams[ngram] = weights
        elif fields[0] == "ngram":
            counts.append(_announced(fields[-1], f"{path}:{number}"))
        elif line.startswith("\\"):
            _check_count(order, seen, counts, f"{path}:{number}")
            order, seen = _section(fields[0]), 0
            if fields[0] == "\\end\\":
                return ArpaModel(ngrams, tuple(counts))
    raise ValueError(f"{path}:{number}: the file ends before \\end\\: it is cut short, or no ARPA file; make it again")


def _announced(field: str, where: str) -> int:
    """1=5000 -> 5000; so is 5000, where blanks stand around the sign."""
    count = field.rpartition("=")[2]
    if not count.isdecimal():
        raise ValueError(f"{where}: expected ngram ORDER=NUMBER, found {field!r}; make the file again")
    return int(count)


def _section(mark: str) -> int:
    """\\3-grams: -> 3; \\data\\ and \\end\\ -> 0."""
    return int(mark[1:].partition("-")[0]) if mark.endswith("-grams:") else 0


def _entry(fields: Sequence[str], order: int, where: str) -> tuple[NGram, Weights]:
    if len(fields) not in (order + 1, order + 2):
        raise ValueError(f"{where}: expected log10, {order} words and perhaps a back-off weight; make the file again")
    try:
        backoff = float(fields[order + 1]) if len(fields) == order + 2 else 0.0
        return tuple(fields[1 : order + 1]), Weights(float(fields[0]), backoff)
    except ValueError as error:
        raise ValueError(f"{where}: {error}; make the file again") from error


def _check_count(order: int, seen: int, counts: Sequence[int], where: str) -> None:
    if order and (order > len(counts) or seen != counts[order - 1]):
        announced = counts[order - 1] if order <= len(counts) else 0
        raise ValueError(f"{where}: {seen} {order}-grams, but \\data\\ announces {announced}; make the file again")


def write_arpa(path: Path, model: ArpaModel) -> None:
    """Write an ARPA file, n-grams sorted within each order."""
    with path.open("w", encoding="utf-8") as stream:
        by_order: list[list[NGram]] = [[] for _ in model.counts]
        for ngram in model.ngrams:
            by_order[len(ngram) - 1].append(ngram)
        stream.write("\n\\data\\\n")
        stream.writelines(f"ngram {order}={len(found)}\n" for order, found in enumerate(by_order, start=1))
        for order, found in enumerate(by_order, start=1):
            stream.write(f"\n\\{order}-grams:\n")
            stream.writelines(_format(ngram, model.ngrams[ngram]) for ngram in sorted(found))
        stream.write("\n\\end\\\n")


def _format(ngram: NGram, weights: Weights) -> str:
    tail = f"\t{weights.backoff:.6f}" if weights.backoff else ""
    return f"{weights.logprob:.6f}\t{' '.join(ngram)}{tail}\n"
