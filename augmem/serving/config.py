"""What a server allows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerConfig:
    """Where a server listens and what it bears.

    Args:
        host: address to listen on; loopback unless told otherwise.
        port: port to listen on; 0 takes a free one.
        workers: decoding processes; streams go to the one with the fewest.
        threads: threads of each.
        max_streams: connections at a time; more are refused with status 503.
        max_message: bytes in a message; a longer one closes its connection.
        max_buffered: seconds of a stream's audio that may wait for decoding; beyond that it is not read on.
        max_unread: results that may wait for a client to read them; beyond that its connection is closed.
        idle: seconds without a message after which a connection is closed.
        token: clients must name it, as ?token=... or "Authorization: Bearer ..."; none: anybody may connect.
        certificate, key: PEM files for TLS; none: no TLS.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    workers: int = 1
    threads: int = 1
    max_streams: int = 100
    max_message: int = 1 << 20
    max_buffered: float = 20.0
    max_unread: int = 100
    idle: float = 60.0
    token: str | None = None
    certificate: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        for name in ("workers", "threads", "max_streams", "max_message", "max_unread"):
            self._demand(name, getattr(self, name) >= 1, "at least 1")
        for name in ("max_buffered", "idle"):
            self._demand(name, getattr(self, name) > 0, "positive")
        self._demand("token", self.token != "", "none, or one character at least")
        self._demand("port", 0 <= self.port < 65536, "from 0 to 65535")
        self._demand("key", (self.key is None) == (self.certificate is None), "given together with certificate")

    def _demand(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ValueError(f"server.{name} is {getattr(self, name)!r}; it must be {rule}")
