"""Options of words, units and language models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from augmem.errors import check_option


@dataclass(frozen=True)
class LangConfig:
    """Options of lexicon, units and vocabulary.

    Args:
        units: "phone" for a pronouncing dictionary, "grapheme" for letters with their position in the word, "bpe" for
            word pieces trained on the training text.
        lexicon: a lexicon file of "WORD P1 P2 ..." lines (plain, gzip or xz), whose words are added to the vocabulary;
            null: the CMU Pronouncing Dictionary.
        max_pronunciations: maximum number of pronunciations of a word; the first ones are kept; 0: no limit.
        min_count: words that occur less often in the training text are left out and read as <UNK>.
        extra_vocabulary: files whose most frequent words are added to the vocabulary: running text, of which only words
            of the lexicon are taken, or a .tsv file of word<TAB>count lines; or the name of a collection, as in
            lm.extra_text.
        extra_vocabulary_size: number of words taken from them; 0 takes none.
        silence_probability: probability of silence between words in L; 0 builds L without silence.
        g2p: "phonetisaurus" guesses pronunciations of words missing from the lexicon; "none" makes them <UNK>.
        g2p_training_entries: number of lexicon entries that train G2P (30,000 take about 20 s, once); 0 takes all.
        g2p_cache: folder of trained G2P models; null is ~/.cache/augmem/g2p.
        bpe_vocab_size: number of word pieces, with blank and <unk>.
    """

    units: Literal["phone", "grapheme", "bpe"] = "phone"
    lexicon: str | None = None
    max_pronunciations: int = 0
    min_count: int = 1
    extra_vocabulary: tuple[str, ...] = ()
    extra_vocabulary_size: int = 20000
    silence_probability: float = 0.5
    g2p: Literal["phonetisaurus", "none"] = "phonetisaurus"
    g2p_training_entries: int = 30000
    g2p_cache: str | None = None
    bpe_vocab_size: int = 500

    def __post_init__(self) -> None:
        _require(self, "units", self.units in ("phone", "grapheme", "bpe"), "be phone, grapheme or bpe")
        _require(self, "g2p", self.g2p in ("phonetisaurus", "none"), "be phonetisaurus or none")
        _require(self, "max_pronunciations", self.max_pronunciations >= 0, "be 0 (all) or more")
        _require(self, "min_count", self.min_count >= 1, "be at least 1")
        _require(self, "extra_vocabulary_size", self.extra_vocabulary_size >= 0, "be 0 (none) or more")
        _require(self, "silence_probability", 0 <= self.silence_probability < 1, "be in [0, 1)")
        entries = self.g2p_training_entries
        _require(self, "g2p_training_entries", entries == 0 or entries >= 1000, "be 0 (all) or at least 1000")
        _require(self, "bpe_vocab_size", self.bpe_vocab_size >= 32, "be at least 32")


@dataclass(frozen=True)
class LmConfig:
    """Options of the n-gram language models: a small one for the first pass, a larger one for rescoring.

    Args:
        first_pass_order: n-gram order of the language model inside the decoding graph.
        rescoring_order: n-gram order of the language model that rescores lattices.
        extra_text: further text files, or names of collections that are downloaded (fortunes); a model of each is
            interpolated with that of the training text, with weights tuned on the dev text.
        first_pass_arpa: a given ARPA file (plain, gzip or xz) for the first pass; its words extend the vocabulary.
            null: the given rescoring model is pruned, or a model is trained if there is none.
        rescoring_arpa: a given ARPA file (plain, gzip or xz) for rescoring; null: a model is trained.
        first_pass_pruning: n-grams whose loss raises perplexity by less than this share are removed from the first-pass
            model, to keep the decoding graph small; 0 keeps all. A given first-pass model is not pruned: see
            `augmem prune-lm`.
        rescoring_pruning: the same for a trained rescoring model.
    """

    first_pass_order: int = 3
    rescoring_order: int = 4
    extra_text: tuple[str, ...] = ()
    first_pass_arpa: str | None = None
    rescoring_arpa: str | None = None
    first_pass_pruning: float = 1e-7
    rescoring_pruning: float = 0.0

    @property
    def given_models(self) -> tuple[str, ...]:
        """Paths of the given ARPA files; the one that sets the vocabulary first."""
        return tuple(path for path in (self.first_pass_arpa, self.rescoring_arpa) if path)

    def __post_init__(self) -> None:
        for name in ("first_pass_order", "rescoring_order"):
            _require(self, name, 2 <= getattr(self, name) <= 6, "be between 2 and 6")
        for name in ("first_pass_pruning", "rescoring_pruning"):
            _require(self, name, 0 <= getattr(self, name) < 1, "be in [0, 1)")


@dataclass(frozen=True)
class NeuralLmConfig:
    """Options of the LSTM language model for n-best lists, trained on the texts of the n-gram models.

    Args:
        epochs: passes over all text; 0 trains no model.
        dim: size of embeddings and hidden states.
        layers: LSTM layers.
        dropout: dropout probability of embeddings and hidden states.
        learning_rate: peak value of the one-cycle schedule.
        seed: random seed.
    """

    epochs: int = 0
    dim: int = 256
    layers: int = 2
    dropout: float = 0.3
    learning_rate: float = 0.003
    seed: int = 1

    def __post_init__(self) -> None:
        _require(self, "epochs", self.epochs >= 0, "be 0 (none) or more")
        for name in ("dim", "layers"):
            _require(self, name, getattr(self, name) >= 1, "be at least 1")
        _require(self, "dropout", 0 <= self.dropout < 1, "be in [0, 1)")
        _require(self, "learning_rate", self.learning_rate > 0, "be above 0")


_SECTIONS = {"LangConfig": "lang", "LmConfig": "lm", "NeuralLmConfig": "neural_lm"}


def _require(config: Any, field: str, condition: bool, rule: str) -> None:
    check_option(f"{_SECTIONS[type(config).__name__]}.{field}", getattr(config, field), condition, rule)
