"""The store is there, and others stand in the way: transactions that have to yield, locks, and too
many connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import apsw
import asyncpg

from tests.faults.clients import crowd
from tests.faults.proxy import Proxy
from tests.faults.stage import RunningStage
from tests.postgresql import Server
from tests.server.processes import PATIENCE
from tests.stores.postgres.support import connected

CLIENTS = 160
PER_SECOND = 40
SOME = 30

# The counter is outside of transactions, as sequences are.
YIELDING = """
    CREATE SEQUENCE yielded;
    CREATE FUNCTION yield() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        CASE nextval('yielded') % 20
            WHEN 0 THEN RAISE EXCEPTION 'yield' USING ERRCODE = '40001';
            WHEN 10 THEN RAISE EXCEPTION 'yield' USING ERRCODE = '40P01';
            ELSE NULL;
        END CASE;
        RETURN NULL;
    END $$;
    CREATE TRIGGER yields BEFORE UPDATE ON keyturn.session
    FOR EACH STATEMENT EXECUTE FUNCTION yield()"""


async def test_transactions_that_have_to_yield(stage: RunningStage, database: str) -> None:
    """Every tenth of those that turn or end sessions: they are run again, unseen by clients."""
    clients = await stage.clients(CLIENTS)
    async with connected(database) as admin, crowd(clients, per_second=PER_SECOND) as them:
        await admin.execute(YIELDING)
        await them.turns_more(80)
        await them.log_out(clients[:10])
        yielded = await admin.fetchval("SELECT last_value / 10 FROM yielded")
        await admin.execute("DROP TRIGGER yields ON keyturn.session")
    found = await stage.examine(clients)

    print(f"{them}; {yielded} transactions yielded; {dict(found)}")
    assert yielded >= 5
    assert them.met.keys() == {"200"}
    assert {client.log_out_met for client in clients[:10]} == {"200"}
    assert found == {"living": CLIENTS - 10, "logged out": 10}


async def test_rows_that_others_have_locked(stage: RunningStage, database: str) -> None:
    """Those sessions are answered 503: neither those whose turns are written with theirs, nor those
    who need a connection while the locked ones want to log out.
    """
    clients = await stage.clients(CLIENTS)
    locked = clients[40:48]
    async with connected(database) as admin, crowd(clients, per_second=PER_SECOND) as them:
        async with admin.transaction():
            await admin.execute(
                "SELECT FROM keyturn.session WHERE sid = ANY ($1::text[]) FOR UPDATE",
                [client.sid for client in locked],
            )
            await them.until(lambda: all(client.met["503"] for client in locked))
            await them.log_out(locked)
            unanswered = [client for client in them.begun if client.met.keys() - {"200"}]
        await them.recovers()
    found = await stage.examine(clients)

    print(f"{them}; {dict(found)}")
    others = [client for client in unanswered if client not in locked]
    assert len(unanswered) == len(locked) + len(others)
    assert len(others) <= CLIENTS // 20  # whom a slow machine kept, as it may at any time
    assert "200" not in {client.log_out_met for client in locked}
    assert found.total() == found["living"] + found["logged out"] == CLIENTS


@asynccontextmanager
async def every_connection(server: Server) -> AsyncIterator[int]:
    """Hold all that the server grants, and tell how many."""
    async with AsyncExitStack() as held:
        count = 0
        while True:
            try:
                await held.enter_async_context(connected(server.url()))
            except asyncpg.TooManyConnectionsError:
                break
            count += 1
        yield count


async def test_others_have_every_connection(
    stage: RunningStage, postgresql: Server, proxy: Proxy, database: str
) -> None:
    """H6: after theirs were lost, servers get no new ones, until somebody lets go."""
    clients = await stage.clients(CLIENTS)
    async with crowd(clients, per_second=PER_SECOND) as them:
        await them.turns_more(SOME)
        proxy.refuse()
        proxy.cut()
        async with every_connection(postgresql) as count:
            await proxy.listen()
            await them.meets(SOME, "503")
            await stage.expect_health(clients[0])
        await them.recovers()
    found = await stage.examine(clients)

    print(f"{them}; {count} connections held; {dict(found)}")
    assert found == {"living": CLIENTS}


async def test_a_file_that_another_process_has_locked(
    stage_on_file: RunningStage, tmp_path: Path
) -> None:
    """For longer than writers wait; whoever only reads is answered meanwhile."""
    clients = await stage_on_file.clients(CLIENTS)
    async with crowd(clients, per_second=PER_SECOND) as them:
        await them.turns_more(SOME)
        with closing(apsw.Connection(str(tmp_path / "keyturn.db"))) as other:
            other.set_busy_timeout(PATIENCE * 1000)
            await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")  # the servers write, too
            readers = [client for client in them.begun if client.met["200"]]
            await them.meets(60, "503")
            await stage_on_file.expect_health(clients[0])
            met_by_readers = {what for client in readers for what in client.met}
        await them.recovers()
    found = await stage_on_file.examine(clients)

    print(f"{them}; {dict(found)}")
    assert met_by_readers == {"200"}
    assert found == {"living": CLIENTS}
