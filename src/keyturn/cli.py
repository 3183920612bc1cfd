"""The command ``keyturn``. Each command opens the database itself, whether a server runs or not."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._version import __version__
from .core.errors import KeyturnError, SessionUnknown
from .server.exits import FAILED, MISCONFIGURED, exit_code, told
from .server.settings import DEFAULT_PORT, Settings, check_binding, load_settings, settings_table

if TYPE_CHECKING:
    from .accounts import User
    from .core.keyring import Keyring
    from .server.assembly import Parts

__all__ = ["main"]

# What a command needs beyond settings is imported when it runs, so that --help answers at once.


class _Commands(click.Group):
    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except KeyturnError as error:
            click.echo(f"Error: {told(error)}", err=True)
            context.exit(exit_code(error))
        except BrokenPipeError:
            raise  # whoever read has gone, which click takes quietly
        except OSError as error:  # as a rule a file of another user
            click.echo(f"Error: {error.filename}: {error.strerror}", err=True)
            context.exit(MISCONFIGURED)


class _ListsSettings(click.Command):
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of settings, under the options."""
        del ctx
        with formatter.section("Settings"):
            formatter.write_text(
                "From the environment, or from FILE in lower case without KEYTURN_. Times are whole"
                " seconds; lists are separated by commas."
            )
            formatter.write_paragraph()
            formatter.write_dl(
                [
                    (name, f"{purpose}. [{default}]" if default else f"{purpose}.")
                    for name, default, purpose in settings_table()
                ]
            )


class _Time(click.ParamType[int]):
    """Unix time in seconds, written as ISO 8601; UTC unless it says otherwise."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            time = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time such as 2026-01-31T08:00Z", param, ctx)
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())


_config = click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="TOML file of settings; the environment wins.",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_password_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of input."
)


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    @_config
    @wraps(command)
    def run(config: Path | None, **arguments: Any) -> None:
        command(load_settings(os.environ, config), **arguments)

    return run


def _with_parts(command: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @_with_settings
    @wraps(command)
    def run(settings: Settings, **arguments: Any) -> None:
        asyncio.run(_run(settings, command, arguments))

    return run


async def _run(
    settings: Settings, command: Callable[..., Awaitable[None]], arguments: dict[str, Any]
) -> None:
    from .server.assembly import open_parts

    parts = await open_parts(settings)
    try:
        await parts.sessions.learn_access_ttl()  # that of the servers may be set otherwise
        await command(parts, **arguments)
    finally:
        await parts.close()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def main() -> None:
    """Keyturn keeps users signed in.

    Settings come from the environment or a TOML file; `keyturn serve --help` lists them. Commands
    work whether a server is running or not, and running servers follow within a second.

    Exit codes: 0 done; 1 cannot be done, or the doctor found something; 2 wrong usage, or a
    setting, secret or database that cannot be used; 3 the database does not answer, try again.
    """


# ── init, serve, doctor ─────────────────────────────────────────────────────────────────────────


@main.command()
@_with_settings
def init(settings: Settings) -> None:
    """Make what is missing of secret, database and signing key.

    What exists is left as it is, but for tables of an older release, which are brought up to date.
    On a file of SQLite `keyturn serve` does this by itself on its first run, unless secrets are
    configured. On PostgreSQL the database itself must exist, and only this makes tables in it.
    """
    from .server.assembly import prepare
    from .server.databases import name_of

    asyncio.run(prepare(settings, create=True))
    click.echo(f"Ready, with database {name_of(settings)}; start with `keyturn serve`.")


@main.command(cls=_ListsSettings)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Port to listen on; 0 is any free one.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes that answer.",
)
@_config
def serve(host: str, port: int, workers: int, config: Path | None) -> None:
    """Answer HTTP requests until told to stop.

    The first run makes a secret and a database. SIGTERM and SIGINT (Ctrl+C) stop it once the
    requests in flight are answered. TLS is the business of a proxy in front; an address other than
    loopback needs KEYTURN_PUBLIC_URL to be https.
    """
    from .server.assembly import check_settings
    from .server.logs import configure_logs
    from .server.run import serve as serve_until_told

    settings = load_settings(os.environ, config, port=port or DEFAULT_PORT)
    check_settings(settings)
    check_binding(settings, host)
    listener = _listen(host, port)
    if not port:  # which one it became is part of the default public URL
        settings = load_settings(os.environ, config, port=listener.getsockname()[1])
    configure_logs(settings.log_level, settings.log_format)
    sys.exit(serve_until_told(settings, listener, workers))


def _listen(host: str, port: int) -> socket.socket:
    from .server.run import listen

    try:
        return listen(host, port)
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]
        raise click.ClickException(
            f"cannot listen on {host} port {port}: {why}; choose others with --host and --port"
        ) from None


@main.command()
@_with_settings
def doctor(settings: Settings) -> None:
    """Look for what is wrong, and say what to change.

    Looks at settings, modes of files, secrets, clock, the database, and whether the secrets open
    its signing keys. Changes nothing. Exits with 1 if something is wrong.
    """
    from .server.doctor import examine

    findings = asyncio.run(examine(settings))
    for subject, advice in findings:
        click.echo(f"WRONG {subject}: {advice}" if advice else f"ok    {subject}")
    if any(advice for _, advice in findings):
        sys.exit(FAILED)


# ── users ───────────────────────────────────────────────────────────────────────────────────────


@main.group()
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
@_with_parts
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
@_as_json
@_with_parts
async def list_users(parts: Parts, *, as_json: bool) -> None:
    """List all users, in the order of their names."""
    rows = [
        {
            "id": user.id,
            "username": user.username,
            "email": user.email,
            "fullname": user.fullname,
            "permissions": list(user.permissions),
            "createdAt": _iso(user.created_at),
            "disabledAt": _iso(user.disabled_at),
        }
        async for user in _all_users(parts)
    ]
    _show(rows, as_json=as_json)


@users.command()
@click.argument("user")
@_with_parts
async def disable(parts: Parts, user: str) -> None:
    """Keep a user out.

    USER is a username or email. All their sessions end, and they cannot sign in.
    """
    found = await _find(parts, user)
    await parts.accounts.disable(found.id)
    click.echo(f"Disabled {found.username}; all their sessions have ended.")


@users.command()
@click.argument("user")
@_with_parts
async def enable(parts: Parts, user: str) -> None:
    """Let a disabled user in again.

    USER is a username or email.
    """
    found = await _find(parts, user)
    await parts.accounts.enable(found.id)
    click.echo(f"Enabled {found.username}.")


@users.command()
@click.argument("user")
@_password_stdin
@_with_parts
async def passwd(parts: Parts, user: str, *, password_stdin: bool) -> None:
    """Give a user another password.

    USER is a username or email. Asks for the password, twice. All their sessions end.
    """
    found = await _find(parts, user)
    await parts.accounts.set_password(found.id, _read_password(from_stdin=password_stdin))
    click.echo(f"Changed the password of {found.username}; all their sessions have ended.")


async def _all_users(parts: Parts) -> AsyncIterator[User]:
    after = ""
    while page := await parts.accounts.list_users(after=after):
        for user in page:
            yield user
        after = page[-1].username


async def _find(parts: Parts, name: str) -> User:
    from .accounts import UserUnknown

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


# ── sessions ────────────────────────────────────────────────────────────────────────────────────


@main.group()
def sessions() -> None:
    """List the sessions of users, end them, void their access tokens."""


@sessions.command(name="list")
@click.argument("user")
@_as_json
@_with_parts
async def list_sessions(parts: Parts, user: str, *, as_json: bool) -> None:
    """List the living sessions of a user, newest first.

    USER is a username or email.
    """
    found = await _find(parts, user)
    rows = [
        {
            "sid": session.sid,
            "createdAt": _iso(session.created_at),
            "lastUsed": _iso(session.last_used_at),
            "address": session.device.address,
            "userAgent": session.device.user_agent,
        }
        for session in await parts.sessions.list(found.id)
    ]
    _show(rows, as_json=as_json)
    if not rows and not as_json:
        click.echo("No sessions.", err=True)


# An id of a session may begin with a dash.
@sessions.command(context_settings={"ignore_unknown_options": True})
@click.argument("sids", metavar="[SID]...", nargs=-1)
@click.option("--user", metavar="USER", help="End all sessions of this user.")
@click.option(
    "--since",
    metavar="TIME",
    type=_Time(),
    help="End all sessions begun or exchanged at TIME (UTC, 2026-01-31T08:00Z) or later.",
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Emergency: void all access tokens at once, then end all sessions of all users.",
)
@_with_parts
async def revoke(
    parts: Parts, sids: tuple[str, ...], user: str | None, since: int | None, *, everything: bool
) -> None:
    """End sessions: some, those of a user, those since a time, or all.

    SID is as `keyturn sessions list` and the security log show it. Running servers refuse the
    access tokens within a second.
    """
    if [bool(sids), user is not None, since is not None, everything].count(True) != 1:
        raise click.UsageError("name SIDs, --user USER, --since TIME or --all")
    if sids:
        await _revoke(parts, sids)
        return
    if user is not None:
        ended = await parts.sessions.revoke_all((await _find(parts, user)).id)
    elif since is not None:
        ended = await parts.sessions.revoke_since(since)
    else:
        await parts.sessions.void_all()
        ended = await parts.sessions.revoke_since(0)
    _tell_ended(ended)


async def _revoke(parts: Parts, sids: Sequence[str]) -> None:
    """One that is unknown does not save the others."""
    unknown = []
    for sid in sids:
        try:
            await parts.sessions.revoke(sid)
        except SessionUnknown:
            unknown.append(repr(sid))
    if len(unknown) < len(sids):
        _tell_ended(len(sids) - len(unknown))
    if unknown:
        raise click.ClickException(
            f"there is no session {', '.join(unknown)}; `keyturn sessions list USER` shows them"
        )


def _tell_ended(count: int) -> None:
    click.echo(f"Ended {count} session{'' if count == 1 else 's'}.")


@sessions.command()
@_with_parts
async def void(parts: Parts) -> None:
    """Void all access tokens of all users.

    For when some may have leaked. Running servers refuse those issued until now, within a second.
    Sessions live on: clients exchange their refresh tokens and go on.
    """
    await parts.sessions.void_all()
    click.echo("Voided all access tokens issued until now.")


# ── keys and secrets ────────────────────────────────────────────────────────────────────────────


@main.group()
def keys() -> None:
    """The keys that sign access tokens."""


@keys.command(name="list")
@_as_json
@_with_parts
async def list_keys(parts: Parts, *, as_json: bool) -> None:
    """List the signing keys.

    One signs; newer ones are to come, older ones only check the tokens that they signed.
    """
    keyring = await _keyring(parts)
    now = parts.sessions.now()
    rows = [
        {
            "kid": key.kid,
            "algorithm": key.algorithm,
            "createdAt": _iso(key.created_at),
            "signsFrom": _iso(key.use_from),
            "state": "to come" if key.use_from > now else "checks only",
        }
        | ({"state": "signs"} if key is keyring.signing_key(now) else {})
        for key in keyring.keys
    ]
    _show(rows, as_json=as_json)


@keys.command()
@click.option(
    "--now", is_flag=True, help="Drop all other keys at once: for when they may have leaked."
)
@_with_parts
async def rotate(parts: Parts, *, now: bool) -> None:
    """Make a new signing key, of the configured algorithm.

    It is published now and signs in a quarter of an hour, when all copies of the public keys know
    it. The old one checks until its last token has ended, and is then dropped. Nobody notices.

    With --now it signs at once, and access tokens that older keys signed are refused: clients
    exchange their refresh tokens and go on. Running servers follow within a second; other
    services, when they fetch the public keys anew.
    """
    await _keyring(parts)  # a key sealed under another secret would be one that no server opens
    kid = await parts.sessions.rotate_keys()
    keyring = parts.sessions.keyring
    [key] = [key for key in keyring.keys if key.kid == kid]
    signs = f"it signs from {_iso(key.use_from)}"
    if now:  # a key that is alone signs whatever its time of first use
        others = [each.kid for each in keyring.keys if each is not key]
        await parts.store.drop_signing_keys(others)
        signs = "it signs at once, and the others are dropped"
    click.echo(f"Made {key.algorithm} key {kid}; {signs}.")


async def _keyring(parts: Parts) -> Keyring:
    from .core.keyring import Keyring
    from .signing_keys import open_key

    stored = await parts.store.signing_keys()
    return Keyring(open_key(key, parts.sessions.secrets) for key in stored)


@main.group()
def secrets() -> None:
    """The server's secrets."""


@secrets.command()
@click.argument("file", type=click.Path(path_type=Path))
def new(file: Path) -> None:
    """Write a new secret into a new file.

    To change the secret so that nobody notices: name the new file in second place of
    KEYTURN_SECRET_FILE (old,new) and restart all servers; then in first place (new,old) and
    restart; then, once KEYTURN_ABSOLUTE_LIFETIME has passed and `keyturn doctor` finds nothing
    wrong, take the old one away.

    SECURITY.md says what to do if the secret was stolen.
    """
    from .server.secret_files import make_secret_file

    make_secret_file(file)
    click.echo(f"Wrote a secret into {file}.")


# ── output ──────────────────────────────────────────────────────────────────────────────────────


def _iso(time: int | None) -> str | None:
    return None if time is None else f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _show(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif rows:
        cells = [tuple(rows[0]), *(tuple(map(_cell, row.values())) for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line in cells:
            padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            click.echo("  ".join(padded).rstrip())


def _cell(value: Any) -> str:
    """Without what could command the terminal: some of it was sent by strangers."""
    text = " ".join(value) if isinstance(value, list) else str("" if value is None else value)
    return "".join(character if character.isprintable() else "?" for character in text)
