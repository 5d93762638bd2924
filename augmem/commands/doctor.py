"""Check versions, libraries and disk space, and print how to fix problems."""

from __future__ import annotations

import argparse


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add no options."""


def run(arguments: argparse.Namespace) -> int:
    """Run all checks; return 1 if there are problems."""
    from augmem.doctor import doctor

    return doctor()
