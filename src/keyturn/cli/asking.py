"""What commands ask at the terminal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from typing import TypeVar

import click

__all__ = ["confirm", "password_stdin_option", "read_password", "yes_option"]

_Answer = TypeVar("_Answer")

password_stdin_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of input."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def read_password(*, from_stdin: bool) -> str:
    """The password on standard input, or as it is typed, twice."""
    if from_stdin:
        line = sys.stdin.buffer.readline()
        try:
            return line.removesuffix(b"\n").removesuffix(b"\r").decode()
        except UnicodeDecodeError:
            raise click.UsageError("the password on standard input is not UTF-8") from None
    return _ask(
        lambda: str(click.prompt("Password", hide_input=True, confirmation_prompt=True)),
        instead="--password-stdin",
    )


def confirm(question: str) -> None:
    """End the command unless the answer is yes."""
    _ask(lambda: click.confirm(question, abort=True, err=True), instead="--yes", what=question)


def _ask(question: Callable[[], _Answer], *, instead: str, what: str = "") -> _Answer:
    """With asyncio's handler Ctrl+C only cancels the task, which goes unnoticed meanwhile."""
    if not sys.stdin.isatty():
        unasked = f"there is no terminal to ask at: use {instead}"
        raise click.UsageError(f"{what} {unasked}" if what else unasked)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return question()
    finally:
        signal.signal(signal.SIGINT, handler)
