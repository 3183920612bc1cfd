"""Operators change the signing keys while four servers on one file have traffic."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from keyturn.core import base64url
from tests.processes.http_client import Connection, Reply
from tests.processes.servers import SERVERS, connections, register, serving_at_once, sign_in
from tests.server.processes import run_keyturn

DEADLINE: Final = 20  # seconds; one is what is promised, but machines that test are busy
CLIENTS: Final = 4


def kid_of(access_token: str) -> str:
    header = json.loads(base64url.decode(access_token.partition(".")[0]))
    return str(header["kid"])


def refused(reply: Reply) -> bool:
    """As what a retired key signed must be: with the advice to exchange the refresh token."""
    if reply.status == 200:
        return False
    assert (reply.status, reply.document["code"]) == (401, "access_token_invalid")
    assert reply.document["remedy"] == "refresh"
    return True


class Traffic:
    """Clients that exchange their tokens at one server and show the new one to every server."""

    def __init__(self) -> None:
        self.retired: set[str] = set()
        """Keys that somebody has begun to retire: whether they are refused is open."""
        self.seen: Counter[str] = Counter()
        """How many tokens of each key were shown."""

    @asynccontextmanager
    async def flowing(self, clients: list[list[Connection]]) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as tasks:
            flows = [tasks.create_task(self._flow(servers)) for servers in clients]
            yield
            for flow in flows:
                flow.cancel()

    async def _flow(self, servers: list[Connection]) -> None:
        token = (await sign_in(servers[0])).refresh_token
        for exchanging in itertools.cycle(servers):
            pair = await exchanging.post("/refresh-token", refreshToken=token)
            assert pair.status == 200
            token = pair.refresh_token
            kid = kid_of(pair.access_token)
            for server in servers:
                if refused(await server.get("/me", pair.access_token)):
                    assert kid in self.retired, "a good token was refused"
            self.seen[kid] += 1


async def all_refuse(servers: list[Connection], access_token: str) -> None:
    async with asyncio.timeout(DEADLINE):
        for server in servers:
            while not refused(await server.get("/me", access_token)):
                pass


async def keys(folder: Path, *arguments: str) -> str:
    """What ``keyturn keys`` prints."""
    run = await asyncio.to_thread(run_keyturn, folder, "keys", *arguments)
    assert run.returncode == 0, run.stderr
    return run.stdout


async def kids(folder: Path) -> set[str]:
    return {row["kid"] for row in json.loads(await keys(folder, "list", "--json"))}


async def test_no_good_token_is_refused_while_keys_change(tmp_path: Path) -> None:
    """E2: keys are rotated, rotated at once, and retired; what those that were retired signed is
    refused by all servers, no session ends, and every other token is accepted by every server.
    """
    traffic = Traffic()
    async with (
        serving_at_once(tmp_path) as servers,
        connections(servers, SERVERS * (CLIENTS + 1)) as opened,
    ):
        groups = [opened[start : start + SERVERS] for start in range(0, len(opened), SERVERS)]
        asking, *clients = groups
        await register(asking[0])
        async with traffic.flowing(clients):
            await keys(tmp_path, "rotate")
            for change in ("retire", "rotate", "retire"):
                pair = await sign_in(asking[0])
                signs = kid_of(pair.access_token)
                if change == "retire":
                    traffic.retired.add(signs)
                    await keys(tmp_path, "retire", signs)
                else:
                    traffic.retired |= await kids(tmp_path)
                    await keys(tmp_path, "rotate", "--now")
                await all_refuse(asking, pair.access_token)
                fresh = await asking[1].post("/refresh-token", refreshToken=pair.refresh_token)
                shown = [await server.get("/me", fresh.access_token) for server in asking]
                assert [reply.status for reply in shown] == [200] * SERVERS
                assert await kids(tmp_path) == {kid_of(fresh.access_token)}

    print(f"tokens shown to {SERVERS} servers, by key: {sorted(traffic.seen.values())}")
    assert len(traffic.retired) == 3
    assert traffic.seen.keys() > traffic.retired
