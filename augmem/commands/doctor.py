"""Check versions and libraries, train and decode a tiny batch, and print how to fix problems."""

from __future__ import annotations

import argparse


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the option for a task."""
    from augmem import doctor

    doctor.add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run all checks; return 1 if there are problems."""
    from augmem.doctor import doctor

    return doctor(arguments.task)
