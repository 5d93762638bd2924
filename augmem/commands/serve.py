"""Serve live recognition over websockets, with a page to speak into (augmem/serving/PROTOCOL.md: the wire format)."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which model, where to listen, and what is allowed."""
    parser.add_argument("--package", type=Path, required=True, help="folder made by augmem package")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8765, help="0 takes a free one (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="decoding processes (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads of each (%(default)s)")
    parser.add_argument("--max-streams", type=int, default=100, help="more are refused (%(default)s)")
    parser.add_argument("--max-message", type=int, default=1 << 20, help="bytes in a message (%(default)s)")
    parser.add_argument("--max-buffered", type=float, default=20.0, help="seconds of audio that may wait (%(default)s)")
    parser.add_argument("--max-unread", type=int, default=100, help="results a client may leave unread (%(default)s)")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds of silence on the wire (%(default)s)")
    parser.add_argument("--search-beam", type=float, default=20.0, help="nats; narrower is faster (%(default)s)")
    parser.add_argument("--max-active", type=int, default=10000, help="graph states; fewer is faster (%(default)s)")
    parser.add_argument("--token", default=os.environ.get("AUGMEM_TOKEN"), help="clients must name it ($AUGMEM_TOKEN)")
    parser.add_argument("--certificate", help="PEM file, for TLS")
    parser.add_argument("--key", help="PEM file of the certificate's key")


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop."""
    import asyncio
    import logging
    from dataclasses import fields

    from augmem.decoding import SearchConfig
    from augmem.serving import RecognitionServer, ServerConfig
    from augmem.streaming import RecognizerOptions, open_package

    open_package(arguments.package)  # a fault of the package is said here, before any process is started
    logging.getLogger("websockets").setLevel(logging.WARNING)  # else it calls every page it served a refusal
    config = ServerConfig(**{field.name: getattr(arguments, field.name) for field in fields(ServerConfig)})
    decoding = SearchConfig(search_beam=arguments.search_beam, max_active=arguments.max_active)
    asyncio.run(RecognitionServer(arguments.package, config, RecognizerOptions(decoding=decoding)).run())
    return 0
