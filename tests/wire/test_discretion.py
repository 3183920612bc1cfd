"""That nobody is told when to follow: of the uses of a session those before the last midnight."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Final

import pytest

from keyturn.core.errors import RefreshTokenReused
from keyturn.core.model import DAY, Event, EventKind, Session
from keyturn.wire.discretion import happened_at, is_told, last_used_at
from tests.support import START, Clock
from tests.wire.support import Site, site

HOUR: Final = 3600
MIDNIGHT: Final = START - START % DAY

RHYTHMS: Final = {
    "every few minutes": (60, 20 * 60),
    "every two hours": (HOUR, 3 * HOUR),
    "daily": (18 * HOUR, 30 * HOUR),
    "every few days": (2 * DAY, 5 * DAY),
    "every two weeks": (10 * DAY, 18 * DAY),
}
MANY: Final = 6
"""Uses of a session beside a thief, after which it is clear that he is not seen."""


class Thief:
    """Has a copy of a cookie, and another session of the same user, in which he can look at all
    that users are told of their devices.
    """

    def __init__(self, here: Site, copy: str, spy: str) -> None:
        self._here = here
        self._copy = copy
        self._spy = spy
        self._told: object = None
        self.is_in = False

    async def look(self) -> None:
        """Follow if anything is told that was not told before."""
        spying = await self._here.sessions.refresh(self._spy)
        self._spy = spying.refresh_token
        answer = await self._here.ask("GET", "/me/export", bearer=spying.access_token)
        told = (answer.data["sessions"], answer.data["events"])
        if self._told not in (None, told):
            await self.follow()
        self._told = told

    async def follow(self) -> None:
        """Exchange what he has."""
        self._copy = (await self._here.sessions.refresh(self._copy)).refresh_token
        self.is_in = True


async def uses_beside(pauses: tuple[int, int], seed: int, *, polls: bool) -> int:
    """How often the victim exchanges, once the thief has, until the session is over. He polls, or
    comes as often as the victim does.
    """
    clock, at_random, uses = Clock(), random.Random(seed), 0

    def later() -> int:
        return int(clock.now) + at_random.randint(*pauses)

    async with site(clock) as here:
        jar = (await here.log_in()).refresh_token
        thief = Thief(here, jar, (await here.log_in()).refresh_token)
        use_at, luck_at = later(), later()
        with suppress(RefreshTokenReused):
            while uses < MANY:
                midnight = (clock.now // DAY + 1) * DAY
                clock.now = min(use_at, midnight if polls else luck_at)
                if clock.now == use_at:
                    jar = (await here.sessions.refresh(jar)).refresh_token
                    use_at, uses = later(), uses + thief.is_in
                if polls:
                    await thief.look()
                elif clock.now == luck_at:
                    await thief.follow()
                    luck_at = later()
        return uses


@pytest.mark.parametrize("pauses", RHYTHMS.values(), ids=RHYTHMS.keys())
async def test_a_thief_who_polls_is_seen_as_soon_as_one_by_luck(pauses: tuple[int, int]) -> None:
    """G4: whatever he reads, at whichever moment, and however often the device is used."""
    polling = [await uses_beside(pauses, seed, polls=True) for seed in range(6)]
    by_luck = [await uses_beside(pauses, seed, polls=False) for seed in range(6)]

    assert max(polling) <= max(by_luck) < MANY


def session(*, created_at: int, turned_at: int | None = None, before: int | None = None) -> Session:
    return Session(
        sid="x",
        user_id="ada",
        secret=None,
        created_at=created_at,
        turned_at=turned_at,
        used_before=before,
    )


@pytest.mark.parametrize("second", [0, 1, HOUR, DAY - 1])
def test_last_use_is_told_when_its_day_is_over(second: int) -> None:
    """G4: by the day; until then the use before that day is told, or the sign-in."""
    old, now = MIDNIGHT - 5 * DAY, MIDNIGHT + DAY - 1
    uses = [
        session(created_at=old - second, turned_at=MIDNIGHT - DAY + second, before=old),
        session(
            created_at=old - second, turned_at=MIDNIGHT + second, before=MIDNIGHT - 2 * DAY + second
        ),
        session(created_at=MIDNIGHT - 3 * DAY + second, turned_at=MIDNIGHT + second),
        session(created_at=MIDNIGHT + second),
    ]

    told = [(last_used_at(used, now) - MIDNIGHT) // DAY for used in uses]

    assert told == [-1, -2, -3, 0]


@pytest.mark.parametrize("kind", [EventKind.RECOVERED, EventKind.RESUMED])
def test_an_event_that_is_an_exchange_is_told_when_its_day_is_over(kind: EventKind) -> None:
    """As ``lastUsed`` is; a sign-in is told at once, and as it was."""
    exchange = Event(at=MIDNIGHT + 1234, kind=kind, user_id="ada", sid="x")
    sign_in = Event(at=MIDNIGHT + 1234, kind=EventKind.SIGNED_IN, user_id="ada", sid="x")

    assert [is_told(exchange, MIDNIGHT + at) for at in (1234, DAY - 1, DAY)] == [False, False, True]
    assert is_told(sign_in, MIDNIGHT + 1234)
    assert (happened_at(exchange), happened_at(sign_in)) == (MIDNIGHT, MIDNIGHT + 1234)
