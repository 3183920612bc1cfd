"""Many processes on one database make one key, and follow a change of keys without polling."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from keyturn.core.errors import AccessTokenInvalid
from keyturn.sessions import Sessions
from keyturn.signing_keys import USED_FOR
from keyturn.stores.postgres import PostgresStore
from tests.support import Clock, engine

from .support import opened

WORKERS = 6


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def workers(database: str, clock: Clock) -> AsyncIterator[list[Sessions]]:
    """Each with connections of its own."""
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(opened(database)) for _ in range(WORKERS)]
        yield [engine(store, clock) for store in stores]


async def all_do(
    workers: list[Sessions], deed: Callable[[Sessions], Awaitable[None]]
) -> list[tuple[str, ...]]:
    """At once; returns which keys each of them knows then."""
    await asyncio.gather(*(deed(each) for each in workers))
    return [tuple(key.kid for key in each.keyring.keys) for each in workers]


async def test_workers_that_start_at_once_make_one_key(workers: list[Sessions]) -> None:
    """On an empty database, with nothing but the database between them."""
    known = await all_do(workers, Sessions.load)

    assert len(set(known)) == 1
    assert len(known[0]) == 1


async def test_workers_that_renew_at_once_make_one_key(
    workers: list[Sessions], clock: Clock
) -> None:
    """All of them find at the same moment that it is time for the next one."""
    await all_do(workers, Sessions.load)
    clock.sleep(USED_FOR)

    known = await all_do(workers, Sessions._reload)

    assert len(set(known)) == 1
    assert len(known[0]) == 2


async def test_a_retired_key_is_refused_without_polling(
    workers: list[Sessions], database: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E2, D12: a process that runs is woken when another one drops a key."""
    monkeypatch.setattr("keyturn.stores.postgres.store._POLL_SECONDS", 1000)
    monkeypatch.setattr("keyturn.sessions._POLL_SECONDS", 1000)
    operator = workers[0]
    await operator.load()
    async with engine(await PostgresStore.open(database), clock) as running:
        tokens = await running.create("ada")
        await operator.retire_key(running.keyring.keys[0].kid)

        async with asyncio.timeout(10):
            while await accepted(running, tokens.access_token):
                pass
        renewed = await running.refresh(tokens.refresh_token)
        assert await accepted(running, renewed.access_token)


async def accepted(sessions: Sessions, access_token: str) -> bool:
    await asyncio.sleep(0)
    try:
        sessions.verify(access_token)
    except AccessTokenInvalid:
        return False
    return True
