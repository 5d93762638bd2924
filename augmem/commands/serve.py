"""Serve streaming recognition over websockets, with a web page (wire format: augmem/serving/PROTOCOL.md)."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from augmem.commands.engines import ONNX, add_engine_option, choose_engine, onnx_options
from augmem.commands.options import (
    add_dataclass_options,
    add_hotword_option,
    add_package_option,
    add_search_options,
    change_search,
    read_dataclass_options,
    read_hotword_option,
)
from augmem.errors import UserError
from augmem.serving import ServerConfig

if TYPE_CHECKING:
    from augmem.onnx_engine import EngineOptions
    from augmem.streaming import RecognizerOptions

TOKEN_VARIABLE = "AUGMEM_TOKEN"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    add_package_option(parser, "augmem package or augmem export")
    add_engine_option(parser)
    add_dataclass_options(parser, ServerConfig, omit=["token"])
    parser.add_argument(
        "--token-file", type=Path,
        help="file with the secret that clients must send, as ?token=... or 'Authorization: Bearer ...'; default: "
        f"${TOKEN_VARIABLE} if it is set, else all clients are accepted",
    )  # fmt: skip
    parser.add_argument("--token", help=argparse.SUPPRESS)
    add_hotword_option(parser, "all streams that name none of their own")
    parser.add_argument(
        "--partial-interval", type=float,
        help="seconds of audio after which a partial result is made; larger is faster (0.32; engine onnx: a segment)",
    )  # fmt: skip
    add_search_options(parser, "the values in the package")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    import asyncio
    import logging

    config = read_config(arguments)  # before the imports, which take seconds
    is_onnx = choose_engine(arguments) == ONNX
    options = check_onnx_package(arguments) if is_onnx else check_torch_package(arguments)
    from augmem.serving import RecognitionServer

    logging.getLogger("websockets").setLevel(logging.WARNING)  # its INFO lines report each HTTP response as refused
    asyncio.run(RecognitionServer(arguments.package, config, options).run())
    return 0


def check_torch_package(arguments: argparse.Namespace) -> RecognizerOptions:
    """Verify a package once, before the decoding processes start; return the options of recognition.

    Raises:
        UserError: the package is damaged, or an option is invalid.
    """
    from augmem.decoding import make_hotwords
    from augmem.streaming import RecognizerOptions, open_package

    package = open_package(arguments.package)
    options = RecognizerOptions(change_search(arguments, package.search), hotwords=read_hotword_option(arguments))
    if arguments.partial_interval is not None:
        options = replace(options, partial_interval=arguments.partial_interval)
    make_hotwords(options.hotwords, package.lang)
    return options


def check_onnx_package(arguments: argparse.Namespace) -> EngineOptions:
    """Verify a package for the onnx engine and build its decoding graph, once, before the decoding processes start.

    Raises:
        UserError: the package is damaged, an option is invalid, or a library is not installed.
    """
    from augmem.onnx_package import open_onnx_package

    options = onnx_options(arguments)
    with open_onnx_package(arguments.package).graph():
        return options


def read_config(arguments: argparse.Namespace) -> ServerConfig:
    """Return the server's options.

    Raises:
        UserError: a value is out of range, the token cannot be read, or it is on the command line.
    """
    if arguments.token is not None:
        raise UserError(
            "--token: other users can read it in the process list; write the token into a file and use --token-file "
            f"FILE, or set ${TOKEN_VARIABLE}"
        )
    arguments.token = os.environ.get(TOKEN_VARIABLE)
    if arguments.token_file:
        arguments.token = read_token(arguments.token_file)
    return ServerConfig(**read_dataclass_options(arguments, ServerConfig))


def read_token(path: Path) -> str:
    """Read a token from the only line of a file.

    Raises:
        UserError: the file cannot be read, or has not one line of printable characters without spaces.
    """
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--token-file {path}: cannot be read ({error})") from error
    if not token.isprintable() or " " in token or not token:
        raise UserError(f"--token-file {path}: must have one line, the token, without spaces")
    return token
