"""``keyturn users``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import click

from .asking import confirm, password_stdin_option, read_password, yes_option
from .failures import Refused
from .importing import import_users
from .output import as_json_option, iso, show, show_one, tell
from .running import with_parts
from .story import MOST_EVENTS, show_events

if TYPE_CHECKING:
    from keyturn.accounts import User
    from keyturn.core.model import Event
    from keyturn.server.assembly import Parts

__all__ = ["find_user", "users"]

_RESET_SECONDS: Final = 3600
_EVENTS: Final = 1000  # that are looked through for the last sign-in


@click.group()
def users() -> None:
    """Add users, look at them, change them, keep them out."""


users.add_command(import_users)


@users.command(epilog="Example: keyturn users add grace grace@example.com 'Grace Hopper'")
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
@password_stdin_option
@as_json_option
@with_parts
async def add(
    parts: Parts,
    username: str,
    email: str,
    fullname: str,
    permissions: tuple[str, ...],
    *,
    password_stdin: bool,
    as_json: bool,
) -> None:
    """Add a user.

    USERNAME or EMAIL is what they sign in with. Asks for the password, twice.
    """
    user = await parts.accounts.register(
        username,
        email,
        fullname,
        read_password(from_stdin=password_stdin),
        permissions=permissions,
    )
    tell(f"Added {user.username}.", _row(user), as_json=as_json)


@users.command(name="list", epilog="Example: keyturn users list --json")
@as_json_option
@with_parts
async def list_users(parts: Parts, *, as_json: bool) -> None:
    """List all users, in the order of their names."""
    show([_row(user) async for user in _all_users(parts)], as_json=as_json)


@users.command(name="show", epilog="Example: keyturn users show ada@example.com")
@click.argument("user")
@as_json_option
@with_parts
async def show_user(parts: Parts, user: str, *, as_json: bool) -> None:
    """Show what is known of a user.

    USER is a username, an email or an id. The last sign-in is told as long as events are kept.
    Attempts are blocked, right or wrong, after failures with the user's names or at their current
    password: `keyturn users unlock` forgets them.
    """
    found = await find_user(parts, user)
    row = {
        "lastSignIn": iso(_last_sign_in(await parts.sessions.events(found.id, limit=_EVENTS))),
        "livingSessions": len(await parts.sessions.list(found.id)),
        "attemptsBlockedUntil": iso(await parts.accounts.blocked_until(found.id)),
    }
    show_one(_row(found) | row, as_json=as_json)


@users.command(name="events", epilog="Example: keyturn users events ada --limit 20")
@click.argument("user")
@click.option("--limit", type=click.IntRange(1, MOST_EVENTS), default=100, show_default=True)
@as_json_option
@with_parts
async def list_events(parts: Parts, user: str, limit: int, *, as_json: bool) -> None:
    """Tell what happened to a user, the newest last.

    USER is a username, an email or an id; of a user who was deleted only the id is kept.
    """
    events = await parts.sessions.events(await _id_of(parts, user), limit=limit)
    show_events(events, as_json=as_json)
    if not events and not as_json:
        click.echo("Nothing is known to have happened.", err=True)


@users.command(epilog="Example: keyturn users disable ada")
@click.argument("user")
@as_json_option
@with_parts
async def disable(parts: Parts, user: str, *, as_json: bool) -> None:
    """Keep a user out.

    USER is a username, an email or an id. All their sessions end, and they cannot sign in.
    """
    found = await find_user(parts, user)
    await parts.accounts.disable(found.id)
    sentence = f"Disabled {found.username}; all their sessions have ended."
    await _tell_of(parts, found, sentence, as_json=as_json)


@users.command(epilog="Example: keyturn users enable ada")
@click.argument("user")
@as_json_option
@with_parts
async def enable(parts: Parts, user: str, *, as_json: bool) -> None:
    """Let a disabled user in again.

    USER is a username, an email or an id.
    """
    found = await find_user(parts, user)
    await parts.accounts.enable(found.id)
    await _tell_of(parts, found, f"Enabled {found.username}.", as_json=as_json)


@users.command(epilog="Example: keyturn users delete ada")
@click.argument("user")
@yes_option
@as_json_option
@with_parts
async def delete(parts: Parts, user: str, *, yes: bool, as_json: bool) -> None:
    """Delete a user for good.

    USER is a username, an email or an id. All their sessions end, and their names are free for
    others. Of sessions and events nothing is kept but the id, which nobody else is ever given.
    """
    found = await find_user(parts, user)
    if not yes:
        confirm(f"Delete {found.username} ({found.email}) for good?")
    await parts.accounts.delete(found.id)
    sentence = f"Deleted {found.username}; all their sessions have ended."
    tell(sentence, _row(found), as_json=as_json)


@users.command(epilog="Example: keyturn users passwd ada")
@click.argument("user")
@password_stdin_option
@as_json_option
@with_parts
async def passwd(parts: Parts, user: str, *, password_stdin: bool, as_json: bool) -> None:
    """Give a user another password.

    USER is a username, an email or an id. Asks for the password, twice. All their sessions end.
    """
    found = await find_user(parts, user)
    await parts.accounts.set_password(found.id, read_password(from_stdin=password_stdin))
    sentence = f"Changed the password of {found.username}; all their sessions have ended."
    tell(sentence, _row(found), as_json=as_json)


@users.command(epilog="Example: keyturn users unlock ada")
@click.argument("user")
@as_json_option
@with_parts
async def unlock(parts: Parts, user: str, *, as_json: bool) -> None:
    """Let a user try again at once after failed attempts.

    USER is a username, an email or an id. Failures with their username, their email and at their
    current password are forgotten; those of the network that they came from are not.
    """
    found = await find_user(parts, user)
    await parts.accounts.unlock(found.id)
    sentence = f"Forgot the failed attempts of {found.username}."
    tell(sentence, _row(found), as_json=as_json)


@users.command(epilog="Example: keyturn users rename ada countess")
@click.argument("user")
@click.argument("username")
@as_json_option
@with_parts
async def rename(parts: Parts, user: str, username: str, *, as_json: bool) -> None:
    """Give a user another username.

    USER is a username, an email or an id. Their sessions live on, and say so from their next
    exchange.
    """
    found = await find_user(parts, user)
    renamed = await parts.accounts.set_profile(found.id, username=username)
    sentence = f"Renamed {found.username} to {renamed.username}."
    tell(sentence, _row(renamed), as_json=as_json)


@users.command(name="set-email", epilog="Example: keyturn users set-email ada countess@example.com")
@click.argument("user")
@click.argument("email")
@as_json_option
@with_parts
async def set_email(parts: Parts, user: str, email: str, *, as_json: bool) -> None:
    """Give a user another email.

    USER is a username, an email or an id. Their sessions live on, and say so from their next
    exchange. A link that resets their password is worthless from now on.
    """
    found = await find_user(parts, user)
    changed = await parts.accounts.set_profile(found.id, email=email)
    sentence = f"Changed the email of {changed.username} to {changed.email}."
    tell(sentence, _row(changed), as_json=as_json)


@users.command(name="reset-link", epilog="Example: keyturn users reset-link ada")
@click.argument("user")
@as_json_option
@with_parts
async def reset_link(parts: Parts, user: str, *, as_json: bool) -> None:
    """Print a link by which a user sets another password.

    USER is a username, an email or an id. The link is good once, for an hour, and takes the place
    of an earlier one. Whoever has it can sign in as the user: see to it that nobody else gets it.
    Using it ends all sessions.
    """
    from keyturn.server.assembly import wire_settings_of

    public_url = wire_settings_of(parts.settings).public_url
    found = await find_user(parts, user)
    expires_at = iso(parts.sessions.now() + _RESET_SECONDS)
    token = await parts.accounts.make_reset_token(found.id, lifetime=_RESET_SECONDS)
    # Behind the # it is in no log: browsers do not send it.
    url = f"{public_url}/reset-password#token={token}"
    if not as_json:
        click.echo(f"Good once, until {expires_at}:", err=True)
    tell(url, {"url": url, "expiresAt": expires_at}, as_json=as_json)


def _row(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "fullname": user.fullname,
        "permissions": list(user.permissions),
        "createdAt": iso(user.created_at),
        "disabledAt": iso(user.disabled_at),
    }


async def _tell_of(parts: Parts, user: User, sentence: str, *, as_json: bool) -> None:
    """As ``tell``, with the user as they are by now."""
    tell(sentence, _row(await parts.accounts.get_user(user.id)), as_json=as_json)


def _last_sign_in(events: Iterable[Event]) -> int | None:
    return next((event.at for event in events if event.kind == "signed_in"), None)


async def _all_users(parts: Parts) -> AsyncIterator[User]:
    after = ""
    while page := await parts.accounts.list_users(after=after):
        for user in page:
            yield user
        after = page[-1].username


async def _id_of(parts: Parts, name: str) -> str:
    """That of ``find_user``, or ``name`` itself if it could be the id of somebody deleted."""
    from keyturn.core.refresh_token import is_sid

    try:
        return (await find_user(parts, name)).id
    except click.ClickException:
        if is_sid(name):
            return name
        raise


async def find_user(parts: Parts, name: str) -> User:
    """The user whose id, username or email is ``name``; the end of the command where there is none.
    An id comes first, so that nobody hides behind a username that looks like one.
    """
    from keyturn.accounts import UserUnknown
    from keyturn.core.refresh_token import is_sid

    with suppress(UserUnknown):
        if is_sid(name):  # an id of a user has the same form
            return await parts.accounts.get_user(name)
    with suppress(UserUnknown):
        return await parts.accounts.find_user(name)
    raise Refused(UserUnknown.code, f"there is no user {name!r}; `keyturn users list` shows all")
