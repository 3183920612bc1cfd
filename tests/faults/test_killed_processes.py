"""Processes of ``keyturn serve --workers`` are killed while people exchange tokens."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from pathlib import Path

from tests.faults.clients import crowd
from tests.faults.stage import on_stage
from tests.server.processes import Server, until

CLIENTS = 200
PER_SECOND = 40
SOME = 30
KILLS = 10


async def test_workers_that_are_killed_again_and_again(tmp_path: Path, database: str) -> None:
    """C4, C9: whatever they are doing; others take their places."""
    async with on_stage(tmp_path, database, servers=1, workers=3) as stage:
        [server], killed = stage.servers, set[int]()
        clients = await stage.clients(CLIENTS)
        async with crowd(clients, per_second=PER_SECOND) as them:
            for _ in range(KILLS):
                await them.meets(SOME // 3, "200")
                killed.add(await asyncio.to_thread(kill_one, server, killed))
            await them.log_out(clients[:10])
            await them.recovers()
        await asyncio.to_thread(until, lambda: len(server.workers()) == 3)
        found = await stage.examine(clients)
        log = server.errors.read_text()

    print(f"{len(killed)} workers killed; {them}; {dict(found)}")
    acknowledged = sum(client.log_out_met == "200" for client in clients[:10])
    assert log.count("ended with -9; another takes its place") == KILLS
    assert acknowledged <= found["logged out"] <= 10
    assert found.total() == found["living"] + found["logged out"] == CLIENTS


def kill_one(server: Server, killed: set[int]) -> int:
    """Another worker than those, as soon as there is one."""
    until(lambda: bool(server.workers() - killed))
    worker = random.choice([*(server.workers() - killed)])
    os.kill(worker, signal.SIGKILL)
    return worker


async def test_a_supervisor_that_is_killed(tmp_path: Path, database: str) -> None:
    """Its workers finish what they are doing, and end; another server goes on alone meanwhile."""
    async with on_stage(tmp_path, database, servers=2, workers=2) as stage:
        killed = stage.servers[0]
        clients = await stage.clients(CLIENTS)
        async with crowd(clients, per_second=PER_SECOND) as them:
            await them.turns_more(SOME)
            await asyncio.to_thread(killed.stop, signal.SIGKILL)
            await asyncio.to_thread(until, killed.refuses_connections)
            await them.meets(SOME, "no answer")
            await stage.start(0)
            await them.recovers()
        found = await stage.examine(clients)

    print(f"{them}; {dict(found)}")
    assert them.met.keys() == {"200", "no answer"}
    assert found == {"living": CLIENTS}
