"""Stage corpus: a corpus as it comes, to one folder of Lhotse manifests per part."""

from __future__ import annotations

import logging
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from augmem.corpus.amazon_queen import AmazonQueen
from augmem.corpus.folder import Folder
from augmem.corpus.kaldi import KaldiData
from augmem.corpus.lhotse_data import LhotseData
from augmem.corpus.librispeech import LibriSpeech, download
from augmem.corpus.limits import Limits
from augmem.corpus.manifests import Utterance, write_part
from augmem.corpus.shar_data import SharData
from augmem.corpus.skips import SkipList
from augmem.corpus.source import Parts, Source
from augmem.files import read_json, write_json

logger = logging.getLogger(__name__)

PARTS_FILE = "parts.json"
DEV_SPLIT = "dev-split"
_DEV_SHARE = 0.05  # of the training utterances, in whole speakers
_MINI = ("train-clean-5", "dev-clean-2")


@dataclass(frozen=True)
class CorpusConfig:
    """Which speech, and which of its parts serve as train, dev and test.

    Args:
        recipe: kind of corpus: amazon_queen (a Debian package), librispeech (any tree laid out like it), kaldi
            (data directories), folder (audio files with one table per part), manifests (Lhotse's), shar (Lhotse
            Shar with audio).
        source: where it lies: the .deb, or the root folder; none: fetch it, as far as the recipe can.
        train: parts to train on; none: the recipe's own choice.
        dev: parts to tune on; none: the recipe's own choice, else whole speakers split off train.
        test: parts to report on; none: the recipe's own choice.
        limits: which utterances of the training parts are left out.
    """

    recipe: Literal["amazon_queen", "librispeech", "kaldi", "folder", "manifests", "shar"] = "amazon_queen"
    source: str | None = None
    train: tuple[str, ...] = ()
    dev: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.recipe not in _SOURCES:
            raise ValueError(f"corpus.recipe={self.recipe!r}: must be one of {', '.join(_SOURCES)}")


def prepare_corpus(config: CorpusConfig, download: Path, output: Path) -> None:
    """Write `output`/<part>/{recordings,supervisions}.jsonl.gz and skipped.tsv for every part in use.

    `output`/parts.json says which parts serve for what, all defaults resolved; later stages read it there.

    Args:
        config: the corpus and its parts.
        download: lasting folder for what is fetched and extracted.
        output: folder to fill.

    Raises:
        FileNotFoundError: the corpus is not there and can't be fetched; says how to get it.
        ValueError: a file, a line or a choice of parts is wrong; says which and what to do.
    """
    source = open_source(config, download)
    parts = _choose(config, source)
    if parts.dev:
        for part in parts.all():
            skips = SkipList()
            limits = config.limits if part not in (*parts.dev, *parts.test) else None
            write_part(part, source.utterances(part, skips), output / part, skips, limits)
    else:
        parts = _write_with_dev_split(source, parts, output, config.limits)
    write_json(output / PARTS_FILE, asdict(parts))


def open_source(config: CorpusConfig, download: Path) -> Source:
    """A corpus, before anything is looked at but its outline."""
    return _SOURCES[config.recipe](config, download)


def read_parts(manifests: Path) -> Parts:
    """Which parts serve for what, as `prepare_corpus` settled it.

    Raises:
        FileNotFoundError: it has not filled that folder.
    """
    path = manifests / PARTS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; the stage corpus makes it: data/CORPUS/manifests is its folder")
    return Parts(**{role: tuple(names) for role, names in read_json(path).items()})


def _amazon_queen(config: CorpusConfig, folder: Path) -> Source:
    return AmazonQueen.from_package(Path(config.source) if config.source else None, folder)


def _librispeech(config: CorpusConfig, folder: Path) -> Source:
    if config.source:
        return LibriSpeech(Path(config.source))
    wanted = tuple(dict.fromkeys(config.train + config.dev + config.test))
    return LibriSpeech(download(folder, wanted or _MINI))


def _root(config: CorpusConfig) -> Path:
    """The user's own folder, which nobody could fetch."""
    if not config.source or not Path(config.source).is_dir():
        raise FileNotFoundError(
            f"{config.source}: no such folder; the recipe {config.recipe} needs --corpus-dir FOLDER"
        )
    return Path(config.source)


_SOURCES: dict[str, Callable[[CorpusConfig, Path], Source]] = {
    "amazon_queen": _amazon_queen,
    "librispeech": _librispeech,
    "kaldi": lambda config, _: KaldiData(_root(config)),
    "folder": lambda config, _: Folder(_root(config)),
    "manifests": lambda config, _: LhotseData(_root(config)),
    "shar": lambda config, folder: SharData(_root(config), folder / "audio"),
}


def _choose(config: CorpusConfig, source: Source) -> Parts:
    """The user's parts, or the source's own where the user named none."""
    own = source.defaults()
    parts = Parts(tuple(config.train) or own.train, tuple(config.dev) or own.dev, tuple(config.test) or own.test)
    unknown = [part for part in parts.all() if part not in source.names()]
    if unknown:
        raise ValueError(f"no part {', '.join(unknown)} in this corpus; it has: {', '.join(source.names())}")
    if not parts.train:
        raise ValueError(f"which part to train on? Name it with --train; there are: {', '.join(source.names())}")
    return parts


def _write_with_dev_split(source: Source, parts: Parts, output: Path, limits: Limits) -> Parts:
    """Split whole speakers off the training parts, since nothing else is there to tune on."""
    skips = {part: SkipList() for part in parts.all()}
    collected = {part: list(source.utterances(part, skips[part])) for part in parts.train}
    away = choose_dev_speakers([utterance for part in parts.train for utterance in collected[part]])
    logger.warning("no dev part: tuning on speakers %s, taken out of training (part %s)", ", ".join(away), DEV_SPLIT)
    for part, utterances in collected.items():
        write_part(part, (u for u in utterances if u.speaker not in away), output / part, skips[part], limits)
    everything = (u for utterances in collected.values() for u in utterances)
    write_part(DEV_SPLIT, (u for u in everything if u.speaker in away), output / DEV_SPLIT, SkipList())
    for part in parts.test:
        write_part(part, source.utterances(part, skips[part]), output / part, skips[part])
    return Parts(parts.train, (DEV_SPLIT,), parts.test)


def choose_dev_speakers(utterances: list[Utterance], seed: int = 0) -> tuple[str, ...]:
    """Speakers, drawn at random, who together have about a twentieth of the utterances; at least one.

    Raises:
        ValueError: there is only one speaker.
    """
    counts: dict[str, int] = defaultdict(int)
    for utterance in utterances:
        counts[utterance.speaker] += 1
    if len(counts) < 2:
        raise ValueError(
            "no dev part, and with a single speaker none can be split off that training does not hear; "
            "name a part with --dev"
        )
    speakers = sorted(counts)
    random.Random(seed).shuffle(speakers)
    chosen = [speakers.pop()]
    while sum(counts[speaker] for speaker in chosen) < _DEV_SHARE * len(utterances) and len(speakers) > 1:
        chosen.append(speakers.pop())
    return tuple(sorted(chosen))
