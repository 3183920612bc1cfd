"""Clients that exchange and check, with nothing between what they do."""

from __future__ import annotations

import asyncio
from typing import Final

from keyturn.core.model import Tokens
from keyturn.sessions import Sessions
from tests.support import Clock

__all__ = ["AT_ONCE", "PAST_WINDOW", "Client", "Crowd"]

AT_ONCE: Final = 64
PAST_WINDOW: Final = 31


class Client:
    """With a session, which it turns whenever it wants to: so much time passes before."""

    def __init__(self, sessions: Sessions, clock: Clock, tokens: Tokens) -> None:
        self._sessions = sessions
        self._clock = clock
        self._held = self._older = tokens

    @classmethod
    async def sign_in(cls, sessions: Sessions, clock: Clock, user_id: str = "ann") -> Client:
        """One that has exchanged before."""
        client = cls(sessions, clock, await sessions.create(user_id))
        await client.turn()
        return client

    async def turn(self) -> None:
        self._clock.sleep(PAST_WINDOW)
        await self.exchange()

    async def exchange(self) -> None:
        older, self._held = self._held, await self._sessions.refresh(self._held.refresh_token)
        assert self._held.refresh_token != older.refresh_token
        self._older = older

    async def echo(self) -> None:
        """Present the newest token of all, right after the turn that brought it."""
        assert (await self._sessions.refresh(self._held.refresh_token)).echoed

    async def replay(self) -> None:
        """Present the one before, as if the answer had been lost."""
        again = await self._sessions.refresh(self._older.refresh_token)
        assert again.refresh_token == self._held.refresh_token

    async def check(self) -> None:
        self._sessions.verify(self._held.access_token)


class Crowd:
    """Clients that all turn at the same moment."""

    def __init__(self, clients: list[Client], clock: Clock) -> None:
        self._clients = clients
        self._clock = clock

    @classmethod
    async def sign_in(cls, sessions: Sessions, clock: Clock) -> Crowd:
        """One that has exchanged before."""
        names = (f"user-{number}" for number in range(AT_ONCE))
        return cls([await Client.sign_in(sessions, clock, name) for name in names], clock)

    async def turn(self) -> None:
        self._clock.sleep(PAST_WINDOW)
        await asyncio.gather(*(client.exchange() for client in self._clients))
