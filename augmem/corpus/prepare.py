"""Stage corpus: Lhotse manifests of all parts in use, from a corpus of any supported format."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from lhotse import SupervisionSegment

from augmem.corpus.amazon_queen import AmazonQueen
from augmem.corpus.folder import Folder
from augmem.corpus.kaldi import KaldiData
from augmem.corpus.lhotse_data import LhotseData
from augmem.corpus.librispeech import LibriSpeech
from augmem.corpus.limits import Limits
from augmem.corpus.manifests import CorpusUtterance, describe_part, report_skipped, write_described, write_part
from augmem.corpus.mixing import PARTS_FILE, mix_corpus
from augmem.corpus.overlap import check_utterances, warn_of_shared_speakers
from augmem.corpus.reader import CorpusReader, Parts
from augmem.corpus.shar_data import SharData
from augmem.errors import UserError, check_option
from augmem.files import write_json
from augmem.lang import Normalisation
from augmem.skipped import SkipLog

logger = logging.getLogger(__name__)

DEV_SPLIT = "dev-split"
_DEV_SHARE = 0.05  # of the training utterances


@dataclass(frozen=True)
class CorpusConfig:
    """Speech, and its division into train, dev and test parts.

    Args:
        recipe: format of the corpus: librispeech (the carried parts, or a tree with LibriSpeech's layout), amazon_queen
            (a Debian package), kaldi (data directories), folder (audio files and one table per part), manifests
            (Lhotse manifests), shar (Lhotse Shar with audio).
        source: path of the corpus: its root folder, or the .deb; null: the carried parts, or a download.
        train: parts to train on; empty: the default of the corpus.
        dev: parts to tune on; empty: the default of the corpus, or speakers taken out of the training parts.
        test: parts to report on; empty: the default of the corpus.
        mix: data folder of another corpus, such as data/librispeech, whose training parts are added to those of this
            one, for fine-tuning; null: none.
        mix_utterances: number of its utterances, chosen at random; null: all.
        limits: limits on the utterances of training parts.
        allow_pipes: run the shell commands in a wav.scp of Kaldi. Enable only for a wav.scp whose origin is trusted.
        allow_overlap: accept that train, dev and test share utterances, for tests of the stages on a few utterances.
        normalisation: how transcripts and all other text become words: english (upper case A-Z, numbers in words),
            unicode (any language: NFC, lower case, no punctuation) or none (as it is).
        language: language code of the transcripts, such as de. With unicode, numbers are written in words where
            num2words has the language; null: they are left as digits.

    Example:
        >>> CorpusConfig(train=("train-clean-5",)).recipe
        'librispeech'
    """

    recipe: Literal["librispeech", "amazon_queen", "kaldi", "folder", "manifests", "shar"] = "librispeech"
    source: str | None = None
    train: tuple[str, ...] = ()
    dev: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    mix: str | None = None
    mix_utterances: int | None = None
    limits: Limits = field(default_factory=Limits)
    allow_pipes: bool = False
    allow_overlap: bool = False
    normalisation: Literal["english", "unicode", "none"] = "english"
    language: str | None = None

    @property
    def rules(self) -> Normalisation:
        """The normalisation of all text of an experiment."""
        return Normalisation(self.normalisation, self.language)

    def __post_init__(self) -> None:
        check_option("corpus.recipe", self.recipe, self.recipe in _READERS, f"be one of {', '.join(_READERS)}")
        number = self.mix_utterances
        valid = number is None or (number >= 1 and bool(self.mix))
        check_option("corpus.mix_utterances", number, valid, "be at least 1, with corpus.mix")
        self.rules  # noqa: B018  checks normalisation and language


def prepare_corpus(config: CorpusConfig, download: Path, output: Path) -> None:
    """Write `output`/<part>/{recordings,supervisions}.jsonl.gz and skipped.tsv for every part in use.

    `output`/parts.json lists the parts of each role, for the later stages.

    Args:
        config: the corpus and its parts.
        download: permanent folder for unpacked and downloaded audio.
        output: folder to fill.

    Raises:
        FileNotFoundError: the corpus is missing and cannot be downloaded.
        UserError: a file, a line or the choice of parts is wrong, or train, dev and test share utterances.
    """
    reader = open_corpus(config, download)
    parts = _choose_parts(config, reader)
    if parts.dev:
        for part in parts.all():
            limits = None if part in (*parts.dev, *parts.test) else config.limits
            _write(reader, part, output, config.rules, limits)
    else:
        parts = _write_with_dev_split(reader, parts, output, config)
    if config.mix:
        parts = mix_corpus(Path(config.mix), parts, output, config.mix_utterances)
    if not config.allow_overlap:
        check_utterances(output, parts)
    warn_of_shared_speakers(output, parts)
    write_json(output / PARTS_FILE, asdict(parts))


def open_corpus(config: CorpusConfig, download: Path) -> CorpusReader:
    """Return a reader of the corpus.

    Args:
        config: format and path of the corpus.
        download: permanent folder for unpacked and downloaded audio.

    Raises:
        FileNotFoundError: the corpus is missing.
        UserError: the folder has no parts.
    """
    return _READERS[config.recipe](config, download)


def _amazon_queen(config: CorpusConfig, folder: Path) -> CorpusReader:
    return AmazonQueen.from_package(Path(config.source) if config.source else None, folder)


def _librispeech(config: CorpusConfig, folder: Path) -> CorpusReader:
    return LibriSpeech(Path(config.source) if config.source else None, folder)


def _root(config: CorpusConfig) -> Path:
    """Return the folder of a corpus that cannot be downloaded."""
    if not config.source or not Path(config.source).is_dir():
        raise FileNotFoundError(f"{config.source}: no such folder; --corpus {config.recipe} needs --corpus-dir FOLDER")
    return Path(config.source)


_READERS: dict[str, Callable[[CorpusConfig, Path], CorpusReader]] = {
    "librispeech": _librispeech,
    "amazon_queen": _amazon_queen,
    "kaldi": lambda config, folder: KaldiData(_root(config), folder / "audio", config.allow_pipes),
    "folder": lambda config, _: Folder(_root(config)),
    "manifests": lambda config, _: LhotseData(_root(config)),
    "shar": lambda config, folder: SharData(_root(config), folder / "audio"),
}


def _choose_parts(config: CorpusConfig, reader: CorpusReader) -> Parts:
    """Return the user's parts; for roles without any, the defaults."""
    default = reader.defaults(config.train)
    parts = Parts(
        tuple(config.train) or default.train, tuple(config.dev) or default.dev, tuple(config.test) or default.test
    )
    check_names(parts.all(), reader)
    if not parts.train:
        raise UserError(f"no training part; choose one with --train: {', '.join(reader.names())}")
    return parts


def check_names(parts: tuple[str, ...], reader: CorpusReader) -> None:
    """Check that the corpus has the parts.

    Raises:
        UserError: it lacks one.
    """
    more = reader.more_names()
    if unknown := [part for part in parts if part not in (*reader.names(), *more)]:
        available = f"; also available: {', '.join(more)}" if more else ""
        raise UserError(f"no part {', '.join(unknown)} in this corpus; it has: {', '.join(reader.names())}{available}")


def _write(reader: CorpusReader, part: str, output: Path, rules: Normalisation, limits: Limits | None = None) -> None:
    skipped = SkipLog()
    write_part(part, reader.utterances(part, skipped), output / part, skipped, limits, rules)


def _write_with_dev_split(reader: CorpusReader, parts: Parts, output: Path, config: CorpusConfig) -> Parts:
    """Write the parts of a corpus without a dev part; take all utterances of some speakers out of training for it.

    Utterances that cannot be used are reported before speakers are chosen among the others.
    """
    skipped = {part: SkipLog() for part in parts.train}
    described = {
        part: describe_part(part, reader.utterances(part, log), log, config.limits, config.rules)
        for part, log in skipped.items()
    }
    for part, pairs in described.items():
        report_skipped(part, pairs, skipped[part])
        config.limits.warn_of_cost(part, (segment.duration for _, segment in pairs))
    speakers = choose_dev_speakers([segment for pairs in described.values() for _, segment in pairs])
    logger.warning(
        "no dev part: tuning on speakers %s, taken out of training (part %s)", ", ".join(speakers), DEV_SPLIT
    )
    for part, pairs in described.items():
        kept = [pair for pair in pairs if pair[1].speaker not in speakers]
        if not kept:
            raise UserError(f"part {part}: no other speakers than {', '.join(speakers)}; choose a part with --dev")
        write_described(part, kept, output / part, skipped[part])
    taken = [pair for pairs in described.values() for pair in pairs if pair[1].speaker in speakers]
    write_described(DEV_SPLIT, taken, output / DEV_SPLIT, SkipLog())
    for part in parts.test:
        _write(reader, part, output, config.rules)
    return Parts(parts.train, (DEV_SPLIT,), parts.test)


def choose_dev_speakers(utterances: Sequence[CorpusUtterance | SupervisionSegment]) -> tuple[str, ...]:
    """Choose random speakers with about 5 % of the utterances, at least one speaker.

    Args:
        utterances: all usable training utterances.

    Raises:
        UserError: there is only one speaker.
    """
    counts = Counter(utterance.speaker for utterance in utterances)
    if len(counts) < 2:
        raise UserError(
            "no dev part, and with a single speaker none can be taken out of training; choose a part with --dev"
        )
    speakers = sorted(counts)
    random.Random(0).shuffle(speakers)
    chosen = [speakers.pop()]
    while sum(counts[speaker] for speaker in chosen) < _DEV_SHARE * len(utterances) and len(speakers) > 1:
        chosen.append(speakers.pop())
    return tuple(sorted(chosen))
