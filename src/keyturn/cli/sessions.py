"""``keyturn sessions``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from keyturn.core.errors import SessionUnknown

from .failures import Refused
from .output import as_json_option, iso, show, tell
from .running import TAKES_IDS, with_parts
from .story import MOST_EVENTS, Story, show_story
from .users import find_user

if TYPE_CHECKING:
    from keyturn.core.model import Session
    from keyturn.server.assembly import Parts

__all__ = ["sessions"]


class _Time(click.ParamType[int]):
    """Unix time in seconds, written as ISO 8601; UTC unless it says otherwise."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            time = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time such as 2026-01-31T08:00Z", param, ctx)
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())


@click.group()
def sessions() -> None:
    """List sessions, end them, void access tokens."""


@sessions.command(name="list", epilog="Example: keyturn sessions list ada")
@click.argument("user", required=False)
@click.option(
    "--since",
    metavar="TIME",
    type=_Time(),
    help="Of all users, begun or exchanged at TIME (UTC, 2026-01-31T08:00Z) or later.",
)
@click.option("--all", "everything", is_flag=True, help="Of all users.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True)
@as_json_option
@with_parts
async def list_sessions(
    parts: Parts,
    user: str | None,
    since: int | None,
    limit: int,
    *,
    everything: bool,
    as_json: bool,
) -> None:
    """List the living sessions of a user, newest first, or of all.

    USER is a username, an email or an id.
    """
    if [user is not None, since is not None, everything].count(True) != 1:
        raise click.UsageError("name a USER, --since TIME or --all")
    if user is not None:
        found = (await parts.sessions.list((await find_user(parts, user)).id))[:limit]
    else:
        found = await parts.sessions.list_all(since=since or 0, limit=limit)
    rows = [_row(session) for session in found]
    show(rows, as_json=as_json)
    if not rows and not as_json:
        click.echo("No sessions.", err=True)


def _row(session: Session) -> dict[str, Any]:
    return {
        "sid": session.sid,
        "userId": session.user_id,
        "createdAt": iso(session.created_at),
        "lastUsed": iso(session.last_used_at),
        "address": session.device.address,
        "userAgent": session.device.user_agent,
    }


@sessions.command(context_settings=TAKES_IDS, epilog="Example: keyturn sessions why SID")
@click.argument("sid")
@as_json_option
@with_parts
async def why(parts: Parts, sid: str, *, as_json: bool) -> None:
    """Tell what became of a session, and why, in order.

    SID is as `keyturn sessions list`, `keyturn users events` and the log show it. A session is kept
    for a week after its end, what happened to it for KEYTURN_EVENT_RETENTION.
    """
    session, events = await parts.sessions.history(sid, limit=MOST_EVENTS)
    if session is None and not events:
        raise Refused(
            SessionUnknown.code,
            f"nothing is known of session {sid!r}; `keyturn sessions list USER` shows those that"
            " live, `keyturn users events USER` those that lived",
        )
    story = Story(sid, session, events, parts.sessions.policy, parts.sessions.now())
    show_story(story, as_json=as_json)


@sessions.command(context_settings=TAKES_IDS, epilog="Example: keyturn sessions revoke --user ada")
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
@as_json_option
@with_parts
async def revoke(
    parts: Parts,
    sids: tuple[str, ...],
    user: str | None,
    since: int | None,
    *,
    everything: bool,
    as_json: bool,
) -> None:
    """End sessions: some, those of a user, those since a time, or all.

    SID is as `keyturn sessions list` and the security log show it. Running servers refuse the
    access tokens within a second.
    """
    if [bool(sids), user is not None, since is not None, everything].count(True) != 1:
        raise click.UsageError("name SIDs, --user USER, --since TIME or --all")
    if sids:
        await _revoke(parts, sids, as_json=as_json)
        return
    if user is not None:
        ended = await parts.sessions.revoke_all((await find_user(parts, user)).id)
    elif since is not None:
        ended = await parts.sessions.revoke_since(since)
    else:
        await parts.sessions.void_all()
        ended = await parts.sessions.revoke_since(0)
    _tell_ended(ended, as_json=as_json)


async def _revoke(parts: Parts, sids: Sequence[str], *, as_json: bool) -> None:
    """One that is unknown does not save the others."""
    unknown = []
    for sid in sids:
        try:
            await parts.sessions.revoke(sid)
        except SessionUnknown:
            unknown.append(repr(sid))
    if len(unknown) < len(sids):
        _tell_ended(len(sids) - len(unknown), as_json=as_json)
    if unknown:
        raise Refused(
            SessionUnknown.code,
            f"there is no session {', '.join(unknown)}; `keyturn sessions list USER` shows them",
        )


def _tell_ended(count: int, *, as_json: bool) -> None:
    sentence = f"Ended {count} session{'' if count == 1 else 's'}."
    tell(sentence, {"ended": count}, as_json=as_json)


@sessions.command(epilog="Example: keyturn sessions void")
@as_json_option
@with_parts
async def void(parts: Parts, *, as_json: bool) -> None:
    """Void all access tokens of all users.

    For when some may have leaked. Running servers refuse those issued until now, within a second.
    Sessions live on: clients exchange their refresh tokens and go on.
    """
    until = iso(parts.sessions.now())
    await parts.sessions.void_all()
    tell("Voided all access tokens issued until now.", {"issuedUntil": until}, as_json=as_json)
