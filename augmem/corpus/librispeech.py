"""LibriSpeech, any part of it, mini LibriSpeech, and whatever else is laid out like them.

<root>/train-clean-5/1088/134315/1088-134315-0000.flac     part/speaker/chapter/utterance
<root>/train-clean-5/1088/134315/1088-134315.trans.txt     one utterance per line: its id, then its words
"""

from __future__ import annotations

import logging
import tarfile
from collections.abc import Iterator
from pathlib import Path

from lhotse.recipes.librispeech import download_librispeech

from augmem.corpus.manifests import Utterance
from augmem.corpus.skips import SkipList
from augmem.corpus.source import Parts
from augmem.corpus.tables import read_lines

logger = logging.getLogger(__name__)

OPENSLR = "http://www.openslr.org/resources"
# The first of these combinations that is there is the default.
_TRAIN = (
    ("train-clean-100", "train-clean-360", "train-other-500"),
    ("train-clean-100", "train-clean-360"),
    ("train-clean-100",),
    ("train-clean-5",),
)
_DEV = (("dev-clean", "dev-other"), ("dev-clean-2",), ("dev-clean",), ("dev-other",))
_TEST = (("test-clean", "test-other"), ("test-clean",), ("test-other",))


class LibriSpeech:
    """A LibriSpeech tree: every folder of `root` with */*/*.trans.txt in it is a part."""

    def __init__(self, root: Path) -> None:
        """Look at the tree.

        Raises:
            FileNotFoundError: there is no such folder.
            ValueError: it has no parts.
        """
        if not root.is_dir():
            raise FileNotFoundError(
                f"{root}: no such folder; --corpus-dir must name the folder that holds train-clean-5/ etc."
            )
        self.root = root
        self._names = tuple(sorted({path.parents[2].name for path in root.glob("*/*/*/*.trans.txt")}))
        if not self._names:
            raise ValueError(
                f"{root}: no part in it; there should be files "
                f"{root}/<part>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt"
            )

    def names(self) -> tuple[str, ...]:
        return self._names

    def defaults(self) -> Parts:
        train = self._first_present(_TRAIN) or tuple(n for n in self._names if n.startswith("train"))
        dev = self._first_present(_DEV) or tuple(n for n in self._names if n.startswith("dev"))
        test = self._first_present(_TEST) or tuple(n for n in self._names if n.startswith("test"))
        return Parts(train, dev, test)

    def _first_present(self, choices: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
        return next((choice for choice in choices if set(choice) <= set(self._names)), ())

    def utterances(self, part: str, skips: SkipList) -> Iterator[Utterance]:
        for transcript in sorted((self.root / part).glob("*/*/*.trans.txt")):
            told = set()
            for number, line in read_lines(transcript, skips.fault):
                utterance = _utterance(transcript, number, line)
                told.add(utterance.id)
                yield utterance
            _note_untold(transcript, told, skips)


def _utterance(transcript: Path, number: int, line: str) -> Utterance:
    id, _, text = line.strip().partition(" ")
    return Utterance(
        id=id,
        audio=_audio(transcript.parent, id),
        text=text,
        speaker=transcript.parents[1].name,
        origin=f"{transcript}:{number}",
        session=transcript.name.removesuffix(".trans.txt"),
    )


def _audio(folder: Path, id: str) -> Path:
    """LibriSpeech has FLAC; trees made by others have WAV now and then."""
    wav = folder / f"{id}.wav"
    return wav if wav.is_file() else folder / f"{id}.flac"


def _note_untold(transcript: Path, told: set[str], skips: SkipList) -> None:
    """List the audio of a chapter that its transcript file does not mention."""
    for audio in sorted((*transcript.parent.glob("*.flac"), *transcript.parent.glob("*.wav"))):
        if audio.stem not in told:
            detail = f"{audio}: {transcript} has no line for it; add one that begins with {audio.stem}"
            skips.add(audio.stem, "audio without transcript", detail)


def download(folder: Path, parts: tuple[str, ...], server: str = OPENSLR) -> Path:
    """Download parts through Lhotse, resuming what was interrupted; return the tree's root.

    Raises:
        FileNotFoundError: there is no network, or the server has no such part; says what to do by hand.
    """
    logger.info("downloading %s to %s (interrupt it whenever you like: it resumes)", ", ".join(parts), folder)
    try:
        return Path(download_librispeech(folder, dataset_parts=list(parts), base_url=server))
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(
            f"{folder}: a downloaded archive is cut short or damaged ({error}); run again to fetch the rest, and if "
            "that does not mend it, delete its .tar.gz and run again"
        ) from error
    except OSError as error:
        raise FileNotFoundError(
            f"could not download {', '.join(parts)}: {error}. Fetch the archives from "
            "https://www.openslr.org/12 (mini LibriSpeech: /31), unpack them, and name the tree "
            "with --corpus-dir"
        ) from error
