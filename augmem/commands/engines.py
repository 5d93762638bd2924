"""The engines that transcribe and serve: torch with k2, or onnxruntime with kaldi-decoder."""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from augmem.commands.options import change_search, read_hotword_option
from augmem.errors import UserError

if TYPE_CHECKING:
    from augmem.onnx_engine import EngineOptions, OnnxRecognizer
    from augmem.streaming import Recognizer

ENGINES = TORCH, ONNX = "torch", "onnx"


def add_engine_option(parser: argparse.ArgumentParser) -> None:
    """Add the option --engine."""
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        help="torch, or onnx, which needs neither torch nor k2 (default: that of the package)",
    )


def load_recognizer(arguments: argparse.Namespace) -> Recognizer | OnnxRecognizer:
    """Load the packaged model.

    Raises:
        UserError: package and engine do not fit.
    """
    is_onnx = choose_engine(arguments) == ONNX
    return load_onnx_recognizer(arguments) if is_onnx else load_torch_recognizer(arguments)


def choose_engine(arguments: argparse.Namespace) -> str:
    """Return the engine of a package.

    Raises:
        UserError: package and engine do not fit.
    """
    from augmem.onnx_package import is_onnx_package

    found = ONNX if is_onnx_package(arguments.package) else TORCH
    if (arguments.engine or found) != found:
        command = "augmem export --package PACKAGE --format onnx DIR" if found == TORCH else "augmem package"
        raise UserError(f"{arguments.package}: not a package for --engine {arguments.engine}; {command} makes one")
    return found


def load_onnx_recognizer(arguments: argparse.Namespace) -> OnnxRecognizer:
    """Load a package for the onnx engine; its decoding graph is built on first use.

    Raises:
        UserError: options that this engine does not have, or its libraries are not installed.
    """
    options = onnx_options(arguments)
    from augmem.onnx_engine import OnnxRecognizer

    return OnnxRecognizer(arguments.package, options.one_segment() if arguments.one_segment else options)


def onnx_options(arguments: argparse.Namespace) -> EngineOptions:
    """Return the options of the onnx engine.

    Raises:
        UserError: options that this engine does not have, or its libraries are not installed.
    """
    for name in ("compare_offline", "hotwords", "output_beam", "partial_interval"):
        if getattr(arguments, name, None):
            raise UserError(
                f"--{name.replace('_', '-')}: --engine onnx has no such option; a package of augmem package does"
            )
    try:
        from augmem.onnx_engine import EngineOptions
    except ModuleNotFoundError as error:
        raise UserError(f"--engine onnx needs {error.name}: pip install onnxruntime kaldi-decoder kaldifst") from error
    return EngineOptions(arguments.search_beam, arguments.max_active)


def load_torch_recognizer(arguments: argparse.Namespace) -> Recognizer:
    """Load a package of augmem package."""
    from augmem.streaming import Recognizer, RecognizerOptions, read_search

    search = change_search(arguments, read_search(arguments.package))
    one_segment = arguments.one_segment or arguments.compare_offline
    hotwords = read_hotword_option(arguments)
    options = (
        RecognizerOptions.one_segment(search, hotwords) if one_segment else RecognizerOptions(search, hotwords=hotwords)
    )
    if not sys.stderr.isatty():  # partial results are not shown
        options = replace(options, partial_interval=math.inf)
    return Recognizer.load(arguments.package, options)
