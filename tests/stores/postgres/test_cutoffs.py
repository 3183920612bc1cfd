"""Cutoffs reach those who follow: told at once, found by polling, none missed in any order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from keyturn.core.errors import StoreUnavailable
from keyturn.core.model import Claims, Cutoff, SealedKey
from keyturn.stores.conformance import LATER, LOGOUT, NOW, a_session, begin
from keyturn.stores.postgres import PostgresStore
from keyturn.stores.postgres import store as postgres_store
from tests.postgresql import Server

from .support import Connection, connected, opened

RECORD = "INSERT INTO keyturn.cutoff (sid, version, expires_at) VALUES ($1, 1, $2)"
LISTENING = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE '%LISTEN%' AND pid <> pg_backend_pid()"""


@pytest.fixture
async def store(database: str, layout: str) -> AsyncIterator[PostgresStore]:
    async with opened(database, sharded=layout == "sharded") as store:
        yield store


@pytest.fixture
async def admin(database: str, store: PostgresStore) -> AsyncIterator[Connection]:
    async with connected(database) as connection:
        yield connection


async def told(store: PostgresStore, cursor: int | None) -> tuple[int, set[str | None]]:
    cursor, cutoffs = await store.cutoffs(cursor, NOW)
    return cursor, {cutoff.sid for cutoff in cutoffs}


async def test_a_cutoff_that_commits_late_is_told(
    store: PostgresStore, admin: Connection, database: str
) -> None:
    """A transaction that began first and commits last is passed over by no cursor."""
    async with connected(database) as late:
        transaction = late.transaction()
        await transaction.start()
        await late.execute(RECORD, "late", LATER)
        await admin.execute(RECORD, "early", LATER)
        cursor, before = await told(store, None)
        await transaction.commit()

    _, after = await told(store, cursor)

    assert (before, "late" in after) == ({"early"}, True)


async def test_nothing_is_told_twice_without_cause(store: PostgresStore, admin: Connection) -> None:
    """Where no older transaction is under way, each cutoff is told once."""
    await admin.execute(RECORD, "one", LATER)
    cursor, first = await told(store, None)
    _, second = await told(store, cursor)

    assert (first, second) == ({"one"}, set())


async def test_a_cursor_stays_behind_what_a_crash_may_forget(
    store: PostgresStore, admin: Connection
) -> None:
    """Numbers of transactions that recorded nothing may be used again afterwards."""
    await admin.execute(RECORD, "one", LATER)
    written_by = await admin.fetchval("SELECT max(xid) FROM keyturn.cutoff")
    for _ in range(5):
        await admin.execute("SELECT pg_current_xact_id()")

    cursor, _ = await told(store, None)

    assert cursor == written_by + 1


async def test_another_server_tells_everything(
    store: PostgresStore, admin: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failover the numbers go on from somewhere lower, so the cursor is worth nothing."""
    await admin.execute(RECORD, "one", LATER)
    await told(store, None)
    monkeypatch.setattr(store, "_server", None)  # as started at another time

    _, after = await told(store, 2**40)

    assert after == {"one"}


async def test_a_restarted_server_is_caught_up_with(server: Server, database: str) -> None:
    """By itself: connections are made anew, and nothing recorded meanwhile is missed."""
    async with opened(database) as store:
        await begin(store, session := a_session())
        cursor, _ = await told(store, None)
        await store.wait_for_change(0)

        server.stop("immediate")
        server.start()

        async with asyncio.timeout(10):
            while await ended(store, session.sid) is None:
                pass
        assert (await told(store, cursor))[1] == {session.sid}


async def ended(store: PostgresStore, sid: str) -> list[Cutoff] | None:
    """What came of a try to end the session; none where it failed."""
    try:
        return await store.end([sid], LOGOUT)
    except StoreUnavailable:
        return None


# ── being woken ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def no_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a notification ends a wait, and a lost listener listens again at once."""
    monkeypatch.setattr("keyturn.stores.postgres.store._POLL_SECONDS", 1000)
    monkeypatch.setattr("keyturn.stores.postgres.listening._RETRY_SECONDS", 0)


async def listening(store: PostgresStore) -> None:
    """Wait for the news that there may have been some before it was listened for."""
    async with asyncio.timeout(10):
        await store.wait_for_change(1000)


@pytest.mark.parametrize("change", ["end", "end_user", "set_claims", "void_all", "evict"])
async def test_every_cutoff_of_another_process_wakes(
    no_polling: None, store: PostgresStore, database: str, change: str
) -> None:
    """Whatever it is recorded for."""
    await begin(store, session := a_session())
    await listening(store)

    async with opened(database) as other, asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(store.wait_for_change(1000))
        match change:
            case "end":
                await other.end([session.sid], LOGOUT)
            case "end_user":
                await other.end_user("ann", None, LOGOUT)
            case "set_claims":
                await other.set_claims("ann", Claims(), at=NOW, least_version=9, tokens_until=LATER)
            case "void_all":
                await other.void_all(NOW, LATER)
            case "evict":
                await begin(other, a_session(), limit=1)

    assert (await store.cutoffs(None, NOW))[1]


@pytest.mark.parametrize("change", ["add", "replace", "drop"])
async def test_every_change_of_the_signing_keys_by_another_process_wakes(
    no_polling: None, store: PostgresStore, database: str, change: str
) -> None:
    """So that one that may have leaked is refused as fast as a session that was ended."""
    key = SealedKey(kid="a", algorithm="ES256", created_at=NOW, use_from=NOW, sealed=b"a")
    await store.add_signing_key(key, after=None)
    await listening(store)

    async with opened(database) as other, asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(store.wait_for_change(1000))
        match change:
            case "add":
                await other.add_signing_key(replace(key, kid="b"), after="a")
            case "replace":
                await other.replace_signing_key(key, replace(key, sealed=b"b"))
            case "drop":
                await other.drop_signing_keys(["a"], beside="a")

    assert await store.signing_keys() != [key]


async def test_a_lost_listener_listens_again(
    no_polling: None, store: PostgresStore, admin: Connection
) -> None:
    """And takes it that there was news meanwhile; after that it is told as before."""
    await begin(store, session := a_session())
    await listening(store)

    await admin.execute(LISTENING)
    await listening(store)

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(store.wait_for_change(1000))
        tasks.create_task(store.end([session.sid], LOGOUT))


async def test_without_notifications_a_wait_is_short(store: PostgresStore) -> None:
    """However long was asked for: so a cutoff is found by polling within the second."""
    assert postgres_store._POLL_SECONDS <= 0.5

    async with asyncio.timeout(10):
        await store.wait_for_change(1000)
        await store.wait_for_change(1000)
