"""Devices and events in words, and no more exactly than is wise."""

from __future__ import annotations

import pytest

from keyturn.core.model import DAY, Device, EndReason, Event, EventKind, Session
from keyturn.server.pages.account import devices_of, happenings_of
from keyturn.server.pages.rendering import read_texts
from tests.support import START

TEXTS = read_texts()
NOON = START - START % DAY + DAY // 2
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
        session("old", turned_at=NOON - 2 * DAY, created_at=NOON - 4 * DAY),
        session("new", turned_at=NOON - DAY, created_at=NOON - 4 * DAY),
        session("this", turned_at=NOON - 3 * DAY, created_at=NOON - 4 * DAY),
    ]

    devices = devices_of(sessions, "this", NOON, TEXTS)

    assert [device.sid for device in devices] == ["this", "new", "old"]
    assert [device.last_used for device in devices] == [
        "",
        "Last used yesterday",
        "Last used 2 days ago",
    ]


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (-1, "Used today"),
        (0, "Used today"),
        (1, "Last used yesterday"),
        (2, "Last used 2 days ago"),
        (30, "Last used 30 days ago"),
    ],
)
def test_last_use_is_told_by_the_day(days: int, words: str) -> None:
    """G4: whatever the hour, now or then, a thief learns no more than the day."""
    midnight = NOON - DAY // 2
    told = {
        devices_of(
            [session("x", created_at=midnight - days * DAY + second)], "", midnight + later, TEXTS
        )[0].last_used
        for second in (0, 1, DAY - 1)
        for later in (0, 1, DAY - 1)
    }

    assert told == {words}


@pytest.mark.parametrize("kind", [EventKind.RECOVERED, EventKind.RESUMED])
def test_an_event_that_is_an_exchange_is_told_by_the_day(kind: EventKind) -> None:
    """G4: as the last use is, and when that day is over; a sign-in is told as it was."""
    exchange = Event(at=NOON + 1234, kind=kind, user_id="ada", sid="x")
    sign_in = Event(at=NOON + 1234, kind=EventKind.SIGNED_IN, user_id="ada", sid="x")

    told, told_tomorrow = (
        [happening.at for happening in happenings_of([exchange, sign_in], [], now, TEXTS)]
        for now in (NOON + 1234, NOON + DAY // 2)
    )

    assert told == [NOON + 1234]
    assert told_tomorrow == [NOON - DAY // 2, NOON + 1234]


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

    told = happenings_of(events, [session("living")], NOON + DAY, TEXTS)

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

    (told,) = happenings_of([event], [], NOON, TEXTS)

    assert told.text == TEXTS["ends"][reason]
    assert TEXTS["reasons"][reason]
    assert (told.tone == "alarm") == (reason is EndReason.REUSE_DETECTED)


@pytest.mark.parametrize("kind", list(EventKind))
def test_every_kind_of_event_has_words(kind: EventKind) -> None:
    """A new one is given some first."""
    (told,) = happenings_of([Event(at=NOON, kind=kind, user_id="ada")], [], NOON + DAY, TEXTS)

    assert told.text
