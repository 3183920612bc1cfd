"""What costs much is done for one user after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from keyturn.core.errors import Unavailable

from .errors import AlreadyUnderWay

__all__ = ["Turns"]

_PATIENCE_SECONDS: Final = 0.8


class Turns:
    """Lets one request after the other have its turn, and of each user no second one wait. So
    however much one user asks for, the others wait for one request of theirs.
    """

    def __init__(self) -> None:
        self._users: set[str] = set()
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def of(self, user_id: str) -> AsyncIterator[None]:
        """Within, it is the user's turn.

        Raises:
            AlreadyUnderWay: another request of theirs has its turn, or waits for it.
            Unavailable: those of others took too long.
        """
        if user_id in self._users:
            raise AlreadyUnderWay
        self._users.add(user_id)
        try:
            await self._wait_for_turn()
            try:
                yield
            finally:
                self._turn.release()
        finally:
            self._users.remove(user_id)

    async def _wait_for_turn(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            raise Unavailable("Too many users ask for all that is known of them") from None
