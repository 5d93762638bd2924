"""Convert pickled files to safetensors files, or graphs to icefall's format."""

from __future__ import annotations

import argparse
from pathlib import Path

from augmem.errors import UserError

_WARNING = (
    "{source}: pickled files can contain any program, which runs when they are read. If you trust the origin of this "
    "file, such as your own training or a publisher with a checksum, add --trust; the file is then read in a process "
    "of its own, with your rights, and its tensors are written to a safetensors file, which contains no code."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    text = (
        "file of an earlier release or of icefall (HLG.pt, L.pt), or a folder of such files; or a graph or lang folder"
    )
    parser.add_argument("source", type=Path, metavar="FILE", help=text)
    parser.add_argument("--trust", action="store_true", help="run the code that a pickled file may contain")
    text = "file to write: .safetensors (by default beside FILE), or .pt for icefall's HLG.pt, L.pt or L_disambig.pt"
    parser.add_argument("--output", type=Path, metavar="FILE", help=text)


def run(arguments: argparse.Namespace) -> int:
    """Convert, and print the files written.

    Raises:
        UserError: a pickled file without --trust, or a file that cannot be converted.
    """
    from augmem.convert import convert, write_icefall

    source, output = arguments.source, arguments.output
    if output and output.suffix == ".pt":
        write_icefall(source, output)
        written = [output]
    elif arguments.trust:
        written = convert(source, output)
    else:
        raise UserError(_WARNING.format(source=source))
    print("\n".join(f"wrote {path}" for path in written) or f"{source}: no pickled file left to convert")
    return 0
