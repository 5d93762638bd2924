"""Hotwords as written by a user; recognition reads them, and clients of the server send them."""

from __future__ import annotations

from typing import NamedTuple


class HotwordLine(NamedTuple):
    """A hotword as written by a user.

    Attributes:
        where: file and line, or the message, for errors.
        text: the phrase.
        bonus: nats for each word; None: the default.
    """

    where: str
    text: str
    bonus: float | None = None
