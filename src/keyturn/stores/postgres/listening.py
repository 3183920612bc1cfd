"""Being woken by PostgreSQL when a cutoff was recorded, or the signing keys changed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from .connecting import Connector
from .faults import FAULTS
from .statements import CHANNEL

__all__ = ["Listener"]

_RETRY_SECONDS: Final = 1.0
_PROBE_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 5.0


class Listener:
    """Listens on a connection of its own, made again whenever it was lost. It is for speed alone:
    while there is none, and behind a pooler there never is, ``wait`` wakes up by the clock.
    """

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._news = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None

    async def wait(self, seconds: float) -> None:
        """Return when there may be news since the last wait ended, or after ``seconds``."""
        if self._listening is None and self._connector.direct:
            self._listening = asyncio.create_task(self._listen_for_ever())
        # wait_for of Python 3.11 would lose a cancellation that comes together with the news.
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.clear()

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])

    async def _listen_for_ever(self) -> None:
        while True:
            with suppress(*FAULTS):
                await self._listen()
            await asyncio.sleep(_RETRY_SECONDS)

    async def _listen(self) -> None:
        connection = await self._connector.connect()
        try:
            lost = asyncio.Event()
            connection.add_termination_listener(lambda _: lost.set())
            await connection.add_listener(CHANNEL, lambda *_: self._news.set())
            self._news.set()  # of what was recorded before
            while not lost.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PROBE_SECONDS):
                        await lost.wait()
                await connection.execute("SELECT", timeout=_ANSWER_SECONDS)
        finally:
            connection.terminate()
