"""LibriSpeech and other corpora with its layout: the carried parts, official trees, parts from OpenSLR.

<root>/train-clean-5/1088/134315/1088-134315-0000.flac     part/speaker/chapter/utterance; or .wav, .opus
<root>/train-clean-5/1088/134315/1088-134315.trans.txt     one utterance per line: id, then words
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from augmem.corpus.carried import CARRIED, CARRIED_PARTS, HELD_OUT_SPEAKERS, unpack_part
from augmem.corpus.download import OPENSLR, PUBLISHED_PARTS, download_part
from augmem.corpus.manifests import CorpusUtterance
from augmem.corpus.reader import CorpusReader, Parts
from augmem.errors import UserError
from augmem.skipped import SkipLog
from augmem.tables import read_lines

logger = logging.getLogger(__name__)

LIBRISPEECH_SUFFIXES = (".flac", ".opus", ".wav")
# The default is the first of these combinations that the tree has.
_TRAIN = (
    ("train-clean-100", "train-clean-360", "train-other-500"),
    ("train-clean-100", "train-clean-360"),
    ("train-clean-100",),
    ("train-clean-5",),
)
_DEV = (("dev-clean", "dev-other"), ("dev-clean",), ("dev-other",))
_TEST = (("test-clean", "test-other"), ("test-clean",), ("test-other",))
_LARGE = frozenset({"train-clean-100", "train-clean-360", "train-other-500"})
_OPENSLR_11 = ("3-gram.arpa", "3-gram.pruned.", "4-gram.arpa", "librispeech-lexicon.txt", "librispeech-lm-norm.txt")


class LibriSpeech(CorpusReader):
    """Parts from a tree on disk, from the carried corpus, or from OpenSLR, in this order.

    Carried parts are unpacked, and parts of OpenSLR downloaded, when their utterances are first read.

    Example:
        >>> LibriSpeech(None, Path("data/librispeech/download")).defaults()
        Parts(train=('train-clean-5',), dev=('dev-held',), test=('test-held',))
    """

    def __init__(self, root: Path | None, download: Path, carried: Path | None = None, server: str = OPENSLR) -> None:
        """List the parts of a tree.

        Args:
            root: every folder in it with */*/*.trans.txt is a part; None: no tree.
            download: permanent folder for what is unpacked or downloaded.
            carried: folder of the carried corpus; None: the one of this project.
            server: address of OpenSLR's resources.

        Raises:
            UserError: there is no such folder, or no part in it.
        """
        self.download, self.carried, self.server = download, carried or CARRIED, server
        self.tree = _parts_of_tree(root) if root else {}

    def names(self) -> tuple[str, ...]:
        return tuple(self.tree) or CARRIED_PARTS.all()

    def more_names(self) -> tuple[str, ...]:
        more = dict.fromkeys((*CARRIED_PARTS.all(), *PUBLISHED_PARTS))
        return tuple(name for name in more if name not in self.names())

    def defaults(self, train: tuple[str, ...] = ()) -> Parts:
        train = train or self._default_train()
        if not self.tree and _LARGE & {*train}:
            return Parts(train, _DEV[0], _TEST[0])
        if train == CARRIED_PARTS.train:
            mini = tuple(name for name in ("dev-clean-2", *CARRIED_PARTS.test) if name in self.tree)
            return Parts(train, CARRIED_PARTS.dev, mini or CARRIED_PARTS.test)
        return Parts(
            train,
            self._select_present(_DEV) or self._parts_with_prefix("dev"),
            self._select_present(_TEST) or self._parts_with_prefix("test"),
        )

    def _default_train(self) -> tuple[str, ...]:
        return self._select_present(_TRAIN) or self._parts_with_prefix("train")

    def _parts_with_prefix(self, role: str) -> tuple[str, ...]:
        return tuple(name for name in self.names() if name.startswith(role))

    def _select_present(self, choices: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
        return next((choice for choice in choices if set(choice) <= set(self.names())), ())

    def utterances(self, part: str, skipped: SkipLog) -> Iterator[CorpusUtterance]:
        for transcript in sorted(self._folder(part).glob("*/*/*.trans.txt")):
            ids = set()
            for number, line in read_lines(transcript, skipped.error):
                utterance = _utterance(transcript, number, line)
                ids.add(utterance.id)
                yield utterance
            _list_audio_without_transcript(transcript, ids, skipped)

    def _folder(self, part: str) -> Path:
        """Return the folder of a part; unpack or download it first if necessary."""
        if part in self.tree:
            return self.tree[part]
        if part in CARRIED_PARTS.all():
            return unpack_part(part, self.download / "mini_librispeech", self.carried)
        return download_part(part, self.download, self.server)


def _parts_of_tree(root: Path) -> dict[str, Path]:
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; --corpus-dir must name the folder that holds train-clean-5/ etc.")
    folders = sorted({path.parents[2] for path in root.glob("*/*/*/*.trans.txt")})
    if not folders:
        raise UserError(
            f"{root}: no part in it; there should be files "
            f"{root}/<part>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt"
        )
    return {folder.name: folder for folder in folders}


def _utterance(transcript: Path, number: int, line: str) -> CorpusUtterance:
    id, _, text = line.strip().partition(" ")
    return CorpusUtterance(
        id=id,
        audio=_audio(transcript.parent, id),
        text=text,
        speaker=transcript.parents[1].name,
        origin=f"{transcript}:{number}",
        session=transcript.name.removesuffix(".trans.txt"),
    )


def _audio(folder: Path, id: str) -> Path:
    """Return the audio file of an utterance; the official FLAC file's name if there is none."""
    paths = [folder / f"{id}{suffix}" for suffix in LIBRISPEECH_SUFFIXES]
    return next(filter(Path.is_file, paths), paths[0])


def _list_audio_without_transcript(transcript: Path, ids: set[str], skipped: SkipLog) -> None:
    """Skip audio files of a chapter that its transcript file does not mention."""
    for audio in sorted(path for path in transcript.parent.iterdir() if path.suffix in LIBRISPEECH_SUFFIXES):
        if audio.stem not in ids:
            detail = f"{audio}: {transcript} has no line for it; add one that begins with {audio.stem}"
            skipped.add(audio.stem, "audio without transcript", detail)


def warn_of_openslr_11(parts: Parts, files: Sequence[str | None]) -> None:
    """Log a warning if the text of a language model may contain the transcripts of dev-held or test-held.

    The text of OpenSLR 11's language models leaves out the books of LibriSpeech's official dev and test sets only. The
    carried dev-held and test-held belong to train-clean-100.

    Args:
        parts: parts in use.
        files: paths of language models and lexicons; None for those not given.
    """
    held_out = [part for part in (*parts.dev, *parts.test) if part in HELD_OUT_SPEAKERS]
    suspects = [path for path in files if path and Path(path).name.startswith(_OPENSLR_11)]
    if held_out and suspects:
        logger.warning(
            "%s: looks like OpenSLR 11, whose text probably contains the books read in %s; results on these parts may "
            "be too good: report on dev-clean, test-clean etc.",
            ", ".join(suspects), ", ".join(held_out),
        )  # fmt: skip
