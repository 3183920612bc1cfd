"""What happened to a session or a user, told in order, in words for an operator."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from keyturn.core.model import EndReason, Event, EventKind, Policy, Session
from keyturn.core.rotation import absolute_end, ending, idle_end

from .output import iso, printable, show

__all__ = ["MOST_EVENTS", "Story", "show_events", "show_story"]

MOST_EVENTS: Final = 1000

_KINDS: Final = {
    EventKind.SIGNED_IN: "signed in",
    EventKind.AUTHENTICATION_FAILED: "a wrong password was given, or the user is disabled",
    EventKind.RECOVERED: "a token was presented again after the window: an answer had been lost,"
    " or somebody holds a copy",
    EventKind.RESUMED: "a token came that the database did not know yet: it had lost its last"
    " commits, as after a failover or a restore",
    EventKind.CLAIMS_CHANGED: "what access tokens say was changed: name, email or permissions",
    EventKind.PASSWORD_CHANGED: "the password was changed",
    EventKind.ENDED: "ended",
}
_REASONS: Final = {
    EndReason.IDLE: "it was not used for KEYTURN_IDLE_TIMEOUT",
    EndReason.ABSOLUTE: "it was KEYTURN_ABSOLUTE_LIFETIME old",
    EndReason.LOGGED_OUT: "the user logged out",
    EndReason.REPLACED: "the same browser signed in again",
    EndReason.REVOKED_BY_USER: "the user ended it from another device",
    EndReason.REVOKED_BY_ADMIN: "an administrator ended it",
    EndReason.PASSWORD_CHANGED: "the password was changed, which ends all sessions of the user",
    EndReason.USER_DISABLED: "the user was disabled",
    EndReason.USER_DELETED: "the user was deleted",
    EndReason.EVICTED: "the user signed in on more devices than KEYTURN_MAX_SESSIONS; this one had"
    " been used least recently",
    EndReason.REUSE_DETECTED: "a refresh token came that was older than the last exchanges",
}
_ADVICE: Final = {
    EndReason.REUSE_DETECTED: "Two parties held copies of this sign-in: a thief and the user, or a"
    " client that restored an old backup of its cookies. Ask the user, and look at the addresses.",
}


@dataclass(frozen=True)
class Story:
    """What is known of a session."""

    sid: str
    session: Session | None
    events: Sequence[Event]
    """Newest first."""
    policy: Policy
    now: int

    @property
    def user_id(self) -> str:
        """Whose it is."""
        return self.session.user_id if self.session else self.events[0].user_id

    @property
    def verdict(self) -> str:
        """How it stands, in a sentence."""
        session = self.session
        if session is None:
            return "Its row has been deleted; this is what is left."
        idle, absolute = idle_end(session, self.policy), absolute_end(session, self.policy)
        at = session.ended_at or min(idle, absolute, self.now)
        reason = session.end_reason or ending(session, at, self.policy)
        if reason is not None:
            told = f"Ended at {iso(at)}: {_REASONS[reason]} ({reason})."
            return " ".join(filter(None, (told, _ADVICE.get(reason))))
        return (
            f"Lives. It ends at {iso(idle)} unless it is used, and at {iso(absolute)} in any case."
        )


def show_story(story: Story, *, as_json: bool) -> None:
    """Print it, the oldest event first."""
    facts = _facts(story)
    if as_json:
        events = [_row(event) for event in reversed(story.events)]
        told = {"sid": story.sid, "verdict": story.verdict, **facts, "events": events}
        click.echo(json.dumps(told, indent=2))
        return
    click.echo(f"Session {story.sid} of user {printable(story.user_id)}.")
    click.echo(story.verdict)
    for name, words in _FACT_NAMES.items():
        if facts[name] not in (None, ""):
            click.echo(f"{words}: {printable(str(facts[name]))}")
    click.echo()
    _tell(story.events, of_session=story.sid)


_FACT_NAMES: Final = {
    "createdAt": "Begun",
    "lastUsed": "Last exchange that turned it",
    "generation": "Turns",
    "address": "Address at sign-in",
    "userAgent": "Program at sign-in",
}


def _facts(story: Story) -> dict[str, Any]:
    session = story.session
    if session is None:
        return {"userId": story.user_id, **dict.fromkeys(_FACT_NAMES)}
    return {
        "userId": story.user_id,
        "createdAt": iso(session.created_at),
        "lastUsed": iso(session.turned_at),
        "generation": session.generation,
        "address": session.device.address,
        "userAgent": session.device.user_agent,
        "endedAt": iso(session.ended_at),
        "endReason": session.end_reason,
    }


def show_events(events: Sequence[Event], *, as_json: bool) -> None:
    """Print events that come newest first, the oldest first."""
    if as_json:
        show([_row(event) for event in reversed(events)], as_json=True)
    else:
        _tell(events)


def _tell(events: Sequence[Event], *, of_session: str | None = None) -> None:
    for event in reversed(events):
        device = event.device
        origin = ", ".join(filter(None, (device.address, device.user_agent)))
        tail = f" [{printable(origin)}]" if origin else ""
        other = event.sid if event.sid != of_session else None
        session = f", session {printable(other)}" if other else ""
        click.echo(f"{iso(event.at)}  {_sentence(event)}{session}{tail}")


def _sentence(event: Event) -> str:
    told = _KINDS[event.kind]
    return f"{told}: {_REASONS[event.reason]} ({event.reason})" if event.reason else told


def _row(event: Event) -> dict[str, Any]:
    return {
        "at": iso(event.at),
        "kind": event.kind,
        "sid": event.sid,
        "reason": event.reason,
        "address": event.device.address,
        "userAgent": event.device.user_agent,
    }
