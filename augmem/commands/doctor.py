"""`augmem doctor`: see `augmem.doctor`."""

from __future__ import annotations

import argparse


def add_options(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; 1 if something is wrong."""
    from augmem.doctor import doctor

    return doctor()
