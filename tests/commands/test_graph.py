"""`augmem graph`: another vocabulary and language model for a trained model."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from augmem.adaptation import adapt_package, from_package
from augmem.automata import load_fsa
from augmem.errors import UserError
from augmem.graph import HLG_FILE
from augmem.lang import Lang
from augmem.streaming import Recognizer
from tests.tiny import RATE, make_package, noise

ARPA = "\\data\\\nngram 1={count}\n\n\\1-grams:\n{ngrams}\n\n\\end\\\n"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("tiny"))


def unigrams(path: Path, *words: str) -> Path:
    lines = [f"-1.0\t{word}" for word in ("</s>", "<UNK>", *words)]
    text = ARPA.format(count=len(lines) + 1, ngrams="\n".join(["-99\t<s>", *lines]))
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_the_new_package_recognises_the_words_of_the_language_model(package: Path, tmp_path: Path) -> None:
    """ONE is in the package's lexicon, WON and TWANG in the given one; TWO is not in the language model."""
    lm = unigrams(tmp_path / "lm.arpa.gz", "ONE", "WON", "TWANG")
    (tmp_path / "lexicon.txt").write_text("WON W AH N\nTWANG T W AH N\n")
    command = [sys.executable, "-m", "augmem.cli", "graph", "--package", package, "--lm", lm]
    command += ["--lexicon", tmp_path / "lexicon.txt", "--output", tmp_path / "new"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lang = Lang.load(tmp_path / "new" / "lang")
    assert lang.units_hash == Lang.load(package / "lang").units_hash
    graph = load_fsa(tmp_path / "new" / HLG_FILE)
    names = {lang.word_of[index] for index in graph.aux_labels.values.tolist() if index > 0}
    assert names - {"<UNK>"} == {"ONE", "WON", "TWANG"}
    old, new = (load_file(folder / "model.safetensors") for folder in (package, tmp_path / "new"))
    assert all(torch.equal(weight, new[name]) for name, weight in old.items())
    events = Recognizer.load(tmp_path / "new").transcribe([noise(2.0)], RATE)
    assert {word.text for event in events for word in event.words} <= names
    assert "lm.arpa.gz" in (tmp_path / "new" / "README.md").read_text()


def test_a_missing_or_foreign_language_model_is_refused_and_writes_nothing(package: Path, tmp_path: Path) -> None:
    trained = from_package(package)
    with pytest.raises(FileNotFoundError, match=r"none\.arpa: no such language model"):
        adapt_package(trained, tmp_path / "none.arpa", None, tmp_path / "new")
    with pytest.raises(UserError, match=r"lower\.arpa: only 0 of 2 words are normalised"):
        adapt_package(trained, unigrams(tmp_path / "lower.arpa", "one", "two"), None, tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"lower.arpa"}


def test_a_lexicon_with_other_phones_is_refused(package: Path, tmp_path: Path) -> None:
    (tmp_path / "lexicon.txt").write_text("UNO u n o\nDUE d u e\nTRE t r e\nSEI s e i\nSETTE s e t e\n")
    lm = unigrams(tmp_path / "lm.arpa", "UNO", "DUE", "TRE", "SEI", "SETTE")
    with pytest.raises(UserError, match=r"the lexicon has units that .* lacks \(d, e, "):
        adapt_package(from_package(package), lm, tmp_path / "lexicon.txt", tmp_path / "new")
