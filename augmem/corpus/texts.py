"""Text beyond the transcripts, for vocabulary and language models: files, or collections known by name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from augmem.corpus.debian import fetch_package, read_folder
from augmem.files import write_text
from augmem.lang import fortune_sentences

logger = logging.getLogger(__name__)

_OTHERWISE = "or do without: --lm.extra_text [] --lang.extra_vocabulary []."
_NO_PROSE = frozenset({"ascii-art", "perl", "translate-me"})


def find_texts(names: Sequence[str], folder: Path) -> tuple[str, ...]:
    """Paths of the texts that a recipe names; a collection known by name is fetched into `folder` first.

    Args:
        names: files, or `fortunes`: the quotations in Debian's package of that name, 380,000 words of colloquial
            English. Its copyright file puts the collection under the BSD licence; nothing of it is committed here.

    Raises:
        FileNotFoundError: a collection cannot be fetched; says what to do.
    """
    return tuple(str(_fetched(name, folder)) if name in COLLECTIONS else name for name in names)


def _fetched(name: str, folder: Path) -> Path:
    path = folder / f"{name}.txt"
    if not path.exists():
        logger.info("text collection %s: fetching it", name)
        COLLECTIONS[name](folder, path)
        logger.info("text collection %s: wrote %s", name, path)
    return path


def _fortunes(folder: Path, path: Path) -> None:
    """One normalised sentence a line. Files with a suffix are indexes of those without."""
    files = read_folder(fetch_package("fortunes", folder, _OTHERWISE), "usr/share/games/fortunes")
    prose = [content for name, content in sorted(files.items()) if "." not in name and name not in _NO_PROSE]
    texts = (content.decode("utf-8", errors="replace") for content in prose)
    write_text(path, "".join(f"{sentence}\n" for text in texts for sentence in fortune_sentences(text)))


COLLECTIONS: dict[str, Callable[[Path, Path], None]] = {"fortunes": _fortunes}
