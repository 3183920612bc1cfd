"""Callers who exchange as fast as they are answered, each on a session of its own."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping

from keyturn import Claims, Policy, Sessions, Store

from .measure import shown

__all__ = ["Callers", "sessions_on", "show_turns"]

ROUNDS = 5
SECONDS = 3.0


def sessions_on(store: Store) -> Sessions:
    """Where every exchange is a turn, and every answer carries a new ES256 access token."""
    return Sessions(
        store,
        secrets=[os.urandom(32)],
        issuer="https://example.com",
        policy=Policy(retry_window=0),
    )


class Callers:
    """With the refresh tokens that they hold."""

    def __init__(self, sessions: Sessions, tokens: list[str]) -> None:
        self._sessions = sessions
        self._tokens = tokens

    @classmethod
    async def sign_in(cls, sessions: Sessions, count: int) -> Callers:
        """So many, who have exchanged for a while, as a log grows once."""
        callers = cls(sessions, [await _signed_in(sessions, number) for number in range(count)])
        await callers.exchange_for(SECONDS)
        return callers

    @property
    def count(self) -> int:
        return len(self._tokens)

    async def exchange_for(self, seconds: float) -> int:
        """How many turns they have made after so many seconds."""
        until = time.perf_counter() + seconds

        async def call(number: int) -> int:
            turns = 0
            while time.perf_counter() < until:
                await self.exchange(number)
                turns += 1
            return turns

        return sum(await asyncio.gather(*(call(number) for number in range(self.count))))

    async def exchange(self, number: int) -> None:
        """One turn of one of them."""
        held = self._tokens[number]
        self._tokens[number] = (await self._sessions.refresh(held)).refresh_token


async def _signed_in(sessions: Sessions, number: int) -> str:
    claims = Claims(username=f"user{number}", email=f"user{number}@example.com", fullname="A User")
    return (await sessions.create(f"user-{number}", claims)).refresh_token


async def show_turns(
    sessions: Sessions, callers: Callers, clocks: Mapping[str, Callable[[], float]]
) -> int:
    """Print how many turns they make in a second, what one costs by each of the clocks of CPU, and
    how many share a commit. Returns how many they made in all.
    """
    rates, batches, made = [], [], 0
    costs: dict[str, list[float]] = {whose: [] for whose in clocks}
    for _ in range(ROUNDS):
        calls, items = sessions._exchanges.calls, sessions._exchanges.items  # noqa: SLF001
        before = {whose: clock() for whose, clock in clocks.items()}
        began = time.perf_counter()
        turns = await callers.exchange_for(SECONDS)
        rates.append(turns / (time.perf_counter() - began))
        for whose, clock in clocks.items():
            costs[whose].append((clock() - before[whose]) / turns * 1e6)
        calls, items = sessions._exchanges.calls - calls, sessions._exchanges.items - items  # noqa: SLF001
        batches.append(items / calls if calls else 1)  # alone, they are not gathered at all
        made += turns
    who = f"{callers.count} caller{'s' if callers.count > 1 else ''}"
    print(f"{who}: turns a second".ljust(38), shown(rates, 0))
    for whose, figures in costs.items():
        print(f"{who}: CPU µs a turn, {whose}".ljust(38), shown(figures))
    print(f"{who}: turns a commit".ljust(38), shown(batches))
    return made
