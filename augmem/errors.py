"""The exception for mistakes that a user can correct."""

from __future__ import annotations


class UserError(Exception):
    """A wrong option, file or value.

    The message names the file, the line, the value and the remedy. The command line prints it without a traceback.
    A ValueError is a bug of the program.
    """
