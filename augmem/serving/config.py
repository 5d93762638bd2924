"""Options of the server."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from augmem.errors import check_option

ANY_ORIGIN = "*"


@dataclass(frozen=True)
class ServerConfig:
    """Address and limits of a server.

    Args:
        host: address to listen on.
        port: port to listen on; 0 chooses a free one.
        workers: number of decoding processes; a new stream is assigned to the one with the fewest streams.
        threads: number of threads of each decoding process.
        max_streams: maximum number of connections; more are refused with status 503.
        max_message: maximum size of a message in bytes; the connection of a larger one is closed.
        max_file: maximum size in bytes of a request with a file to transcribe; a larger one is refused with status 413.
        max_file_duration: maximum duration of such a file in seconds.
        max_buffered: seconds of audio of a stream that may wait for decoding; above, the server stops reading.
        max_unread: maximum number of unread results of a client that sends audio; above, its connection is closed.
        idle: idle timeout in seconds; a connection without messages for this long is closed.
        allow_origin: origins whose pages may open streams, such as https://asr.example.org, besides this server's own
            page; their hosts are also accepted in the Host header, as a proxy passes it. "*" allows all.
        token: secret that clients must send, as ?token=... or "Authorization: Bearer ..."; null accepts all clients.
        certificate: PEM file with the TLS certificate; null disables TLS.
        key: PEM file with the certificate's private key.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    workers: int = 1
    threads: int = 1
    max_streams: int = 100
    max_message: int = 1 << 20
    max_file: int = 25 << 20
    max_file_duration: float = 7200.0
    max_buffered: float = 20.0
    max_unread: int = 100
    idle: float = 60.0
    allow_origin: tuple[str, ...] = ()
    token: str | None = None
    certificate: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        for name in ("workers", "threads", "max_streams", "max_message", "max_file", "max_unread"):
            self._require(name, getattr(self, name) >= 1, "be at least 1")
        for name in ("max_file_duration", "max_buffered", "idle"):
            self._require(name, getattr(self, name) > 0, "be positive")
        self._require("allow_origin", all(map(is_origin, self.allow_origin)), "have the form https://host[:port]")
        self._require("token", self.token != "", "not be empty; omit it to accept all clients")
        self._require("port", 0 <= self.port < 65536, "be from 0 to 65535")
        self._require("key", (self.key is None) == (self.certificate is None), "be given with certificate")

    def _require(self, name: str, condition: bool, rule: str) -> None:
        check_option(f"server.{name}", getattr(self, name), condition, rule)


def is_origin(text: str) -> bool:
    """Return whether a text is an origin, or `ANY_ORIGIN`.

    Example:
        >>> [is_origin(text) for text in ("https://asr.example.org", "*", "asr.example.org", "https://a.org/page")]
        [True, True, False, False]
    """
    scheme, _, host = text.partition("://")
    return text == ANY_ORIGIN or (scheme in ("http", "https") and host != "" and urlsplit(text).netloc == host)
