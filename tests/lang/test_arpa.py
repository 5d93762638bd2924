"""The ARPA scorer against KenLM, and MITLM's models against what a language model must be."""

from __future__ import annotations

import math
from pathlib import Path

import kenlm
import pytest

from augmem.lang import ArpaModel, LmConfig, prepare_language_models, read_arpa
from augmem.lang.arpa import END, START, arpa_head, needed_ngrams, write_arpa


@pytest.fixture(scope="module")
def lm_dir(
    lang_dir: Path,
    train_texts: list[str],
    dev_texts: dict[str, list[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("lm")
    config = LmConfig(first_pass_pruning=1e-4)
    prepare_language_models(config, train_texts, dev_texts, lang_dir, folder)
    return folder


@pytest.fixture(scope="module", params=["first_pass", "rescoring"])
def arpa(request: pytest.FixtureRequest, lm_dir: Path) -> Path:
    return lm_dir / f"{request.param}.arpa"


@pytest.fixture(scope="module")
def model(arpa: Path) -> ArpaModel:
    return read_arpa(arpa)


def test_perplexity_and_oov_equal_kenlms(arpa: Path, model: ArpaModel, dev_texts: dict[str, list[str]]) -> None:
    oracle = kenlm.Model(str(arpa))
    for texts in dev_texts.values():
        scores = [score for text in texts for score in oracle.full_scores(text)]
        fit = model.perplexity(texts)
        known = [score for score, _, oov in scores if not oov]
        assert fit.log10 == pytest.approx(sum(known), abs=1e-3)
        assert (fit.oov, fit.sentences + fit.words) == (len(scores) - len(known), len(scores))
        assert fit.value == pytest.approx(10 ** (-sum(known) / len(known)), rel=1e-4)
    assert model.perplexity(dev_texts["far"]).oov == 2  # ZEBRA and YODELS: neither scored nor forgotten
    assert model.perplexity(dev_texts["far"]).oov_rate > 0


def test_every_history_sums_to_one(model: ArpaModel) -> None:
    words = [ngram[0] for ngram in model.ngrams if len(ngram) == 1 and ngram[0] != START]
    histories = [ngram for ngram in model.ngrams if len(ngram) < model.order and ngram[-1] != END]
    for history in [(), *histories[:: len(histories) // 150 + 1]]:
        assert sum(10 ** model.logprob(word, history) for word in words) == pytest.approx(1, abs=1e-4)


def test_every_word_of_the_lang_and_unk_are_in_the_model(model: ArpaModel, lang_dir: Path) -> None:
    listed = {ngram[0] for ngram in model.ngrams if len(ngram) == 1}
    words = {line.split()[0] for line in (lang_dir / "words.txt").read_text().splitlines()}
    assert listed == words - {"<eps>", "!SIL", "<SPOKEN_NOISE>", "#0"}
    assert model.unknown_word == "<UNK>"
    assert model.logprob("<UNK>", []) == min(model.logprob(word, []) for word in listed - {START}) > -5


def test_backing_off_by_epsilon_hardly_beats_the_true_score(model: ArpaModel, dev_texts: dict[str, list[str]]) -> None:
    """A decoding graph may back off although the n-gram is there; plain KN gains 2.4 nats a sentence so."""
    assert max(weights.backoff for weights in model.ngrams.values()) <= 1e-6
    texts = dev_texts["near"]
    excess = 0.0
    for text in texts:
        words = [START, *text.split(), END]
        for i in range(1, len(words)):
            excess += model.epsilon_logprob(words[i], words[:i]) - model.logprob(words[i], words[:i])
    assert 0 <= excess * math.log(10) / len(texts) < 0.05


def test_reading_only_what_a_text_needs_gives_the_same_perplexity(
    arpa: Path, model: ArpaModel, dev_texts: dict[str, list[str]]
) -> None:
    texts = dev_texts["far"]
    part = read_arpa(arpa, keep=needed_ngrams(texts, *arpa_head(arpa)))
    assert len(part.ngrams) < len(model.ngrams) / 2
    assert part.perplexity(texts) == model.perplexity(texts)


def test_writing_and_reading_gives_the_same_model(model: ArpaModel, tmp_path: Path) -> None:
    write_arpa(tmp_path / "again.arpa", model)
    again = read_arpa(tmp_path / "again.arpa")
    assert again.counts == model.counts and again.ngrams.keys() == model.ngrams.keys()
    for ngram, weights in model.ngrams.items():
        assert again.ngrams[ngram] == pytest.approx(weights, abs=2e-6)


TINY = """\\data\\
ngram 1=3
ngram 2=1

\\1-grams:
-0.5\tA\t-0.2
-0.5\t</s>
-99\t<s>\t-0.1

\\2-grams:
-0.3\tA A

\\end\\
"""


def test_the_back_off_walk_by_hand(tmp_path: Path) -> None:
    (tmp_path / "tiny.arpa").write_text(TINY)
    fit = read_arpa(tmp_path / "tiny.arpa").perplexity(["A A"])
    assert fit.log10 == pytest.approx((-0.1 - 0.5) + -0.3 + (-0.2 - 0.5))
    assert fit.value == pytest.approx(10 ** (1.6 / 3))


def test_what_follows_an_unknown_word_is_read_too(tmp_path: Path) -> None:
    """Three 2-grams of <UNK> are listed; only what the text asks for is kept, and KenLM agrees."""
    path = tmp_path / "unknown.arpa"
    text = TINY.replace("ngram 1=3", "ngram 1=4").replace("ngram 2=1", "ngram 2=4")
    text = text.replace("-0.5\t</s>", "-0.5\t</s>\n-0.7\t<UNK>\t-0.4")
    path.write_text(text.replace("-0.3\tA A", "-0.3\tA A\n-0.02\t<UNK> A\n-0.9\tA <UNK>\n-0.6\t<UNK> <UNK>"))
    part = read_arpa(path, keep=needed_ngrams(["ZEBRA A"], *arpa_head(path)))
    assert ("<UNK>", "A") in part.ngrams and ("A", "<UNK>") not in part.ngrams
    scores = [score for score, _, oov in kenlm.Model(str(path)).full_scores("ZEBRA A") if not oov]
    assert part.perplexity(["ZEBRA A"]).log10 == pytest.approx(sum(scores)) == pytest.approx(-0.02 - 0.2 - 0.5)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("\\end\\\n", "", r"tiny\.arpa:\d+: the file ends before"),
        ("-0.3\tA A", "-0.3\tA", r"tiny\.arpa:11: expected log10, 2 words"),
        ("-0.3\tA A", "minus\tA A", r"tiny\.arpa:11: could not convert"),
        ("ngram 2=1", "ngram 2=one", r"tiny\.arpa:3: expected ngram ORDER=NUMBER, found '2=one'"),
        ("ngram 2=1", "ngram 2=2", r"tiny\.arpa:13: 1 2-grams, but .* announces 2"),
        ("-0.5\tA", "-0.5\tA A A A", r"tiny\.arpa:6: expected log10, 1 words"),
    ],
)
def test_torn_files_are_told(tmp_path: Path, old: str, new: str, fault: str) -> None:
    path = tmp_path / "tiny.arpa"
    path.write_text(TINY.replace(old, new, 1))
    with pytest.raises(ValueError, match=fault):
        read_arpa(path)
