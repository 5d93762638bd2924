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
        wrong option: features.frame_shift is -0.01; it must be positive
    """


class OptionError(UserError):
    """A wrong option of the command line; its exit status is 2, as of argparse."""


def check_option(option: str, value: object, valid: bool, rule: str) -> None:
    """Check the value of an option.

    Args:
        option: full name of the option, such as `training.epochs`.
        value: value of the option.
        valid: whether the value follows the rule.
        rule: the rule, as the end of a sentence that begins with "it must".

    Raises:
        UserError: the value is not valid.

    Example:
        >>> check_option("training.epochs", 3, 3 >= 1, "be at least 1")
    """
    if not valid:
        raise UserError(f"{option} is {value!r}; it must {rule}")
