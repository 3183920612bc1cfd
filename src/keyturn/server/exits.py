"""What a failure is to whoever runs a command: one sentence, and an exit code to rely on."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Final

from keyturn.core.errors import ConfigurationError, KeyturnError, Unavailable

from .settings import is_setting, variable

__all__ = [
    "DONE",
    "FAILED",
    "MEANINGS",
    "MISCONFIGURED",
    "UNAVAILABLE",
    "complain",
    "complaint",
    "exit_code",
    "told",
]

DONE: Final = 0
FAILED: Final = 1
MISCONFIGURED: Final = 2
UNAVAILABLE: Final = 3

MEANINGS: Final[Mapping[int, str]] = {
    DONE: "Done.",
    FAILED: "What was asked for cannot be done, or the doctor found something.",
    MISCONFIGURED: "Wrong usage, or a setting, secret, file or database that cannot be used: trying"
    " again is no help.",
    UNAVAILABLE: "The database does not answer: try again later.",
}
"""Of the exit codes of all commands. They never change."""


def exit_code(error: KeyturnError) -> int:
    """The exit code that stands for ``error``."""
    if isinstance(error, ConfigurationError):
        return MISCONFIGURED
    return UNAVAILABLE if isinstance(error, Unavailable) else FAILED


def told(error: KeyturnError) -> str:
    """``error`` as a sentence for whoever runs a command, who knows settings by their variables."""
    sentence = str(error)
    if isinstance(error, ConfigurationError) and is_setting(error.setting):
        sentence = _name(error.setting) + sentence.removeprefix(error.setting)
    return sentence


def _name(setting: str) -> str:
    """The secrets are from one of two settings, and whoever finds them wanting knows them alone."""
    names = ("secret", "secret_file") if setting == "secret" else (setting,)
    return " or ".join(map(variable, names))


def complaint(code: str, sentence: str, *, as_json: bool) -> str:
    """The line on standard error that says what failed, for people or for programs."""
    if as_json:
        return json.dumps({"error": {"code": code, "message": sentence}})
    return f"Error: {sentence}"


def complain(error: KeyturnError, *, as_json: bool) -> None:
    """Say on standard error why a process ends, in one write: others may be writing there at once,
    and their lines would run into each other.
    """
    sys.stderr.write(f"{complaint(error.code, told(error), as_json=as_json)}\n")
