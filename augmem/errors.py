"""The exception for mistakes that a user can correct, and the exit status of an interrupted command."""

from __future__ import annotations

INTERRUPTED = 130  # exit status after Ctrl-C, as of shells


class UserError(Exception):
    """A wrong option, file or value.

    The message names the file, the line, the value and the remedy. The command line prints it without a traceback.
    A ValueError is a bug of the program.
    """


class OptionError(UserError):
    """A wrong option of the command line; its exit status is 2, as of argparse."""
