"""How a command that fails says so: a sentence, or JSON for whoever asked for it, on standard
error; and an exit code. Standard output is for what was done.
"""

from __future__ import annotations

import click

from keyturn.core.errors import KeyturnError
from keyturn.server.exits import FAILED, MISCONFIGURED, complaint, exit_code, told

__all__ = ["FAILURES", "Refused", "tell_failure"]

FAILURES = (click.ClickException, click.Abort, KeyturnError, OSError)
"""What ends a command and is told. Anything else is a fault of ours, with a traceback."""


class Refused(click.ClickException):
    """What was asked for cannot be done; ``code`` says why to programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def tell_failure(error: Exception, *, as_json: bool) -> int:
    """Say why a command ends. Returns its exit code."""
    if not as_json and isinstance(error, click.Abort):
        click.echo("Aborted!", err=True)
    elif not as_json and isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
    else:
        click.echo(complaint(_code(error), _sentence(error), as_json=as_json), err=True)
    return _exit_code(error)


def _code(error: Exception) -> str:
    if isinstance(error, KeyturnError | Refused):
        return error.code
    kinds = {click.UsageError: "usage", click.Abort: "aborted", OSError: "file"}
    return next((code for kind, code in kinds.items() if isinstance(error, kind)), "refused")


def _sentence(error: Exception) -> str:
    if isinstance(error, KeyturnError):
        return told(error)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return f"name a command; `{error.ctx.command_path} --help` lists them"
    if isinstance(error, click.UsageError):
        return _of_usage(error)
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, OSError):  # as a rule a file of another user
        return ": ".join(filter(None, (error.filename, error.strerror))) or str(error)
    return "aborted"


def _of_usage(error: click.UsageError) -> str:
    """In one line, whatever choices there are, and with where to read on."""
    sentence = " ".join(error.format_message().split()).removesuffix(".")
    return f"{sentence}; see `{error.ctx.command_path} --help`" if error.ctx else sentence


def _exit_code(error: Exception) -> int:
    if isinstance(error, KeyturnError):
        return exit_code(error)
    if isinstance(error, OSError):
        return MISCONFIGURED
    return error.exit_code if isinstance(error, click.ClickException) else FAILED
