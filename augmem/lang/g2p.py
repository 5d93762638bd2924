"""G2P for words missing from the lexicon: rules for apostrophes, then a joint n-gram model."""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from augmem.errors import UserError
from augmem.files import atomic_path, sha256_json, temporary_folder
from augmem.lang.lexicon import Lexicon, Pronunciation, collect_phones
from augmem.lang.tools import run_tool

logger = logging.getLogger(__name__)

_ORDER = 6
_EM_ITERATIONS = 3
_BEAM = 500
_SIBILANTS = frozenset({"S", "Z", "SH", "ZH", "CH", "JH"})
_VOICELESS = frozenset({"P", "T", "K", "F", "TH"})


class Guess(NamedTuple):
    """A pronunciation that is not from a dictionary, and its source: a rule or the model."""

    word: str
    phones: Pronunciation
    source: str


def guess_pronunciations(
    words: Sequence[str], lexicon: Lexicon, cache: Path, training_entries: int
) -> tuple[list[Guess], list[str]]:
    """Guess the pronunciations of words missing from a lexicon.

    Args:
        words: none of them in the lexicon.
        lexicon: entries that rules use and the model is trained on.
        cache: folder that keeps trained models between runs.
        training_entries: lexicon entries used for training; 0 takes all.
    Returns:
        the guesses in the order of `words` (several for a word whose base has several pronunciations), and the words
        without a guess.
    """
    phones = set(collect_phones(lexicon))
    guesses = {word: [g for g in apply_rules(word, lexicon) if phones.issuperset(g.phones)] for word in words}
    unknown = [word for word, found in guesses.items() if not found]
    if unknown:
        model = load_or_train(lexicon, cache, training_entries)
        for word, form in apply_model(model, unknown).items():
            guesses[word] = [Guess(word, form, "g2p")]
    found = [guess for word in words for guess in guesses[word]]
    return found, [word for word in words if not guesses[word]]


def apply_rules(word: str, lexicon: Lexicon) -> list[Guess]:
    """Derive pronunciations of words with apostrophes: BOYS' and 'BOYS as BOYS; ANNA'S as ANNA with S, Z or IH Z."""
    bare = word.strip("'")
    if bare in lexicon:
        return [Guess(word, phones, f"as {bare}") for phones in lexicon[bare]]
    base = bare[:-2] if bare.upper().endswith("'S") else bare
    if base != bare and base in lexicon:
        return [Guess(word, phones + _possessive(phones[-1]), f"possessive of {base}") for phones in lexicon[base]]
    return []


def _possessive(last: str) -> Pronunciation:
    if last in _SIBILANTS:
        return ("IH", "Z")
    return ("S",) if last in _VOICELESS else ("Z",)


def load_or_train(lexicon: Lexicon, cache: Path, training_entries: int) -> Path:
    """Return the path of the G2P model of a lexicon, trained unless it is in the cache.

    The model is a 6-gram over pairs of letters and phones, estimated on EM alignments of a random sample of the entries
    (with a fixed seed). Source: Novak et al. (2012), WFST-based Grapheme-to-Phoneme Conversion.
    """
    entries = _training_entries(lexicon, training_entries)
    path = cache / f"{sha256_json([entries, _ORDER, _EM_ITERATIONS])[:16]}.fst"
    if not path.is_file():
        logger.info("training a G2P model on %d lexicon entries (cached in %s)", len(entries), cache)
        started = time.monotonic()
        cache.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as partial:
            _train(entries, partial)
        logger.info("G2P model trained in %.0f s", time.monotonic() - started)
    return path


def _training_entries(lexicon: Lexicon, limit: int) -> list[tuple[str, str]]:
    """Sample entries without apostrophes in the word. `|`, `}` and `_` are separators of the tools."""
    entries = [
        (word.replace("'", ""), " ".join(phones))
        for word, forms in lexicon.items()
        for phones in forms
        if word.strip("'") and not any(set("|}_") & set(phone) for phone in phones)
    ]
    if limit and len(entries) > limit:
        entries = random.Random(0).sample(entries, limit)
    if len(entries) < 100:
        raise UserError(
            f"the lexicon has {len(entries)} entries, too few to train G2P: "
            "add the missing words to it, or set lang.g2p to none to leave them out"
        )
    return entries


def _train(entries: Iterable[tuple[str, str]], model: Path) -> None:
    with temporary_folder() as work:
        dictionary, corpus, arpa = work / "dictionary", work / "corpus", work / "arpa"
        dictionary.write_text("".join(f"{word}\t{phones}\n" for word, phones in entries), encoding="utf-8")
        run_tool(
            "phonetisaurus-align", f"--input={dictionary}", f"--ofile={corpus}",
            "--seq1_del=false", "--seq2_del=true", f"--iter={_EM_ITERATIONS}",
        )  # fmt: skip
        # FixKN needs no tuning and is as accurate here as modified Kneser-Ney.
        run_tool("estimate-ngram", "-order", str(_ORDER), "-smoothing", "FixKN", "-text", corpus, "-write-lm", arpa)
        run_tool("phonetisaurus-arpa2wfst", f"--lm={arpa}", f"--ofile={model}")


def apply_model(model: Path, words: Sequence[str]) -> dict[str, Pronunciation]:
    """Return the most likely pronunciation of each word; words without one are missing."""
    spellings: dict[str, list[str]] = {}
    for word in words:
        spellings.setdefault(word.replace("'", ""), []).append(word)
    with temporary_folder() as work:
        wordlist = work / "words"
        wordlist.write_text("".join(f"{spelling}\n" for spelling in spellings if spelling), encoding="utf-8")
        output = run_tool(
            "phonetisaurus-g2pfst",
            f"--model={model}",
            f"--wordlist={wordlist}",
            "--nbest=1",
            f"--beam={_BEAM}",
        )
    guesses = {}
    for line in output.splitlines():
        spelling, _, phones = line.split("\t")
        for word in spellings.get(spelling, []) if phones.split() else []:
            guesses[word] = tuple(phones.split())
    return guesses


def default_cache() -> Path:
    """Return the default folder of trained models."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "augmem" / "g2p"
