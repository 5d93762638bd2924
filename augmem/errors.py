"""The exception for mistakes that a user can correct, and the exit status of an interrupted command."""

from __future__ import annotations

INTERRUPTED = 130  # exit status after Ctrl-C, as of shells


class UserError(Exception):
    """A wrong option, file or value.

    The message names the file, the line, the value and the remedy. The command line prints it without a traceback.
    A ValueError is a bug of the program.

    Example:
        >>> from augmem import FeatureConfig
        >>> try:
        ...     FeatureConfig(frame_shift=-0.01)
        ... except UserError as error:
        ...     print(f"wrong option: {error}")
        wrong option: features.frame_shift=-0.01: must be positive
    """


class OptionError(UserError):
    """A wrong option of the command line; its exit status is 2, as of argparse."""
