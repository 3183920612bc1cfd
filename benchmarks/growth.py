"""How large the table of sessions becomes: of 100 000 of them, after each has turned 20 times.

Sign-ins and turns are the store's own statements, the turns in batches of 64 on two lanes, in
another order each time. PostgreSQL is as it comes, with autovacuum.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import asyncpg
import uvloop
from tests.postgresql import Server, running

from keyturn import Claims, Device, Store, open_store
from keyturn.core import base64url
from keyturn.core.model import Session
from keyturn.stores.base import Swap
from keyturn.stores.conformance import NOW, a_session, begin, turned

from .measure import heading

SESSIONS = 100_000
TURNS = 20
BATCH = 64
SHOWN = {1, 2, 5, 10, 20}
LANES = 4  # for sign-ins, as many as a store has connections

T = TypeVar("T")


def run() -> None:
    heading(f"The table of sessions: {SESSIONS:,} sessions, {TURNS} turns of each")
    with running() as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(server))


async def _run(server: Server) -> None:
    url = await server.new_database()
    store = await open_store(url, create=True)
    connection = await asyncpg.connect(url)
    print("                              table     indexes      a second")
    sessions = [_session(number) for number in range(SESSIONS)]
    seconds = await _sign_in(store, sessions)
    filled = await _show_size(connection, "after the sign-ins", seconds)
    size = filled
    for turn in range(1, TURNS + 1):
        random.shuffle(sessions)
        seconds = await _turn(store, sessions)
        if turn in SHOWN:
            size = await _show_size(connection, f"after turn {turn}", seconds)
    print(f"table after {TURNS} turns / before: {size / filled:.3f}")
    await connection.close()
    await store.close()


def _session(number: int) -> Session:
    return a_session(
        f"user-{number}",
        sid=base64url.encode(os.urandom(16)),
        claims=Claims(username=f"u{number}", email=f"u{number}@example.com", fullname="A User"),
        device=Device(user_agent="Mozilla/5.0 (X11; Linux x86_64)" * 3, address="2001:db8::1"),
    )


async def _sign_in(store: Store, sessions: list[Session]) -> float:
    return await _on_lanes(LANES, iter(sessions), lambda each: begin(store, each, epoch=0))


async def _turn(store: Store, sessions: list[Session]) -> float:
    """Turn each, as ``sessions`` has them afterwards."""
    swaps = [Swap(session, turned(session, NOW)) for session in sessions]
    sessions[:] = [swap.new for swap in swaps]
    batches = (swaps[start : start + BATCH] for start in range(0, len(swaps), BATCH))

    async def swap(batch: list[Swap]) -> None:
        assert all(await store.swap(batch))

    return await _on_lanes(store.lanes, batches, swap)


async def _on_lanes(
    count: int, items: Iterator[T], work: Callable[[T], Awaitable[object]]
) -> float:
    """Seconds that it takes to do the work for all items, for so many at once."""

    async def lane() -> None:
        for item in items:
            await work(item)

    began = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(count)))
    return time.perf_counter() - began


async def _show_size(connection: Any, when: str, seconds: float) -> int:
    table: int
    table, indexes = await connection.fetchrow(_SIZES)
    print(f"{when:20} {table:14,} {indexes:11,} {SESSIONS / seconds:13,.0f}")
    return table


_SIZES = "SELECT pg_table_size('keyturn.session'), pg_indexes_size('keyturn.session')"
