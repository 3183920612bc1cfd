"""Callers who exchange as fast as they are answered, each on sessions of its own."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle

import msgspec

from keyturn import Claims, Policy, Sessions, Store

from .measure import shown

__all__ = [
    "ROUNDS",
    "SECONDS",
    "Callers",
    "Clocks",
    "Turns",
    "a_round",
    "sessions_on",
    "show_turns",
]

ROUNDS = 5
SECONDS = 3.0

Clocks = Mapping[str, Callable[[], float]]
"""Of CPU, in seconds, by whose it is."""


class Turns(msgspec.Struct, frozen=True):
    """What callers did in one round."""

    made: int
    a_second: float
    cpu_us: Mapping[str, float]
    """Of one turn, by the clocks."""
    a_commit: float


def sessions_on(store: Store, secret: bytes | None = None) -> Sessions:
    """Where every exchange is a turn, and every answer carries a new ES256 access token. The
    secret is for whoever comes to the same store again.
    """
    return Sessions(
        store,
        secrets=[secret or os.urandom(32)],
        issuer="https://example.com",
        policy=Policy(retry_window=0),
    )


class Callers:
    """So many as exchange at once, with the refresh tokens that they hold: of one session each, or
    of several that each of them takes in turns.
    """

    def __init__(self, sessions: Sessions, tokens: Sequence[str], count: int) -> None:
        self._sessions = sessions
        self._tokens = list(tokens)
        self.count = count

    @classmethod
    async def sign_in(cls, sessions: Sessions, count: int) -> Callers:
        """So many, who have exchanged for a while, as a log grows once."""
        tokens = [await _signed_in(sessions, number) for number in range(count)]
        callers = cls(sessions, tokens, count)
        await callers.exchange_for(SECONDS)
        return callers

    async def exchange_for(self, seconds: float) -> int:
        """How many turns they have made after so many seconds."""
        until = time.perf_counter() + seconds

        async def call(number: int) -> int:
            turns = 0
            for held in cycle(range(number, len(self._tokens), self.count)):
                if time.perf_counter() >= until:
                    break
                await self.exchange(held)
                turns += 1
            return turns

        return sum(await asyncio.gather(*(call(number) for number in range(self.count))))

    async def exchange_all(self) -> None:
        """One turn of each of the sessions."""

        async def call(number: int) -> None:
            for held in range(number, len(self._tokens), self.count):
                await self.exchange(held)

        await asyncio.gather(*(call(number) for number in range(self.count)))

    async def exchange(self, number: int) -> None:
        """One turn of one of the sessions."""
        held = self._tokens[number]
        self._tokens[number] = (await self._sessions.refresh(held)).refresh_token


async def _signed_in(sessions: Sessions, number: int) -> str:
    claims = Claims(username=f"user{number}", email=f"user{number}@example.com", fullname="A User")
    return (await sessions.create(f"user-{number}", claims)).refresh_token


async def a_round(sessions: Sessions, callers: Callers, clocks: Clocks) -> Turns:
    """What they do in a while."""
    calls, items = sessions._turns.calls, sessions._turns.items  # noqa: SLF001
    before = {whose: clock() for whose, clock in clocks.items()}
    began = time.perf_counter()
    made = await callers.exchange_for(SECONDS)
    a_second = made / (time.perf_counter() - began)
    used = {whose: (clock() - before[whose]) / made * 1e6 for whose, clock in clocks.items()}
    calls, items = sessions._turns.calls - calls, sessions._turns.items - items  # noqa: SLF001
    return Turns(made, a_second, used, a_commit=items / calls)


async def show_turns(sessions: Sessions, callers: Callers, clocks: Clocks) -> int:
    """Print how many turns they make in a second, what one costs by each of the clocks of CPU, and
    how many share a commit. Returns how many they made in all.
    """
    rounds = [await a_round(sessions, callers, clocks) for _ in range(ROUNDS)]
    who = f"{callers.count} caller{'s' if callers.count > 1 else ''}"
    print(f"{who}: turns a second".ljust(38), shown([each.a_second for each in rounds], 0))
    for whose in clocks:
        used = [each.cpu_us[whose] for each in rounds]
        print(f"{who}: CPU µs a turn, {whose}".ljust(38), shown(used))
    print(f"{who}: turns a commit".ljust(38), shown([each.a_commit for each in rounds]))
    return sum(each.made for each in rounds)
