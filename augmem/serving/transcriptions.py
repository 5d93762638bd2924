"""Transcription of files over HTTP, on the port of the websockets and under the same limits.

aiohttp parses requests and forms; a file is written to a temporary folder, decoded in a thread, and recognised as a
stream of a decoding process, which takes turns with the other streams.
"""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
import time
from collections.abc import Generator
from contextlib import closing
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from aiohttp import ClientPayloadError, web
from aiohttp.http_exceptions import HttpProcessingError
from websockets.datastructures import Headers
from websockets.http11 import Request

from augmem.audio import AudioFile, choose_channel
from augmem.errors import UserError
from augmem.serving.access import SECURITY_HEADERS, Denial, check_host, check_origin_header, check_token
from augmem.serving.config import ServerConfig
from augmem.serving.messages import StreamFailed
from augmem.serving.uploads import Denied, Form, format_response, read_form
from augmem.serving.worker import Worker
from augmem.serving.worker_stream import WorkerStream
from augmem.streaming import Event

if TYPE_CHECKING:
    from augmem.serving.server import RecognitionServer

logger = logging.getLogger(__name__)

PATH = "/v1/audio/transcriptions"
UPLOAD_TIMEOUT = 300.0  # seconds for receiving a form
_BLOCK = 0.5  # seconds of audio read at once


class FileStream(WorkerStream):
    """The stream of a file.

    Args:
        number: identifies the stream in messages to the worker.
        transport: transport of the connection.
        worker: decodes the stream.
        config: limits.
    """

    def __init__(
        self, number: int, transport: asyncio.BaseTransport | None, worker: Worker, config: ServerConfig
    ) -> None:
        super().__init__(number, worker, config)
        self._transport = transport

    def shut_down(self) -> None:
        """Refuse the request, since a part of the words would look like all of them."""
        super().shut_down()
        self.update(StreamFailed(self.number, "the server is shutting down"))

    def note_progress(self) -> None:
        """Note that a part of the file has been received; a client that sends nothing may be closed for another."""
        self.waiting_since = time.monotonic()

    def abort(self) -> None:
        """Close the connection at once."""
        if isinstance(self._transport, asyncio.Transport):
            self._transport.abort()

    async def recognise(self, path: Path) -> tuple[list[Event], float]:
        """Return the final results of a file, and its duration in seconds.

        Raises:
            Denied: it is not an audio file, it is too long, or the stream has failed.
        """
        sender = asyncio.create_task(self._send_file(path))
        try:
            events = await self._results(sender)
            return events, await sender
        finally:
            sender.cancel()

    async def _send_file(self, path: Path) -> float:
        """Send the audio of a file to the worker, no faster than it is decoded; return its duration."""
        seconds = 0.0
        try:
            with closing(read_audio(path)) as blocks:
                while (block := await asyncio.to_thread(next, blocks, None)) is not None:
                    samples, rate = block
                    seconds += len(samples) / rate
                    if seconds > self.config.max_file_duration:
                        longest = f"{self.config.max_file_duration:g} s"
                        raise Denied(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the audio is longer than {longest}")
                    await self.send_audio(samples, rate)
        except UserError as error:
            raise Denied(HTTPStatus.BAD_REQUEST, f"file: {error}") from error
        self.finish()
        return seconds

    def _note_failure(self, sender: asyncio.Task[float]) -> None:
        if not sender.cancelled() and sender.exception():
            self.update(StreamFailed(self.number, ""))  # _results raises the exception

    async def _results(self, sender: asyncio.Task[float]) -> list[Event]:
        """Collect final results until the stream is done; raise an error of the sender."""
        sender.add_done_callback(self._note_failure)
        events: list[Event] = []
        while True:
            message = await self._updates.get()
            if isinstance(message, StreamFailed):
                if sender.done():
                    await sender
                status = HTTPStatus.BAD_REQUEST if message.by_client else HTTPStatus.SERVICE_UNAVAILABLE
                raise Denied(status, message.reason)
            events += [event for event in map(Event.from_json, message.events) if event.kind == "final"]
            if message.done:
                return events


def read_audio(path: Path) -> Generator[tuple[np.ndarray, int], None, None]:
    """Yield the audio of a file in blocks: the mean of its channels, and the sampling rate.

    Raises:
        UserError: not an audio file.
    """
    with AudioFile(path) as audio:
        for block in audio.blocks(int(audio.rate * _BLOCK)):
            yield choose_channel(block, None), audio.rate


class TranscriptionService:
    """Answers requests; a new one per server.

    Args:
        server: admits streams.
    """

    def __init__(self, server: RecognitionServer) -> None:
        self._server = server
        self.http = web.Server(
            self._respond, handler_cancellation=True, access_log=None, lingering_time=2.0, logger=http_logger()
        )

    async def _respond(self, request: web.BaseRequest) -> web.Response:
        """Answer a request; the connection is closed after it."""
        self._server.complete_handshake(request.transport)
        try:
            text, kind = await self._transcribe(request)
            status = HTTPStatus.OK
        except Denied as denied:
            status, text = denied.denial
            self._server.count_refusal(str(request.remote), denied.denial)
            text, kind = error_text(denied.denial), "application/json"
        response = web.Response(status=status, text=text, content_type=kind, headers=SECURITY_HEADERS)
        response.force_close()
        return response

    async def _transcribe(self, request: web.BaseRequest) -> tuple[str, str]:
        """Return text and content type of the response."""
        self._check(request)
        temporary = tempfile.TemporaryDirectory(prefix="augmem-")
        with temporary as folder, self._server.admit_file(request.transport) as stream:
            form = await self._receive(request, Path(folder) / "audio", stream)
            stream.open()
            try:
                events, duration = await stream.recognise(form.file)
            finally:
                stream.close()
        self._server.metrics.served.inc()
        return format_response(form, events, duration)

    async def _receive(self, request: web.BaseRequest, file: Path, stream: FileStream) -> Form:
        reading = read_form(request, file, self._server.config.max_file, stream.note_progress)
        try:
            form = await asyncio.wait_for(reading, UPLOAD_TIMEOUT)
        except asyncio.TimeoutError as error:
            raise Denied(HTTPStatus.REQUEST_TIMEOUT, f"the form was not received in {UPLOAD_TIMEOUT:g} s") from error
        except (ClientPayloadError, ConnectionError) as error:
            raise Denied(HTTPStatus.BAD_REQUEST, "the body is incomplete") from error
        stream.waiting_since = None
        form.check()
        return form

    def _check(self, request: web.BaseRequest) -> None:
        """Apply the checks of websockets to a request.

        Raises:
            Denied: it is refused.
        """
        config, head = self._server.config, Request(request.raw_path, Headers(request.headers.items()))
        denial = (
            check_host(head, config.host, config.allow_origin)
            or check_origin_header(head, config.allow_origin)
            or check_token(head, config.token)
        )
        if denial:
            raise Denied(*denial)
        if request.path != PATH:
            raise Denied(HTTPStatus.NOT_FOUND, f"no such address; POST files to {PATH}")


def http_logger() -> logging.Logger:
    """Return the aiohttp library's logger, which reports a request that is not HTTP in one line."""
    http = logging.getLogger("aiohttp.server")
    http.addFilter(shorten_bad_request)  # once, however often it is added
    return http


def shorten_bad_request(record: logging.LogRecord) -> bool:
    """Remove the traceback of a client's error from a log record."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.exc_info, record.args = None, ()
        record.msg = f"refused a request that is not valid HTTP ({type(error).__name__})"
    return True


def error_text(denial: Denial) -> str:
    """Return the body of an error, in OpenAI's form."""
    kind = "invalid_request_error" if denial.status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    return json.dumps({"error": {"message": denial.reason, "type": kind, "param": None, "code": None}})
