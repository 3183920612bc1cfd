"""A database is recognised before it is touched, and its tables are made only on request."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Sequence

import asyncpg
import pytest

from keyturn.core.errors import ConfigurationError, StoreUnavailable
from keyturn.stores import open_store
from keyturn.stores.conformance import a_session, begin, living
from keyturn.stores.migrations import Migration, shipped_migrations
from keyturn.stores.postgres import PostgresStore, statements
from keyturn.stores.postgres.opening import migrate
from tests.postgresql import Server

from .support import Connection, connected, opened

ONE = Migration(
    "0001_one.sql", "CREATE TABLE keyturn.one (x int); INSERT INTO keyturn.one VALUES (1);"
)
TWO = Migration("0002_two.sql", "INSERT INTO keyturn.one VALUES (2);")
THREE = Migration("0003_three.sql", "INSERT INTO keyturn.one VALUES (3);")

EVERYTHING = """
    SELECT array_agg(n.nspname || '.' || c.relname || ':' || c.relkind::text ORDER BY c.oid)::text
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname NOT LIKE 'pg_%' AND n.nspname <> 'information_schema'"""


async def refusal_of(url: str, *, create: bool = False) -> str:
    """What opening the database is refused with."""
    with pytest.raises(ConfigurationError) as caught:
        await PostgresStore.open(url, create=create)
    assert caught.value.setting == "database_url"
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value)


async def run(url: str, *statements: str) -> None:
    async with connected(url) as connection:
        for statement in statements:
            await connection.execute(statement)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
async def test_a_url_of_postgresql_opens_it(database: str, scheme: str) -> None:
    """Under both names."""
    store = await open_store(database.replace("postgresql", scheme), create=True)

    assert isinstance(store, PostgresStore)
    await store.close()


async def test_absent_tables_are_made_only_on_request(database: str) -> None:
    """Else the error names the command that makes them, and nothing was made."""
    assert "`keyturn init`" in await refusal_of(database)
    async with connected(database) as connection:
        assert await connection.fetchval(EVERYTHING) is None

    async with opened(database) as store:
        assert await living(store) == set()


async def test_an_older_schema_is_brought_up_to_date_on_request(database: str) -> None:
    """Not by whoever happens to be started, while processes of the older release run."""
    first, *_ = shipped_migrations("keyturn.stores.postgres")
    async with connected(database) as connection:
        await migrate(connection, [first], create=True)

    assert "older release; `keyturn init` brings it up to date" in await refusal_of(database)
    async with opened(database) as store:
        assert await living(store) == set()


async def test_a_newer_schema_is_refused(database: str) -> None:
    """With what to install."""
    async with opened(database):
        pass
    await run(database, "INSERT INTO keyturn.migration VALUES (9999, 'later')")

    assert "newer release of Keyturn; install that one" in await refusal_of(database, create=True)


@pytest.mark.parametrize(
    "theirs", ["session (id int)", "migration (version int)", "migration (number text)"]
)
async def test_a_foreign_schema_is_left_alone(database: str, theirs: str) -> None:
    """It has our name, and is not ours."""
    await run(database, "CREATE SCHEMA keyturn", f"CREATE TABLE keyturn.{theirs}")
    async with connected(database) as connection:
        before = await connection.fetchval(EVERYTHING)

        assert "of another program; it was left as it is" in await refusal_of(database, create=True)
        assert await connection.fetchval(EVERYTHING) == before


async def test_an_empty_schema_is_used(database: str) -> None:
    """It was made for us, by somebody with more rights."""
    await run(
        database,
        "DROP ROLE IF EXISTS modest",
        "CREATE ROLE modest LOGIN",
        "CREATE SCHEMA keyturn AUTHORIZATION modest",
    )

    async with opened(database.replace("keyturn@", "modest@")) as store:
        await begin(store, session := a_session())
        await store.check()
        assert await living(store) == {session.sid}


async def test_a_user_without_rights_is_refused(database: str) -> None:
    """To make the tables, and to read those that there are."""
    await run(database, "DROP ROLE IF EXISTS stranger", "CREATE ROLE stranger LOGIN")
    strangers = database.replace("keyturn@", "stranger@")

    assert "without the rights" in await refusal_of(strangers, create=True)
    async with opened(database):
        pass
    assert "without the rights" in await refusal_of(strangers)


@pytest.mark.parametrize("right", ["INSERT", "UPDATE", "DELETE"])
@pytest.mark.parametrize("sharded", [False, True])
async def test_a_user_who_may_not_write_every_table_is_told(
    database: str, right: str, *, sharded: bool
) -> None:
    """As after a restore by somebody else: one right that is missing on one table is enough."""
    async with opened(database, sharded=sharded):
        pass
    clerk = f"clerk_{right}_{sharded}".lower()
    await run(
        database,
        f"CREATE ROLE {clerk} LOGIN",
        f"GRANT USAGE ON SCHEMA keyturn TO {clerk}",
        f"GRANT ALL ON ALL TABLES IN SCHEMA keyturn TO {clerk}",
    )

    async with opened(database.replace("keyturn@", f"{clerk}@")) as store:
        await store.check()
        await run(database, f"REVOKE {right} ON keyturn.session FROM {clerk}")
        with pytest.raises(
            StoreUnavailable, match=r"^The database refused a permission \(SQLSTATE 42501\)$"
        ):
            await store.check()


async def test_no_table_is_forgotten_when_rights_are_looked_at(database: str) -> None:
    """But those that a migration alone writes."""
    async with opened(database), connected(database) as connection:
        names = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'keyturn'"
        )

    assert set(statements._TABLES) == {name for (name,) in names} - {"migration", "layout"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("/test_", "/absent_"), "does not exist; create it first"),
        (("keyturn@", "nobody@"), "the server refuses"),
        (("?", "?nonsense=1&"), "a parameter that the server refuses"),
        (("port=", "port=x"), "cannot be read"),
        (("?", "?sslmode=maybe&"), "cannot be read"),
    ],
)
async def test_a_mistaken_url_is_refused(database: str, change: tuple[str, str], told: str) -> None:
    """Saying what is wrong, without the password in it (requirement H1)."""
    mistaken = database.replace(*change).replace("@", ":sesame@", 1)

    refusal = await refusal_of(mistaken, create=True)

    assert told in refusal
    assert "sesame" not in refusal


async def test_another_encoding_is_refused(server: Server) -> None:
    """It could not hold every name."""
    await run(
        server.url(),
        "DROP DATABASE IF EXISTS latin",
        "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
    )

    assert "ENCODING 'UTF8'" in await refusal_of(server.url("latin"), create=True)


async def test_nobody_there_is_our_fault() -> None:
    """An address where nothing answers, and one where something else does."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(StoreUnavailable, match=r"^The database does not answer$"):
        await PostgresStore.open(f"postgresql://x@127.0.0.1:{port}/x", create=True)

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        with pytest.raises(StoreUnavailable):
            await PostgresStore.open(f"postgresql://x@127.0.0.1:{port}/x?sslmode=disable")


async def test_a_read_only_database_is_our_fault(database: str) -> None:
    """A standby is one, until it is promoted; what runs already is told the same."""
    async with opened(database) as store, connected(database) as connection:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")

        with pytest.raises(StoreUnavailable, match="cannot be written"):
            await PostgresStore.open(database)
        with pytest.raises(StoreUnavailable, match="cannot be written"):
            await store.check()


async def test_a_missing_table_is_told_when_it_is_met(database: str) -> None:
    """Not made anew in place of what is missing; without SQL (requirement H1)."""
    async with opened(database):
        pass
    await run(database, "DROP TABLE keyturn.session")

    async with opened(database) as store:
        with pytest.raises(
            StoreUnavailable,
            match=r"^The tables of Keyturn are not as they should be \(SQLSTATE 42P01\)$",
        ):
            await store.get(["x"])


async def test_many_make_one_set_of_tables(database: str) -> None:
    """Started at once, all succeed and all write to the same ones."""
    stores = await asyncio.gather(*(PostgresStore.open(database, create=True) for _ in range(8)))
    sessions = [a_session() for _ in stores]

    for store, session in zip(stores, sessions, strict=True):
        await begin(store, session)

    assert await living(stores[0]) == {session.sid for session in sessions}
    for store in stores:
        await store.close()


# ── migrations ──────────────────────────────────────────────────────────────────────────────────


async def ones(connection: Connection) -> list[int]:
    return [x for (x,) in await connection.fetch("SELECT x FROM keyturn.one ORDER BY x")]


async def test_each_migration_is_run_once_in_order(database: str) -> None:
    """A new database gets all, an older one what it lacks."""
    async with connected(database) as connection:
        for known in ([ONE], [ONE, TWO], [ONE, TWO, THREE], [ONE, TWO, THREE]):
            await migrate(connection, known, create=True)

        assert await ones(connection) == [1, 2, 3]


async def test_a_migration_that_fails_leaves_nothing(database: str) -> None:
    """Nor do those that ran before it in the same start."""
    broken = Migration("0003_broken.sql", "INSERT INTO keyturn.absent VALUES (1)")
    async with connected(database) as connection:
        await migrate(connection, [ONE], create=True)

        with pytest.raises(asyncpg.UndefinedTableError):
            await migrate(connection, [ONE, TWO, broken], create=True)

        assert await ones(connection) == [1]


async def test_migrators_wait_for_each_other(database: str) -> None:
    """The one that comes later finds it done, whatever its role's transactions begin at."""
    async with connected(database) as first, connected(database) as second:
        await second.execute("SET default_transaction_isolation = 'repeatable read'")

        await asyncio.gather(
            migrate(first, [ONE, TWO], create=True), migrate(second, [ONE, TWO], create=True)
        )

        assert await ones(first) == [1, 2]


@pytest.mark.parametrize(
    ("applied", "known", "told"),
    [
        ([ONE, TWO], [ONE], "newer release of Keyturn; install that one"),
        ([ONE], [Migration(ONE.name, ONE.script + " "), TWO], "another text of migration 0001_one"),
        ([ONE, TWO, THREE], [ONE, THREE], "migration 0002, which this release does not have"),
    ],
)
async def test_another_history_is_refused(
    database: str, applied: Sequence[Migration], known: Sequence[Migration], told: str
) -> None:
    """With what to do about it, and nothing done."""
    async with connected(database) as connection:
        await migrate(connection, applied, create=True)

        with pytest.raises(ConfigurationError, match=re.escape(told)):
            await migrate(connection, known, create=True)

        assert len(await ones(connection)) == len(applied)


def test_the_shipped_migrations_are_numbered_without_gaps() -> None:
    """Each number once, from 1."""
    numbers = [migration.number for migration in shipped_migrations("keyturn.stores.postgres")]

    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers
