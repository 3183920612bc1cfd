"""Devices and events in words, and no more exactly than is wise."""

from __future__ import annotations

import pytest

from keyturn.core.model import Device, EndReason, Event, EventKind, Session
from keyturn.server.pages.account import devices_of, happenings_of
from keyturn.server.pages.rendering import read_texts
from tests.support import START

TEXTS = read_texts()
HOUR = 3600
NOON = START - START % HOUR
FIREFOX = Device(user_agent="Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", address="192.0.2.1")


def session(sid: str, *, created_at: int = NOON, turned_at: int | None = None) -> Session:
    return Session(
        sid=sid,
        user_id="ada",
        secret=None,
        created_at=created_at,
        turned_at=turned_at,
        device=FIREFOX,
    )


def test_the_current_device_comes_first_then_those_used_last() -> None:
    """When the current one was used is not told."""
    sessions = [
        session("old", turned_at=NOON - 50 * HOUR, created_at=NOON - 90 * HOUR),
        session("new", turned_at=NOON - HOUR, created_at=NOON - 90 * HOUR),
        session("this", turned_at=NOON - 70 * HOUR, created_at=NOON - 90 * HOUR),
    ]

    devices = devices_of(sessions, "this", NOON, TEXTS)

    assert [device.sid for device in devices] == ["this", "new", "old"]
    assert [device.last_used for device in devices] == [
        "",
        "Last used an hour ago",
        "Last used 2 days ago",
    ]


@pytest.mark.parametrize(
    ("ago", "words"),
    [
        (-HOUR, "Used within the last hour"),
        (0, "Used within the last hour"),
        (1, "Last used an hour ago"),
        (2 * HOUR, "Last used 2 hours ago"),
        (23 * HOUR, "Last used 23 hours ago"),
        (24 * HOUR, "Last used yesterday"),
        (47 * HOUR, "Last used yesterday"),
        (48 * HOUR, "Last used 2 days ago"),
        (720 * HOUR, "Last used 30 days ago"),
    ],
)
def test_last_use_is_told_by_the_hour(ago: int, words: str) -> None:
    """G4: whatever the minute, now or then, a thief learns no more than the hour."""
    used_at = NOON - ago
    told = {
        devices_of(
            [session("x", created_at=used_at - used_at % HOUR + second)], "", NOON + later, TEXTS
        )[0].last_used
        for second in (0, 1, HOUR - 1)
        for later in (0, 1, HOUR - 1)
    }

    assert told == {words}


@pytest.mark.parametrize("kind", [EventKind.RECOVERED, EventKind.RESUMED])
def test_an_event_that_is_an_exchange_is_told_by_the_hour(kind: EventKind) -> None:
    """As ``lastUsed`` is; a sign-in is told as it was."""
    exchange = Event(at=NOON + 1234, kind=kind, user_id="ada", sid="x")
    sign_in = Event(at=NOON + 1234, kind=EventKind.SIGNED_IN, user_id="ada", sid="x")

    told = happenings_of([exchange, sign_in], [], TEXTS)

    assert [happening.at for happening in told] == [NOON, NOON + 1234]


def test_an_event_names_the_device_of_its_session() -> None:
    """From the living session, or from the sign-in among the events."""
    events = [
        Event(at=NOON, kind=EventKind.RECOVERED, user_id="ada", sid="living"),
        Event(at=NOON, kind=EventKind.ENDED, user_id="ada", sid="gone", reason=EndReason.EVICTED),
        Event(at=NOON, kind=EventKind.SIGNED_IN, user_id="ada", sid="gone", device=FIREFOX),
        Event(at=NOON, kind=EventKind.RECOVERED, user_id="ada", sid="forgotten"),
        Event(at=NOON, kind=EventKind.PASSWORD_CHANGED, user_id="ada", device=FIREFOX),
        Event(at=NOON, kind=EventKind.CLAIMS_CHANGED, user_id="ada"),
    ]

    told = happenings_of(events, [session("living")], TEXTS)

    firefox, nothing = ("Firefox on Linux", "192.0.2.1"), ("", "")
    assert [(happening.device, happening.address) for happening in told] == [
        firefox,
        firefox,
        firefox,
        nothing,
        firefox,
        nothing,
    ]


@pytest.mark.parametrize("reason", list(EndReason))
def test_every_end_has_words(reason: EndReason) -> None:
    """Both in the list of what happened and for whoever was signed out; a copy alarms."""
    event = Event(at=NOON, kind=EventKind.ENDED, user_id="ada", sid="x", reason=reason)

    (told,) = happenings_of([event], [], TEXTS)

    assert told.text == TEXTS["ends"][reason]
    assert TEXTS["reasons"][reason]
    assert (told.tone == "alarm") == (reason is EndReason.REUSE_DETECTED)


@pytest.mark.parametrize("kind", list(EventKind))
def test_every_kind_of_event_has_words(kind: EventKind) -> None:
    """A new one is given some first."""
    (told,) = happenings_of([Event(at=NOON, kind=kind, user_id="ada")], [], TEXTS)

    assert told.text
