"""Very many exchanges of one token at once, over HTTP, at four servers on one file."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import apsw

from keyturn.wire.settings import REFRESH_PATH
from tests.processes.http_client import Connection
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


def let_window_pass(file: Path) -> None:
    """Instead of waiting, let what happened have happened earlier."""
    connection = apsw.Connection(str(file))
    connection.set_busy_timeout(5000)
    connection.execute("UPDATE session SET turned_at = turned_at - ?", (WINDOW + 1,))
    connection.close()


def generations_of(file: Path) -> list[int]:
    """Of all sessions that live."""
    connection = apsw.Connection(str(file))
    query = "SELECT json_group_array(generation) FROM session WHERE ended_at IS NULL"
    generations: list[int] = json.loads(connection.execute(query).get)
    connection.close()
    return generations


async def test_a_storm_turns_a_session_once(tmp_path: Path) -> None:
    """C3, C4, C8: all get the same token; so do those who storm with that one in the next window;
    and the chain has a single end: the first token is by then the sign of a copy.
    """
    file = tmp_path / "data" / "keyturn.db"
    settings = {"KEYTURN_RETRY_WINDOW": str(WINDOW)}
    async with (
        serving_at_once(tmp_path, **settings) as servers,
        connections(servers, CONNECTIONS) as clients,
    ):
        await register(clients[0])
        first = (await sign_in(clients[0])).refresh_token
        storm = Storm(first, 10_000)
        await storm.rage(clients)
        generations = generations_of(file)
        [second] = storm.handed_out
        let_window_pass(file)
        next_storm = Storm(second, 2_000)
        await next_storm.rage(clients)
        [third] = next_storm.handed_out
        next_generations = generations_of(file)
        let_window_pass(file)
        reuse = await clients[1].post(REFRESH_PATH, refreshToken=first)
        end = await clients[2].post(REFRESH_PATH, refreshToken=third)

    assert storm.statuses == {200: 10_000}
    assert next_storm.statuses == {200: 2_000}
    assert len({first, second, third}) == 3
    assert (generations, next_generations) == ([1], [2])
    assert (reuse.status, reuse.document["code"]) == (401, "refresh_token_reused")
    assert (end.status, end.document["code"]) == (401, "session_revoked")


async def test_without_a_window_a_storm_logs_out(tmp_path: Path) -> None:
    """The proof that the storm is one: strict single use takes it for theft."""
    strict = {"KEYTURN_RETRY_WINDOW": "0", "KEYTURN_RECOVER": "false"}
    async with (
        serving_at_once(tmp_path, **strict) as servers,
        connections(servers, CONNECTIONS) as clients,
    ):
        await register(clients[0])
        storm = Storm((await sign_in(clients[0])).refresh_token, 1_000)
        await storm.rage(clients)

    assert storm.statuses[401] > 900
    assert set(storm.statuses) == {200, 401}
