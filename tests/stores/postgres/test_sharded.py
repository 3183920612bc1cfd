"""The layout for engines that shard their tables: what it asks for, and how a database gets it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest

from keyturn.accounts import open_users
from keyturn.core.errors import ConfigurationError
from keyturn.core.model import Claims, Event, EventKind
from keyturn.stores import open_store
from keyturn.stores.base import Swap
from keyturn.stores.conformance import (
    LATER,
    LOGOUT,
    NOW,
    a_session,
    begin,
    living,
    row,
    sids_of,
    turned,
)
from keyturn.stores.postgres import PostgresStore
from tests.accounts.test_user_stores import ADA, KEYS

from .support import SOMEBODY_WAITS, Connection, connected, opened, turn, until_true

TABLES = """
    SELECT array_agg(c.relname || ':' || c.relkind::text ORDER BY c.oid)::text FROM pg_class AS c
    WHERE c.relnamespace = to_regnamespace('keyturn')"""


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    async with opened(database, sharded=True) as store:
        yield store


async def refusal_of(url: str, *, create: bool = True) -> str:
    """What opening the database as a sharded one is refused with."""
    with pytest.raises(ConfigurationError) as caught:
        await open_store(url, create=create, sharded=True)
    assert caught.value.setting == "database_url"
    return str(caught.value)


# ── what is asked for ───────────────────────────────────────────────────────────────────────────


class Asked(NamedTuple):
    """A statement, and what is bound in it."""

    query: str
    values: tuple[Any, ...]


@pytest.fixture
def asked(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """All that the store asks for from now on."""
    statements: list[Asked] = []
    connect = store.engine._connector.connect

    async def connect_and_listen() -> Connection:
        connection = await connect()
        connection.add_query_logger(
            lambda logged: statements.append(Asked(logged.query, logged.args))
        )
        return connection

    monkeypatch.setattr(store.engine._connector, "connect", connect_and_listen)
    return statements


async def of_sessions(asked: list[Asked]) -> list[Asked]:
    await asyncio.sleep(0)  # asyncpg tells of a statement a turn of the loop later
    return [statement for statement in asked if "keyturn.session" in statement.query]


@pytest.mark.parametrize("what", ["get", "turn", "turn with an event", "end"])
async def test_what_an_exchange_asks_for_names_one_session(
    store: PostgresStore, asked: list[Asked], what: str
) -> None:
    """By its ``sid`` and nothing else, so that the engine sends it to one shard."""
    await begin(store, session := a_session())
    event = Event(at=NOW, kind=EventKind.RECOVERED, user_id="ann", sid=session.sid)
    asked.clear()

    match what:
        case "get":
            await store.get([session.sid])
        case "turn":
            await store.swap([turn(session)])
        case "turn with an event":
            await store.swap([Swap(session, turned(session), event)])
        case "end":
            await store.end([session.sid], LOGOUT)

    [(query, values)] = await of_sessions(asked)
    assert query.split("WHERE ")[1].startswith("sid = $1")
    assert (query.count("sid ="), values[0]) == (1, session.sid)


async def test_many_sessions_are_asked_for_one_by_one(
    store: PostgresStore, asked: list[Asked]
) -> None:
    """In the order of their ids, which is that of their locks."""
    sessions = [a_session() for _ in range(3)]
    sids = [session.sid for session in sessions]
    await begin(store, *sessions)
    asked.clear()

    await store.swap([turn(session) for session in reversed(sessions)])
    await store.end(sids[::-1], LOGOUT)

    assert [values[0] for _, values in await of_sessions(asked)] == sids + sids


@pytest.mark.parametrize("what", ["get", "turn", "end", "set_claims", "events", "users"])
async def test_no_type_has_to_be_looked_up(
    store: PostgresStore, asked: list[Asked], what: str
) -> None:
    """As that of a list of numbers would be, once on each connection: half a second on Citus, and
    while a user is locked.
    """
    await begin(store, session := a_session())
    asked.clear()

    match what:
        case "get":
            await store.get([session.sid])
        case "turn":
            await store.swap([turn(session)])
        case "end":
            await store.end([session.sid], LOGOUT)
        case "set_claims":
            await store.set_claims("ann", Claims(), at=NOW, least_version=0, tokens_until=LATER)
        case "events":
            await store.events(user_id="ann", limit=9)
        case "users":
            await open_users(store).add_many([(ADA, "hash")])
            await open_users(store).settle(KEYS, success=False, now=NOW)

    assert [query for query, _ in asked if "pg_type" in query] == []


@pytest.mark.parametrize("what", ["end", "end_user", "set_claims", "evict"])
async def test_what_writes_here_and_on_a_node_is_committed_in_two_phases(
    store: PostgresStore, asked: list[Asked], what: str
) -> None:
    """Citus does so once a table that it knows of here is written to, in the same transaction."""
    await begin(store, session := a_session())
    asked.clear()

    match what:
        case "end":
            await store.end([session.sid], LOGOUT)
        case "end_user":
            await store.end_user("ann", None, LOGOUT)
        case "set_claims":
            await store.set_claims("ann", Claims(), at=NOW, least_version=0, tokens_until=LATER)
        case "evict":
            await begin(store, a_session(), limit=1)

    queries = [query for query, _ in asked]
    *_, begun = (number for number, query in enumerate(queries) if query.startswith("BEGIN"))
    within = queries[begun : queries.index("COMMIT")]
    assert any("keyturn.layout" in query for query in within)
    assert any("INTO keyturn.cutoff" in query for query in within)


async def test_a_sign_in_that_ends_nothing_is_committed_at_once(
    store: PostgresStore, asked: list[Asked]
) -> None:
    """On the node of the session, where its event is too: there is no second phase to fail, after
    which the session would be unknown for a while.
    """
    await begin(store, session := a_session())

    queries = [query for query, _ in asked]
    assert not any("keyturn.layout" in query for query in queries)
    assert [event.sid for event in await store.events(sid=session.sid, limit=9)] == [session.sid]


@pytest.mark.parametrize("what", ["sign in", "end_user", "set_claims"])
async def test_who_changes_a_user_waits_for_the_end_of_the_commit_before(
    store: PostgresStore, database: str, what: str
) -> None:
    """The row of the user is free as soon as the commit is done on this node. The advisory lock is
    held until it is on all others (requirement C7).
    """
    await begin(store, a_session())
    async with connected(database) as other, connected(database) as admin:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT pg_advisory_xact_lock(hashtextextended('ann', 0))")

        match what:
            case "sign in":
                change = asyncio.create_task(begin(store, a_session()))
            case "end_user":
                change = asyncio.create_task(store.end_user("ann", None, LOGOUT))
            case "set_claims":
                change = asyncio.create_task(
                    store.set_claims("ann", Claims(), at=NOW, least_version=0, tokens_until=LATER)
                )
        await until_true(admin, SOMEBODY_WAITS)
        await transaction.rollback()

        assert await change is not None


async def test_its_connections_have_settings_for_shards(store: PostgresStore) -> None:
    """Citus makes no generic plan of a statement for several shards, and would open many more
    connections for it; alone and in a transaction.
    """
    in_force = """SELECT current_setting('plan_cache_mode')
        || ' ' || current_setting('citus.max_adaptive_executor_pool_size')"""

    alone = await store.engine.run(lambda connection: connection.fetchval(in_force))
    among_others = await store.engine.transact(lambda connection: connection.fetchval(in_force))

    assert (alone, among_others) == ("auto 1", "auto 1")


async def test_its_sessions_travel_alone_and_in_many_lanes(
    store: PostgresStore, database: str
) -> None:
    """With a connection for each lane of reading and of writing."""
    places = store.engine._exchanges

    assert (store.batch, store.lanes, places._value) == (1, 8, 16)


# ── how a database gets it ──────────────────────────────────────────────────────────────────────


async def test_who_opens_a_sharded_database_need_not_say_so(
    store: PostgresStore, database: str
) -> None:
    """It is recorded there; and to say it again is fine, also without leave to change anything."""
    for create, sharded in [(False, False), (True, False), (False, True), (True, True)]:
        again = await PostgresStore.open(database, create=create, sharded=sharded)
        assert again.batch == 1
        await again.close()


async def test_a_database_is_laid_out_only_on_request(database: str) -> None:
    """Else the error names the command that does it, and nothing was changed."""
    async with opened(database), connected(database) as connection:
        before = await connection.fetchval(TABLES)

        assert "`keyturn init --sharded`" in await refusal_of(database, create=False)
        assert await connection.fetchval(TABLES) == before


async def test_what_is_in_a_database_stays_in_it(database: str) -> None:
    """Sessions, cutoffs and events, also those of a user alone."""
    async with opened(database) as store:
        await begin(store, first := a_session(), second := a_session())
        await store.set_claims("ann", Claims(), at=NOW, least_version=0, tokens_until=LATER)
        await store.end([second.sid], LOGOUT)
        events = await store.events(user_id="ann", limit=9)
        cursor, cutoffs = await store.cutoffs(None, NOW)

    async with opened(database, sharded=True) as store:
        assert await store.events(user_id="ann", limit=9) == events
        assert None in {event.sid for event in events}
        assert await store.cutoffs(None, NOW) == (cursor, cutoffs)
        assert await living(store) == {first.sid}
        await begin(store, third := a_session())
        assert sids_of(await store.end([first.sid, third.sid], LOGOUT)) == {first.sid, third.sid}
        assert (await row(store, second.sid)).ended_at == NOW


async def test_many_lay_it_out_once(database: str) -> None:
    """Started at once, all succeed and all write to the same tables."""
    stores = await asyncio.gather(
        *(PostgresStore.open(database, create=True, sharded=True) for _ in range(8))
    )
    sessions = [a_session() for _ in stores]

    for store, session in zip(stores, sessions, strict=True):
        await begin(store, session)

    assert await living(stores[0]) == {session.sid for session in sessions}
    for store in stores:
        await store.close()


@pytest.mark.parametrize("url", ["memory:", "sqlite:///never.db"])
async def test_no_other_kind_of_store_is_sharded(url: str) -> None:
    """And none is made in its place."""
    assert "postgresql://" in await refusal_of(url)


# ── Citus ───────────────────────────────────────────────────────────────────────────────────────

STAND_INS = """
    SET allow_system_table_mods = on;
    CREATE TABLE public.asked (number serial, call text);
    CREATE TABLE pg_catalog.pg_dist_local_group (groupid integer);
    INSERT INTO pg_catalog.pg_dist_local_group VALUES (0);
    CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass);
    CREATE FUNCTION pg_catalog.create_distributed_table(
        table_name regclass, distribution_column text, colocate_with text
    ) RETURNS void LANGUAGE sql SET search_path = pg_catalog AS $$
        INSERT INTO public.asked (call)
        VALUES (format('%s by %s, with %s', table_name, distribution_column, colocate_with));
        INSERT INTO pg_catalog.pg_dist_partition VALUES (table_name)
    $$;
    CREATE FUNCTION pg_catalog.truncate_local_data_after_distributing_table(
        function_name regclass
    ) RETURNS void LANGUAGE sql SET search_path = pg_catalog AS $$
        INSERT INTO public.asked (call) VALUES (format('%s emptied here', function_name))
    $$;
    CREATE FUNCTION pg_catalog.citus_add_local_table_to_metadata(
        table_name regclass
    ) RETURNS void LANGUAGE sql SET search_path = pg_catalog AS $$
        INSERT INTO public.asked (call) VALUES (format('%s known', table_name))
    $$;
    INSERT INTO pg_extension
        (oid, extname, extowner, extnamespace, extrelocatable, extversion)
    VALUES (99999, 'citus', 10, 'pg_catalog'::regnamespace, false, '13.2-1');
    RESET allow_system_table_mods"""

TOLD_TO_CITUS = [
    "keyturn.session by sid, with none",
    "keyturn.event by sid, with keyturn.session",
    "keyturn.session emptied here",
    "keyturn.event emptied here",
    "keyturn.layout known",
]


@pytest.fixture
async def citus(database: str) -> AsyncIterator[Connection]:
    """A database with what stands in for Citus, which is not among Debian's packages: so what is
    tested is what we ask of it. On the real one the tests run that heed KEYTURN_TEST_POSTGRES_URL.
    """
    async with connected(database) as connection:
        await connection.execute(STAND_INS)
        yield connection


async def told(citus: Connection) -> list[str]:
    """What Citus was asked for, in order."""
    return [call for (call,) in await citus.fetch("SELECT call FROM asked ORDER BY number")]


@pytest.mark.parametrize("times", [1, 2])
async def test_citus_is_handed_the_tables_once(
    citus: Connection, database: str, times: int
) -> None:
    """Sessions, and events beside theirs; what is left of them here is removed, as it has secrets
    in it. A table that stays is made known. All others are nobody's business.
    """
    for _ in range(times):
        async with opened(database, sharded=True):
            pass

    assert await told(citus) == TOLD_TO_CITUS


async def test_citus_that_came_later_is_handed_the_tables(database: str) -> None:
    """Where they were laid out already, and whatever is in them."""
    async with opened(database, sharded=True) as store:
        await begin(store, a_session())
    async with connected(database) as connection:
        await connection.execute(STAND_INS)

        assert "`keyturn init --sharded`" in await refusal_of(database, create=False)
        async with opened(database, sharded=True):
            assert await told(connection) == TOLD_TO_CITUS


async def test_citus_is_asked_for_nothing_unless_somebody_says_so(
    citus: Connection, database: str
) -> None:
    """A database on its coordinator may do without."""
    async with opened(database) as store:
        assert (store.batch, await told(citus)) == (64, [])


async def test_a_worker_of_citus_is_refused(citus: Connection, database: str) -> None:
    """The tables that are not sharded would be where nobody else sees them."""
    await citus.execute("UPDATE pg_dist_local_group SET groupid = 3")

    assert "name its coordinator" in await refusal_of(database)


async def test_a_release_of_citus_that_is_too_old_is_refused(
    citus: Connection, database: str
) -> None:
    """Before anything is laid out."""
    await citus.execute("UPDATE pg_extension SET extversion = '11.3-2' WHERE extname = 'citus'")

    assert "Citus 11; 12 or newer is needed" in await refusal_of(database)
    async with opened(database) as store:
        assert store.batch == 64


async def test_citus_without_nodes_is_refused(citus: Connection, database: str) -> None:
    """And nothing is left of the attempt."""
    await citus.execute("""
        CREATE OR REPLACE FUNCTION pg_catalog.create_distributed_table(
            table_name regclass, distribution_column text, colocate_with text
        ) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
            RAISE 'replication_factor (1) exceeds number of worker nodes (0)'
            USING ERRCODE = 'invalid_parameter_value';
        END $$""")

    assert "must have nodes that hold shards" in await refusal_of(database)
    async with opened(database) as store:
        assert store.batch == 64
