"""Messages of Vosk's websocket protocol, as vosk-server speaks it (PROTOCOL.md describes them).

A client sends its configuration, then audio, and gets one answer to each message of audio: a partial result, or the
final one of a segment that has ended.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any, NamedTuple

from augmem.serving.client_messages import Refusal, is_sample_rate, parse_json

EOF, RESET = "eof", "reset"
DEFAULT_RATE = 8000  # Hz, of vosk-server
_UNSUPPORTED = ("phrase_list", "max_alternatives")


class VoskConfig(NamedTuple):
    """The configuration of a client.

    Args:
        sample_rate: Hz; samples are int16.
        words: whether final results contain the words with their times.
    """

    sample_rate: int
    words: bool


def parse_config(message: str | bytes) -> VoskConfig | None:
    """Return the configuration in a first message; None if the client does not use Vosk's protocol.

    Raises:
        Refusal: it is not valid, or demands what this server does not have.

    Example:
        >>> parse_config('{"config": {"sample_rate": 16000.0}}')
        VoskConfig(sample_rate=16000, words=True)
    """
    given = parse_json(message) if isinstance(message, str) else None
    if not isinstance(given, dict) or "config" not in given:
        return None
    config = given["config"]
    if not isinstance(config, dict):
        raise Refusal(f'config {config!r}: must be an object such as {{"sample_rate": 16000}}'[:200])
    for name in _UNSUPPORTED:
        if config.get(name):
            raise Refusal(f"config: this server has no {name}")
    rate = config.get("sample_rate", DEFAULT_RATE)
    if not is_sample_rate(rate):
        raise Refusal(f"config: sample_rate {rate!r}: must be a whole number (Hz)"[:200])
    return VoskConfig(int(rate), bool(config.get("words", True)))


def parse_command(message: str) -> str:
    """Return the command of a text message: EOF or RESET.

    Raises:
        Refusal: it is none.
    """
    given = parse_json(message)
    for command in (EOF, RESET):
        if isinstance(given, dict) and given.get(command):
            return command
    raise Refusal(f'expected audio, {{"eof": 1}} or {{"reset": 1}}, got {message[:100]!r}')


class Answers:
    """Results of a stream that have not been sent.

    Args:
        words: see `VoskConfig`.

    Example:
        >>> answers = Answers(words=False)
        >>> answers.add('{"kind": "partial", "text": "GOOD"}')
        >>> answers.next()
        '{"partial": "GOOD"}'
        >>> answers.add('{"kind": "final", "text": "GOOD DAY", "words": []}')
        >>> answers.next(), answers.next()
        ('{"text": "GOOD DAY"}', '{"partial": ""}')
    """

    def __init__(self, words: bool) -> None:
        self._words = words
        self._partial = ""
        self._finals: deque[dict[str, Any]] = deque()

    def add(self, event: str) -> None:
        """Add a partial or final result, see `Event.to_json`; segments without words have no result in Vosk."""
        values = json.loads(event)
        is_final = values["kind"] == "final"
        if is_final and values["text"]:
            self._finals.append(values)
        self._partial = "" if is_final else values["text"]

    def next(self) -> str:
        """Return the answer to a message of audio."""
        if self._finals:
            return self._result([self._finals.popleft()])
        return _to_json({"partial": self._partial})

    def last(self) -> str:
        """Return the answer to a command: the words of all segments that have not been sent."""
        finals, self._finals, self._partial = list(self._finals), deque(), ""
        return self._result(finals)

    def _result(self, finals: list[dict[str, Any]]) -> str:
        words = [word for final in finals for word in final["words"]]
        result = [
            {"conf": word["confidence"], "end": word["end"], "start": word["start"], "word": word["text"]}
            for word in words
        ]
        text = {"text": " ".join(final["text"] for final in finals)}
        return _to_json(({"result": result} if self._words and result else {}) | text)


def _to_json(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False)
