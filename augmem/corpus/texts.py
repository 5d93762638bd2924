"""Text besides the transcripts, for vocabulary and language models: files, or named collections."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from augmem.corpus.debian import fetch_package, read_folder
from augmem.files import write_text
from augmem.lang import fortune_sentences

logger = logging.getLogger(__name__)

_ALTERNATIVE = "or leave it out: --lm.extra_text [] --lang.extra_vocabulary []."
_NO_PROSE = frozenset({"ascii-art", "perl", "translate-me"})


def find_texts(names: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Return the paths of texts; download named collections first.

    Args:
        names: files, or `fortunes`: the quotations of Debian's package of that name, 380,000 words of colloquial
            English (BSD licence).
        folder: folder for downloaded collections.

    Raises:
        FileNotFoundError: a collection cannot be downloaded.
    """
    return tuple(str(_fetch(name, folder)) if name in COLLECTIONS else name for name in names)


def _fetch(name: str, folder: Path) -> Path:
    path = folder / f"{name}.txt"
    if not path.exists():
        logger.info("downloading text collection %s", name)
        COLLECTIONS[name](folder, path)
        logger.info("wrote %s", path)
    return path


def _fortunes(folder: Path, path: Path) -> None:
    """Write one normalised sentence per line. Files with a suffix are indexes of the others."""
    files = read_folder(fetch_package("fortunes", folder, _ALTERNATIVE), "usr/share/games/fortunes")
    prose = [content for name, content in sorted(files.items()) if "." not in name and name not in _NO_PROSE]
    texts = (content.decode("utf-8", errors="replace") for content in prose)
    write_text(path, "".join(f"{sentence}\n" for text in texts for sentence in fortune_sentences(text)))


COLLECTIONS: dict[str, Callable[[Path, Path], None]] = {"fortunes": _fortunes}
