"""The files of the web page."""

from __future__ import annotations

from importlib import resources
from typing import NamedTuple

_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/microphone.js": ("microphone.js", "text/javascript; charset=utf-8"),
}


class Page(NamedTuple):
    """Text and content type of a file."""

    text: str
    content_type: str


def load_pages() -> dict[str, Page]:
    """Read the files of the web page; return them by path."""
    folder = resources.files("augmem.serving") / "page"
    return {path: Page((folder / name).read_text(encoding="utf-8"), kind) for path, (name, kind) in _FILES.items()}
