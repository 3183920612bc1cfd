"""``keyturn sessions why`` and ``keyturn users events``: what happened, in order."""

from __future__ import annotations

import json

import pytest

from keyturn.cli import story
from keyturn.cli.story import Story
from keyturn.core.model import DAY, Device, EndReason, Event, EventKind, Policy, Session
from keyturn.server.assembly import Parts
from keyturn.stores.base import SweepBounds
from keyturn.stores.conformance import NOW, a_session, begin
from tests.commands import Command

FIREFOX = Device(user_agent="Firefox", address="192.0.2.1")
UNKNOWN = "AAAAAAAAAAAAAAAAAAAAAA"


def ended(keyturn: Command) -> str:
    """The id of a session whose copied token came back."""
    tokens = keyturn.sign_in(user_agent="Firefox", address="192.0.2.1")

    async def end(parts: Parts) -> None:
        await parts.sessions.revoke(tokens.session.sid, reason=EndReason.REUSE_DETECTED)

    keyturn.meanwhile(end)
    return tokens.session.sid


def test_why_tells_the_story_of_a_session_in_order(keyturn: Command) -> None:
    sid = ended(keyturn)

    verdict, *_ = told = keyturn.told("sessions", "why", sid).splitlines()[1:]
    assert verdict.startswith("Ended at 20")
    assert "Two parties held copies of this sign-in" in verdict
    assert "Program at sign-in: Firefox" in told
    first, last = told[-2:]
    assert first.endswith("Z  signed in [192.0.2.1, Firefox]")
    assert last.endswith("was older than the last exchanges (reuse_detected)")


def test_why_tells_it_to_programs(keyturn: Command) -> None:
    sid = ended(keyturn)

    told = json.loads(keyturn.told("sessions", "why", sid, "--json"))
    assert (told["sid"], told["endReason"]) == (sid, "reuse_detected")
    assert [event["kind"] for event in told["events"]] == ["signed_in", "ended"]


def test_why_tells_what_is_left_of_a_session_that_was_deleted(keyturn: Command) -> None:
    sid = ended(keyturn)

    async def delete(parts: Parts) -> None:
        bounds = SweepBounds(ended=2**40, created=0, last_used=0, cutoffs=0, events=0)
        await parts.store.sweep(bounds, after="", limit=100)

    keyturn.meanwhile(delete)

    told = keyturn.told("sessions", "why", sid)
    assert "Its row has been deleted; this is what is left." in told
    assert "signed in" in told


@pytest.mark.parametrize("sid", [UNKNOWN, "-", "no id"])
def test_why_of_an_unknown_session_says_where_to_look(keyturn: Command, sid: str) -> None:
    result = keyturn("sessions", "why", sid)

    assert result.exit_code == 1
    assert f"nothing is known of session {sid!r}; `keyturn sessions list USER`" in result.output


def test_events_of_a_user_are_told_in_order(keyturn: Command) -> None:
    sid = ended(keyturn)

    lines = keyturn.told("users", "events", "ada").splitlines()
    assert f"Z  signed in, session {sid} [" in lines[0]
    assert sid in lines[1]
    rows = keyturn.rows("users", "events", "ada@example.com", "--limit", "1")
    assert [row["kind"] for row in rows] == ["ended"]


def test_events_of_a_user_who_was_deleted_are_told_by_the_id(keyturn: Command) -> None:
    [row] = keyturn.rows("users", "list")
    ended(keyturn)
    keyturn.told("users", "delete", "ada", "--yes")

    kinds = [event["kind"] for event in keyturn.rows("users", "events", row["id"])]
    assert kinds == ["signed_in", "ended"]


def test_of_a_user_to_whom_nothing_happened_so_is_said(keyturn: Command) -> None:
    assert "Nothing is known to have happened." in keyturn.told("users", "events", "ada")


def test_events_of_an_unknown_user_are_refused(keyturn: Command) -> None:
    result = keyturn("users", "events", "nobody")

    assert (result.exit_code, "there is no user 'nobody'" in result.output) == (1, True)


def test_what_strangers_sent_commands_no_terminal(keyturn: Command) -> None:
    """H3: whatever a row holds, as one that was written by hand."""
    session = a_session(device=Device(user_agent="\x1b[2JFirefox\n"))
    keyturn.meanwhile(lambda parts: begin(parts.store, session))

    told = keyturn.told("sessions", "why", session.sid)
    assert "?[2JFirefox?" in told
    assert "\x1b" not in told


@pytest.mark.parametrize("kind", EventKind)
def test_every_kind_of_event_has_words(kind: EventKind) -> None:
    assert story._sentence(Event(at=NOW, kind=kind, user_id="ada"))


@pytest.mark.parametrize("reason", EndReason)
def test_every_reason_has_words(reason: EndReason) -> None:
    event = Event(at=NOW, kind=EventKind.ENDED, user_id="ada", sid=UNKNOWN, reason=reason)

    assert story._sentence(event).endswith(f"({reason})")


def verdict_of(session: Session, now: int) -> str:
    return Story(session.sid, session, [], Policy(), now).verdict


def test_a_living_session_says_when_it_will_end() -> None:
    verdict = verdict_of(a_session(created_at=0), 1)

    assert verdict == (
        "Lives. It ends at 1970-01-31T00:00:00Z unless it is used, and at 1970-06-30T00:00:00Z in"
        " any case."
    )


@pytest.mark.parametrize(
    ("turned_at", "end"),
    [(None, "1970-01-31T00:00:00Z: it was not used"), (179 * DAY, "1970-06-30T00:00:00Z: it was")],
)
def test_a_session_whose_time_is_over_ended_then(turned_at: int | None, end: str) -> None:
    """Though its row does not say so before somebody comes with its token."""
    verdict = verdict_of(a_session(created_at=0, turned_at=turned_at), 200 * DAY)

    assert verdict.startswith(f"Ended at {end}")
