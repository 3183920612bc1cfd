"""Very many exchanges of one token at once, over HTTP, at four servers on one store."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec.structs import replace

from keyturn.stores import Store, open_store
from keyturn.stores.base import Swap
from keyturn.wire.settings import REFRESH_PATH
from tests.processes.http_client import Connection, Reply
from tests.processes.servers import connections, register, serving_at_once, sign_in

CONNECTIONS = 256
WINDOW = 600  # seconds, so that no machine is too slow for a storm within it


class Storm:
    """Exchanges of one token, and what they were answered."""

    def __init__(self, token: str, exchanges: int) -> None:
        self.statuses: Counter[int] = Counter()
        self.handed_out: set[str] = set()
        self._token = token
        self._left = iter(range(exchanges))

    async def rage(self, clients: list[Connection]) -> None:
        """All clients at once, each as fast as it is answered, until there is none left."""
        began = time.monotonic()
        await asyncio.gather(*(self._exchange(client, self._left) for client in clients))
        seconds = time.monotonic() - began
        print(f"{self.statuses.total()} exchanges in {seconds:.1f} s")

    async def _exchange(self, client: Connection, left: Iterator[int]) -> None:
        for _ in left:
            reply = await client.post(REFRESH_PATH, refreshToken=self._token)
            self.statuses[reply.status] += 1
            if reply.status == 200:
                self.handed_out.add(reply.refresh_token)


class Chain:
    """The turns of the one session that a user has, as the store tells them."""

    def __init__(self, store: Store, login: Reply) -> None:
        self._store = store
        self._user_id = login.document["data"]["user"]["id"]

    async def generation(self) -> int:
        [session] = await self._store.list_sessions(self._user_id)
        return session.generation

    async def let_window_pass(self) -> None:
        """Instead of waiting, let what happened have happened earlier."""
        [session] = await self._store.list_sessions(self._user_id)
        assert session.turned_at
        earlier = replace(session, turned_at=session.turned_at - WINDOW - 1)
        assert await self._store.swap([Swap(session, earlier)]) == [True]


@asynccontextmanager
async def chain_of(login: Reply, url: str) -> AsyncIterator[Chain]:
    store = await open_store(url)
    try:
        yield Chain(store, login)
    finally:
        await store.close()


async def test_a_storm_turns_a_session_once(
    url: str, settings: dict[str, str], tmp_path: Path
) -> None:
    """C3, C4, C8: all get the same token; so do those who storm with that one in the next window;
    and the chain has a single end: the first token is by then the sign of a copy.
    """
    async with (
        serving_at_once(tmp_path, **settings, KEYTURN_RETRY_WINDOW=str(WINDOW)) as servers,
        connections(servers, CONNECTIONS) as clients,
    ):
        await register(clients[0])
        login = await sign_in(clients[0])
        async with chain_of(login, url) as chain:
            first = login.refresh_token
            storm = Storm(first, 10_000)
            await storm.rage(clients)
            generation = await chain.generation()
            [second] = storm.handed_out
            await chain.let_window_pass()
            next_storm = Storm(second, 2_000)
            await next_storm.rage(clients)
            [third] = next_storm.handed_out
            next_generation = await chain.generation()
            await chain.let_window_pass()
        reuse = await clients[1].post(REFRESH_PATH, refreshToken=first)
        end = await clients[2].post(REFRESH_PATH, refreshToken=third)

    assert storm.statuses == {200: 10_000}
    assert next_storm.statuses == {200: 2_000}
    assert len({first, second, third}) == 3
    assert (generation, next_generation) == (1, 2)
    assert (reuse.status, reuse.document["code"]) == (401, "refresh_token_reused")
    assert (end.status, end.document["code"]) == (401, "session_revoked")


async def test_without_a_window_a_storm_logs_out(settings: dict[str, str], tmp_path: Path) -> None:
    """The proof that the storm is one: strict single use takes it for theft."""
    strict = {"KEYTURN_RETRY_WINDOW": "0", "KEYTURN_RECOVER": "false"}
    async with (
        serving_at_once(tmp_path, **settings, **strict) as servers,
        connections(servers, CONNECTIONS) as clients,
    ):
        await register(clients[0])
        storm = Storm((await sign_in(clients[0])).refresh_token, 1_000)
        await storm.rage(clients)

    assert storm.statuses[401] > 900
    assert set(storm.statuses) == {200, 401}
