"""PostgreSQL goes away, or the way to it does, while people exchange tokens."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.faults.clients import Crowd, crowd, together
from tests.faults.proxy import Proxy
from tests.faults.stage import POLICY, RunningStage
from tests.postgresql import Server
from tests.stores.postgres.support import connected

CLIENTS = 200
PER_SECOND = 40
SOME = 30

Fault = Callable[[Server, Proxy, Crowd], Coroutine[Any, Any, None]]
"""Begins, is met by some of the crowd if it is met at all, and ends."""


async def stop(server: Server, proxy: Proxy, them: Crowd) -> None:
    """In order."""
    await asyncio.to_thread(server.stop)
    await them.meets(SOME, "503")
    await asyncio.to_thread(server.start)


async def pull_the_plug(server: Server, proxy: Proxy, them: Crowd) -> None:
    """So that it has to recover from its log."""
    await asyncio.to_thread(server.stop, "immediate")
    await them.meets(SOME, "503")
    await asyncio.to_thread(server.start)


async def crash(server: Server, proxy: Proxy, them: Crowd) -> None:
    """Again and again one of its processes is killed, and it recovers by itself."""
    for _ in range(3):
        await server.crash()
        await them.meets(SOME, "200")


async def fall_silent(server: Server, proxy: Proxy, them: Crowd) -> None:
    """What was sent is done later, when those who asked for it have long given up."""
    proxy.fall_silent()
    await them.meets(60, "503")
    proxy.speak()


async def lose_everything(server: Server, proxy: Proxy, them: Crowd) -> None:
    """What was sent is lost."""
    proxy.fall_silent()
    await them.meets(60, "503")
    proxy.cut()
    await asyncio.sleep(0)
    proxy.speak()


async def forget_connections(server: Server, proxy: Proxy, them: Crowd) -> None:
    """Nobody is told that those there were lead nowhere; who holds none of them meets nothing."""
    proxy.strand()


async def cut_again_and_again(server: Server, proxy: Proxy, them: Crowd) -> None:
    """At any moment, and half of the times right after a commit."""
    turns = itertools.count()
    proxy.loses_answer = lambda _: next(turns) % 2 == 0
    for _ in range(30):
        await them.meets(3, "200")
        proxy.cut()
    proxy.loses_answer = lambda _: False


FAULTS = (
    stop,
    pull_the_plug,
    crash,
    fall_silent,
    lose_everything,
    forget_connections,
    cut_again_and_again,
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_everybody_keeps_their_session(
    stage: RunningStage, postgresql: Server, proxy: Proxy, fault: Fault
) -> None:
    """C12: and whoever logged out before, meanwhile or afterwards is logged out."""
    clients = await stage.clients(CLIENTS)
    before, meanwhile, afterwards = clients[:3], clients[3:6], clients[6:9]
    async with crowd(clients, per_second=PER_SECOND) as them:
        await them.turns_more(SOME)
        await them.log_out(before)
        async with together() as tasks:
            over = tasks.create_task(fault(postgresql, proxy, them))
            met = tasks.create_task(them.meets(1, "503"))
            await asyncio.wait({over, met}, return_when=asyncio.FIRST_COMPLETED)
            met.cancel()
            await stage.expect_health(clients[9])
            await them.log_out(meanwhile)
        await them.recovers()
        await stage.gets_ready()
        await them.log_out(afterwards)
    found = await stage.examine(clients)

    print(f"{them}; {dict(found)}")
    assert {client.log_out_met for client in before + afterwards} == {"200"}
    assert 6 <= found["logged out"] <= 9
    assert found == {"living": CLIENTS - found["logged out"], "logged out": found["logged out"]}


async def test_answers_of_commits_that_are_lost(stage: RunningStage, proxy: Proxy) -> None:
    """C4, C12: of every turn and every logout. They were done, and are done once."""
    clients = await stage.clients(CLIENTS)
    async with crowd(clients, per_second=PER_SECOND) as them:
        proxy.loses_answer = lambda _: True
        await them.turns_more(2 * SOME)
        await them.log_out(clients[:5])
        turned = [client for client in them.begun if len(client.held) > 1]
        proxy.loses_answer = lambda _: False
        await them.recovers()
    found = await stage.examine(clients)

    print(f"{them}; {proxy.answers_lost} answers lost; {dict(found)}")
    assert all(client.met["503"] for client in turned)
    assert {client.log_out_met for client in clients[:5]} == {"503"}
    assert found == {"living": CLIENTS - 5, "logged out": 5}


async def test_answers_that_are_lost_for_longer_than_the_window(
    stage: RunningStage, proxy: Proxy, database: str
) -> None:
    """SPEC 4: then turns are recovered, and nobody is logged out."""
    clients = await stage.clients(CLIENTS)
    async with crowd(clients, per_second=PER_SECOND) as them:
        await them.turns_more(SOME)
        proxy.loses_answer = lambda _: True
        await them.meets(SOME, "503")
        proxy.refuse()
        proxy.cut()
        await let_window_pass(database)
        proxy.loses_answer = lambda _: False
        await proxy.listen()
        await them.recovers()
    found = await stage.examine(clients)

    print(f"{them}; {dict(found)}")
    assert found["recovered"] > 0
    assert found == {"living": CLIENTS - found["recovered"], "recovered": found["recovered"]}


async def let_window_pass(database: str) -> None:
    """Instead of waiting, let what happened have happened earlier."""
    async with connected(database) as connection:
        await connection.execute(
            "UPDATE keyturn.session SET turned_at = turned_at - $1", POLICY.retry_window + 1
        )


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
