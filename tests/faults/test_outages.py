"""PostgreSQL goes away, or the way to it does, while people exchange tokens."""

from __future__ import annotations

import asyncio

import pytest

from tests.faults.clients import crowd
from tests.faults.proxy import Proxy
from tests.faults.stage import RunningStage
from tests.postgresql import Server

CLIENTS = 300
PER_SECOND = 40
SOME = 30


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_server_that_is_stopped_and_started(
    stage: RunningStage, postgresql: Server, mode: str
) -> None:
    """C12: in order, and so that it has to recover as from a crash."""
    clients = await stage.clients(CLIENTS)
    async with crowd(clients, per_second=PER_SECOND) as them:
        await them.turns_more(SOME)
        await asyncio.to_thread(postgresql.stop, mode)
        await them.meets(SOME, "503")
        await them.log_out(clients[:3])
        await stage.expect_health(clients[3])
        await asyncio.to_thread(postgresql.start)
        await them.recovers()
        await them.log_out(clients[3:6])
    found = await stage.examine(clients)

    print(f"{them}; {dict(found)}")
    assert 3 <= found["logged out"] <= 6
    assert found.total() == found["living"] + found["logged out"] == CLIENTS


async def test_answers_of_commits_that_are_lost(stage: RunningStage, proxy: Proxy) -> None:
    """C4, C12: of every turn and every logout. They were done, and are done once."""
    clients = await stage.clients(CLIENTS)
    async with crowd(clients, per_second=PER_SECOND) as them:
        proxy.loses_answer = lambda _: True
        await them.turns_more(100)
        await them.log_out(clients[:5])
        proxy.loses_answer = lambda _: False
        await them.recovers()
    turned = [client for client in them.begun if client.met["503"]]
    found = await stage.examine(clients)

    print(f"{them}; {proxy.answers_lost} answers lost; {dict(found)}")
    assert len(turned) >= 100
    assert {client.log_out_met for client in clients[:5]} == {"503"}
    assert found == {"living": CLIENTS - 5, "logged out": 5}


@pytest.mark.parametrize("comes_late", [True, False])
async def test_a_way_that_swallows_everything(
    stage: RunningStage, proxy: Proxy, *, comes_late: bool
) -> None:
    """C12: whether it is done later, when those who asked have long given up, or is lost."""
    clients = await stage.clients(CLIENTS)
    async with crowd(clients, per_second=PER_SECOND) as them:
        await them.turns_more(SOME)
        proxy.fall_silent()
        await them.meets(100, "503")
        await stage.expect_health(clients[0])
        if not comes_late:
            proxy.cut()
            await asyncio.sleep(0)
        proxy.speak()
        await them.recovers()
    found = await stage.examine(clients)

    print(f"{them}; {dict(found)}")
    assert found == {"living": CLIENTS}


async def test_a_slow_way(stage: RunningStage, proxy: Proxy) -> None:
    """C12: 50 ms are not noticed; with six seconds nothing gets through in time."""
    clients = await stage.clients(CLIENTS)
    async with crowd(clients, per_second=PER_SECOND) as them:
        proxy.delay = 0.05
        await them.turns_more(60)
        unnoticed = dict(them.met)
        proxy.delay = 6
        await them.meets(60, "503")
        await stage.expect_health(clients[0])
        proxy.delay = 0
        await them.recovers()
    found = await stage.examine(clients)

    print(f"{them}; {dict(found)}")
    assert unnoticed.keys() == {"200"}
    assert found == {"living": CLIENTS}
