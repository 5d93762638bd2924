"""Compare the word error rates of two experiments by paired bootstrap and matched-pairs test."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add options for experiments, parts and system."""
    parser.add_argument("a", type=Path, metavar="A", help="experiment folder or a recogs-*.txt file")
    parser.add_argument("b", type=Path, metavar="B", help="the other experiment or file")
    parser.add_argument("--part", action="append", help="part to compare; can be repeated (all parts of both)")
    parser.add_argument("--system", default="rescored", help="decoding system (%(default)s)")
    parser.add_argument(
        "--examples", type=int, default=10, help="utterances to print, those that differ most (%(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the comparison of each part."""
    from augmem.scoring import compare, comparison_text, read_recogs

    for a, b in pair_results(arguments.a, arguments.b, arguments.system, arguments.part):
        comparison = compare(read_recogs(a), read_recogs(b), str(a), str(b))
        print(comparison_text(comparison, arguments.examples))
    return 0


def pair_results(a: Path, b: Path, system: str, parts: list[str] | None) -> list[tuple[Path, Path]]:
    """Return the files to compare.

    Args:
        a, b: experiments, or files of recognition results.
        system: decoding system.
        parts: parts to compare; None: all that both have.

    Raises:
        FileNotFoundError: an experiment has no results of a part or system.
    """
    if a.is_file() and b.is_file():
        return [(a, b)]
    found = {folder: find_results(folder, system) for folder in (a, b)}
    shared = [part for part in found[a] if part in found[b]]
    missing = [part for part in parts or [] if part not in shared]
    if missing or not shared:
        raise FileNotFoundError(
            f"{a} and {b} do not both have results of {', '.join(missing) or 'any part'} by system {system}; "
            f"they have {', '.join(found[a]) or 'none'} and {', '.join(found[b]) or 'none'}: run stage score in both"
        )
    return [(found[a][part], found[b][part]) for part in parts or shared]


def find_results(experiment: Path, system: str) -> dict[str, Path]:
    """Return the recogs files of an experiment by part."""
    files = sorted((experiment / "score").glob(f"recogs-*-{system}.txt"))
    return {file.name.removeprefix("recogs-").removesuffix(f"-{system}.txt"): file for file in files}
