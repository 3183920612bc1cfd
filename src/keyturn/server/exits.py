"""What a failure is to whoever runs a command: one sentence, and an exit code to rely on."""

from __future__ import annotations

from typing import Final

from keyturn.core.errors import ConfigurationError, KeyturnError, Unavailable

from .settings import is_setting, variable

__all__ = ["FAILED", "MISCONFIGURED", "UNAVAILABLE", "exit_code", "told"]

FAILED: Final = 1
"""What was asked for cannot be done, or the doctor found something."""
MISCONFIGURED: Final = 2
"""Wrong usage, or a setting, secret or database that cannot be used: trying again is no help."""
UNAVAILABLE: Final = 3
"""The database does not answer: try again later."""


def exit_code(error: KeyturnError) -> int:
    """The exit code that stands for ``error``."""
    if isinstance(error, ConfigurationError):
        return MISCONFIGURED
    return UNAVAILABLE if isinstance(error, Unavailable) else FAILED


def told(error: KeyturnError) -> str:
    """``error`` as a sentence for whoever runs a command, who knows settings by their variables."""
    sentence = str(error)
    if isinstance(error, ConfigurationError) and is_setting(error.setting):
        sentence = variable(error.setting) + sentence.removeprefix(error.setting)
    return sentence
