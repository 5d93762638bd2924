"""Serve streaming recognition over websockets, with a web page (wire format: augmem/serving/PROTOCOL.md)."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from augmem.commands.options import (
    add_dataclass_options,
    add_search_options,
    change_search,
    read_dataclass_options,
)
from augmem.serving import ServerConfig

TOKEN_VARIABLE = "AUGMEM_TOKEN"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument("--package", type=Path, required=True, help="folder made by augmem package")
    add_dataclass_options(parser, ServerConfig)
    parser.set_defaults(token=os.environ.get(TOKEN_VARIABLE))
    add_search_options(parser, "the values in the package")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    import asyncio
    import logging

    from augmem.serving import RecognitionServer
    from augmem.streaming import RecognizerOptions, open_package

    config = ServerConfig(**read_dataclass_options(arguments, ServerConfig))
    package = open_package(arguments.package)  # reports a damaged package before a process is started
    options = RecognizerOptions(change_search(arguments, package.search))
    logging.getLogger("websockets").setLevel(logging.WARNING)  # its INFO lines report each HTTP response as refused
    asyncio.run(RecognitionServer(arguments.package, config, options).run())
    return 0
