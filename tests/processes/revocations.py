"""Logouts at one server, and how long the others accept the access token still."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from typing import Final

from tests.processes.http_client import Connection
from tests.processes.servers import sign_in

__all__ = ["delays_of"]

_DEADLINE: Final = 5  # seconds; a second is what is promised, but machines that test are busy


async def delays_of(clients: list[Connection], count: int, *, pause: float = 0) -> list[float]:
    """Of so many logouts, each acknowledged by another server in turn: seconds from there until the
    last of the others has refused the access token, in ascending order. Before each is a pause of
    ``pause`` seconds at most.
    """
    acting = itertools.islice(itertools.cycle(clients), count)
    return sorted([await _delay(client, clients, random.uniform(0, pause)) for client in acting])


async def _delay(acting: Connection, clients: list[Connection], pause: float) -> float:
    pair = await sign_in(acting)
    await asyncio.sleep(pause)
    before = [await client.get("/me", pair.access_token) for client in clients]
    assert [reply.status for reply in before] == [200] * len(clients)
    logout = await acting.post("/logout", refreshToken=pair.refresh_token)
    acknowledged = time.monotonic()
    assert logout.status == 200
    async with asyncio.timeout(_DEADLINE):
        others = [client for client in clients if client is not acting]
        await asyncio.gather(*(_until_refused(other, pair.access_token) for other in others))
    delay = time.monotonic() - acknowledged
    assert (await acting.get("/me", pair.access_token)).status == 401
    return delay


async def _until_refused(client: Connection, access_token: str) -> None:
    """Asks without a pause."""
    while (await client.get("/me", access_token)).status != 401:
        pass
