"""What the tests of the PostgreSQL store share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import asyncpg

from keyturn.coalesce import Coalescer
from keyturn.core.model import Session
from keyturn.stores.base import Swap
from keyturn.stores.conformance import turned
from keyturn.stores.postgres import PostgresStore

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@asynccontextmanager
async def opened(url: str, *, sharded: bool = False) -> AsyncIterator[PostgresStore]:
    """The store at ``url``, made if need be."""
    store = await PostgresStore.open(url, create=True, sharded=sharded)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """A connection that belongs to nobody but the test."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def turn(session: Session) -> Swap:
    return Swap(session, turned(session))


def turns_of(store: PostgresStore) -> Coalescer[Swap, bool]:
    """Turns, gathered as ``Sessions`` gathers them."""
    return Coalescer(
        store.swap, key=lambda swap: swap.old.sid, at_most=store.batch, lanes=store.lanes
    )


async def until_true(connection: Connection, query: str, *values: Any) -> None:
    """Ask again and again until the answer is true."""
    async with asyncio.timeout(10):
        while not await connection.fetchval(query, *values):
            pass


SOMEBODY_WAITS = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"
