"""Files that clients send for transcription: the form of a request, and the formats of its response.

The request and its responses are those of OpenAI's `POST /v1/audio/transcriptions` (PROTOCOL.md describes them).
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import BodyPartReader, web

from augmem.serving.access import Denial
from augmem.streaming import Event, format_events

FORMATS = {  # content types by response_format
    "json": "application/json",
    "verbose_json": "application/json",
    "text": "text/plain",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
}
MAX_FIELD = 1 << 16  # bytes of a field other than the file
MAX_PARTS = 64
_READ = 1 << 16  # bytes


class Denied(Exception):  # noqa: N818 - the response to a client; it is not a failure of the program
    """A request is refused.

    Args:
        status: HTTP status.
        reason: sent to the client.
    """

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.denial = Denial(status, reason)


@dataclass
class Form:
    """Fields of a request.

    Args:
        file: where the file has been written.
        values: all values of the other fields.
    """

    file: Path
    values: dict[str, list[str]] = field(default_factory=dict)

    def get(self, name: str, default: str) -> str:
        """Return the last value of a field."""
        return self.values.get(name, [default])[-1]

    @property
    def response_format(self) -> str:
        """Name of the response's format."""
        return self.get("response_format", "json")

    def check(self) -> None:
        """Check the fields that change the response; others are ignored.

        Raises:
            Denied: the file is missing, or a value is not supported.
        """
        if not self.file.exists():
            raise Denied(HTTPStatus.BAD_REQUEST, "field file is missing: send the audio file as multipart/form-data")
        if self.response_format not in FORMATS:
            names = ", ".join(FORMATS)
            raise Denied(
                HTTPStatus.BAD_REQUEST, f"response_format {self.response_format[:50]!r}: must be one of {names}"
            )
        if self.get("stream", "false").lower() not in ("false", "0"):
            raise Denied(
                HTTPStatus.BAD_REQUEST, "stream: results are sent at once; use a websocket for partial results"
            )


async def read_form(request: web.BaseRequest, file: Path, limit: int, progress: Callable[[], None]) -> Form:
    """Read the form of a request.

    Args:
        request: a request with a body of type multipart/form-data.
        file: where to write the field `file`.
        limit: maximum size of the body in bytes.
        progress: called for each chunk that has been received.

    Raises:
        Denied: the body is not such a form, or too large.
    """
    if request.content_type != "multipart/form-data":
        raise Denied(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must be multipart/form-data with a field file")
    if (request.content_length or 0) > limit:
        raise too_large(limit)
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    form, left = Form(file), limit
    try:
        reader = await request.multipart()
        for _ in range(MAX_PARTS):
            part = await reader.next()
            if part is None:
                return form
            if not isinstance(part, BodyPartReader):
                raise Denied(HTTPStatus.BAD_REQUEST, "the form has nested parts")
            left -= await _read_part(_chunks(part, progress), part.name or "", form, left, limit)
    except (ValueError, AssertionError, RuntimeError) as error:  # of aiohttp's parser
        raise Denied(HTTPStatus.BAD_REQUEST, f"not a valid form ({error})"[:200]) from error
    raise Denied(HTTPStatus.BAD_REQUEST, f"the form has more than {MAX_PARTS} parts")


async def _read_part(chunks: AsyncIterator[bytes], name: str, form: Form, left: int, limit: int) -> int:
    """Add a part to the form; return its size."""
    if name == "file":
        size = 0
        with form.file.open("wb") as output:
            async for chunk in chunks:
                size += len(chunk)
                if size > left:
                    raise too_large(limit)
                output.write(chunk)
        return size
    content = b""
    async for chunk in chunks:
        content += chunk
        if len(content) > min(left, MAX_FIELD):
            raise Denied(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"field {name!r}: more than {MAX_FIELD} bytes"[:200])
    form.values.setdefault(name, []).append(content.decode(errors="replace"))
    return len(content)


async def _chunks(part: BodyPartReader, progress: Callable[[], None]) -> AsyncIterator[bytes]:
    progress()
    while chunk := await part.read_chunk(_READ):
        progress()
        yield bytes(chunk)


def too_large(limit: int) -> Denied:
    """Return the refusal of a body that is too large."""
    return Denied(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the file is larger than {limit} bytes")


def format_response(form: Form, events: Sequence[Event], duration: float) -> tuple[str, str]:
    """Return text and content type of a response.

    Args:
        form: form of the request.
        events: final results.
        duration: duration of the audio, in seconds.
    """
    name, text = form.response_format, " ".join(event.text for event in events if event.text)
    if name == "text":
        body = f"{text}\n"
    elif name == "json":
        body = json.dumps({"text": text}, ensure_ascii=False)
    elif name == "verbose_json":
        body = json.dumps(verbose(form, events, duration) | {"text": text}, ensure_ascii=False)
    else:
        body = format_events(name, [("", events)])
    return body, FORMATS[name]


def verbose(form: Form, events: Sequence[Event], duration: float) -> dict[str, Any]:
    """Return a verbose_json response: segments, or words if `timestamp_granularities[]` selects them, or both."""
    spoken = [event for event in events if event.words]
    chosen = form.values.get("timestamp_granularities[]", ["segment"])
    words = [
        {"word": word.text, "start": word.start, "end": word.end, "confidence": word.confidence}
        for event in spoken
        for word in event.words
    ]
    segments = [
        {
            "id": number, "start": event.words[0].start, "end": event.words[-1].end, "text": event.text,
            "avg_logprob": round(sum(math.log(word.confidence or 1e-4) for word in event.words) / len(event.words), 4),
        }
        for number, event in enumerate(spoken)
    ]  # fmt: skip
    found = {"task": "transcribe", "language": form.get("language", "unknown"), "duration": round(duration, 3)}
    return (
        found | ({"segments": segments} if "segment" in chosen else {}) | ({"words": words} if "word" in chosen else {})
    )
