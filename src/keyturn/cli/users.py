"""``keyturn users``."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import click

from .output import as_json_option, iso, show
from .running import with_parts

if TYPE_CHECKING:
    from keyturn.accounts import User
    from keyturn.server.assembly import Parts

__all__ = ["find_user", "users"]

_password_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of input."
)


@click.group()
def users() -> None:
    """Add users, list them, keep them out, let them in."""


@users.command()
@click.argument("username")
@click.argument("email")
@click.argument("fullname")
@click.option(
    "--permission",
    "permissions",
    multiple=True,
    metavar="WORD",
    help="A permission that the user's access tokens carry; may be repeated.",
)
@_password_stdin
@with_parts
async def add(
    parts: Parts,
    username: str,
    email: str,
    fullname: str,
    permissions: tuple[str, ...],
    *,
    password_stdin: bool,
) -> None:
    """Add a user.

    USERNAME or EMAIL is what they sign in with. Asks for the password, twice.
    """
    user = await parts.accounts.register(
        username,
        email,
        fullname,
        _read_password(from_stdin=password_stdin),
        permissions=permissions,
    )
    click.echo(f"Added {user.username}.")


@users.command(name="list")
@as_json_option
@with_parts
async def list_users(parts: Parts, *, as_json: bool) -> None:
    """List all users, in the order of their names."""
    rows = [
        {
            "id": user.id,
            "username": user.username,
            "email": user.email,
            "fullname": user.fullname,
            "permissions": list(user.permissions),
            "createdAt": iso(user.created_at),
            "disabledAt": iso(user.disabled_at),
        }
        async for user in _all_users(parts)
    ]
    show(rows, as_json=as_json)


@users.command()
@click.argument("user")
@with_parts
async def disable(parts: Parts, user: str) -> None:
    """Keep a user out.

    USER is a username or email. All their sessions end, and they cannot sign in.
    """
    found = await find_user(parts, user)
    await parts.accounts.disable(found.id)
    click.echo(f"Disabled {found.username}; all their sessions have ended.")


@users.command()
@click.argument("user")
@with_parts
async def enable(parts: Parts, user: str) -> None:
    """Let a disabled user in again.

    USER is a username or email.
    """
    found = await find_user(parts, user)
    await parts.accounts.enable(found.id)
    click.echo(f"Enabled {found.username}.")


@users.command()
@click.argument("user")
@_password_stdin
@with_parts
async def passwd(parts: Parts, user: str, *, password_stdin: bool) -> None:
    """Give a user another password.

    USER is a username or email. Asks for the password, twice. All their sessions end.
    """
    found = await find_user(parts, user)
    await parts.accounts.set_password(found.id, _read_password(from_stdin=password_stdin))
    click.echo(f"Changed the password of {found.username}; all their sessions have ended.")


async def _all_users(parts: Parts) -> AsyncIterator[User]:
    after = ""
    while page := await parts.accounts.list_users(after=after):
        for user in page:
            yield user
        after = page[-1].username


async def find_user(parts: Parts, name: str) -> User:
    """The user whose username or email is ``name``; the end of the command where there is none."""
    from keyturn.accounts import UserUnknown

    try:
        return await parts.accounts.find_user(name)
    except UserUnknown:
        raise click.ClickException(
            f"there is no user {name!r}; `keyturn users list` shows all"
        ) from None


def _read_password(*, from_stdin: bool) -> str:
    if from_stdin:
        line = sys.stdin.buffer.readline()
        try:
            return line.removesuffix(b"\n").removesuffix(b"\r").decode()
        except UnicodeDecodeError:
            raise click.UsageError("the password on standard input is not UTF-8") from None
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask at: use --password-stdin")
    return _ask_password()


def _ask_password() -> str:
    """With asyncio's handler Ctrl+C only cancels the task, which goes unnoticed meanwhile."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))
    finally:
        signal.signal(signal.SIGINT, handler)
