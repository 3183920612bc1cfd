"""The database: recognised before it is touched, and its tables made only where that was asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import asyncpg

from keyturn.core.errors import ConfigurationError
from keyturn.stores.migrations import Migration, pending, shipped_migrations

from .connecting import Connection, Connector
from .distributing import (
    citus_release,
    distribute,
    is_distributed,
    is_sharded,
    is_worker,
    lay_out,
)
from .faults import told_as_unavailable

__all__ = ["applied_migrations", "holds_tables", "migrate", "prepared", "shard", "visited"]

_OLDEST_SERVER: Final = 15
"""Of the releases that the tests are run on."""
_OLDEST_CITUS: Final = 12
"""Of those that distribute a table whose ids are generated, from all that we ask of it."""

# "keyturn" in hexadecimal: whoever migrates holds this lock.
_ADVISORY_LOCK: Final = 0x6B65797475726E
_BEGIN_MIGRATION: Final = (
    "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '30s';"
    " SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = '60s'"
)

_REFUSALS: Final[dict[type[Exception], str]] = {
    ValueError: "cannot be read as postgresql://USER:PASSWORD@HOST/DATABASE",
    asyncpg.InvalidAuthorizationSpecificationError: "names a user whom the server refuses,"
    " or a wrong password",
    asyncpg.InvalidCatalogNameError: "names a database that does not exist; create it first",
    asyncpg.InsufficientPrivilegeError: "names a user without the rights; make it the owner of the"
    " database, or of a schema keyturn in it",
    asyncpg.UndefinedObjectError: "has a parameter that the server refuses",
}


async def prepared(url: str, *, create: bool, sharded: bool = False) -> Connector:
    """See that ``url`` names a database of ours with all its tables, ``sharded`` if that is asked
    for; with ``create`` make what is missing. Returns what makes connections to it.

    Raises:
        ConfigurationError: the URL cannot be read, is refused by the server, or names a database
            that is foreign, of another release, or without tables that were not to be made, or not
            sharded when it was not to be changed. Nothing was changed.
        StoreUnavailable: the server does not answer, or cannot be written.
    """
    connector = Connector(url)
    async with visited(connector) as connection:
        await migrate(connection, shipped_migrations(__package__), create=create)
        if sharded:
            await shard(connection, create=create)
        connector.sharded = await is_sharded(connection)
    return connector


async def holds_tables(url: str) -> bool:
    """Whether ``url`` names a database with tables of ours, of whichever release.

    Raises:
        ConfigurationError: as ``prepared``.
        StoreUnavailable: as ``prepared``.
    """
    async with visited(Connector(url)) as connection:
        return bool(await applied_migrations(connection))


@asynccontextmanager
async def visited(connector: Connector) -> AsyncIterator[Connection]:
    """The first connection to a server, which may be none that will do.

    Raises:
        ConfigurationError: the URL cannot be read, or the server refuses it or will not do.
        StoreUnavailable: the server does not answer, or cannot be written.
    """
    with told_as_unavailable(), _told_as_refusals():
        connection = await connector.find_out()
        try:
            _check_server(connection)
            await _check_citus(connection)
            yield connection
        finally:
            await connection.close(timeout=1)


@contextmanager
def _told_as_refusals() -> Iterator[None]:
    """Within, what somebody has to put right first is raised as ``ConfigurationError``."""
    try:
        yield
    except tuple(_REFUSALS) as error:
        raise _refusal(
            next(what for kind, what in _REFUSALS.items() if isinstance(error, kind))
        ) from None


def _check_server(connection: Connection) -> None:
    version = connection.get_server_version()
    if version.major < _OLDEST_SERVER:
        raise _refusal(
            f"is a server of PostgreSQL {version.major}; {_OLDEST_SERVER} or newer is needed"
        )
    encoding = connection.get_settings().server_encoding
    if encoding != "UTF8":
        raise _refusal(f"names a database in {encoding}; create one with ENCODING 'UTF8'")


async def _check_citus(connection: Connection) -> None:
    if await citus_release(connection) is not None and await is_worker(connection):
        raise _refusal("names a worker of Citus; name its coordinator")


async def migrate(connection: Connection, migrations: Sequence[Migration], *, create: bool) -> None:
    """Run what has not been run, if ``create`` allows it. Of many processes that start at once, one
    does it and the others find it done.

    Raises:
        ConfigurationError: the database is foreign, of another release, or something is to be run
            and may not be.
    """
    applied = await applied_migrations(connection)
    missing = pending(applied, migrations)
    if missing and not create:
        state = "is of an older release" if applied else "holds no tables of Keyturn"
        remedy = "brings it up to date" if applied else "makes them"
        raise _refusal(f"{state}; `keyturn init` {remedy}")
    if missing:
        async with _alone(connection):
            await _run_missing(connection, migrations)


@asynccontextmanager
async def _alone(connection: Connection) -> AsyncIterator[None]:
    """A transaction that waits until nobody else migrates, and for as long as its work takes."""
    await connection.execute(_BEGIN_MIGRATION)
    try:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _ADVISORY_LOCK)
        yield
    except Exception:
        await connection.execute("ROLLBACK")
        raise
    await connection.execute("COMMIT")


async def _run_missing(connection: Connection, migrations: Sequence[Migration]) -> None:
    missing = pending(await applied_migrations(connection), migrations)
    if await connection.fetchval("SELECT to_regnamespace('keyturn') IS NULL"):
        await connection.execute("CREATE SCHEMA keyturn")
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS keyturn.migration"
        " (number integer PRIMARY KEY, checksum text NOT NULL)"
    )
    for migration in missing:
        await connection.execute(migration.script)
        await connection.execute(
            "INSERT INTO keyturn.migration (number, checksum) VALUES ($1, $2)",
            migration.number,
            migration.checksum,
        )


async def shard(connection: Connection, *, create: bool) -> None:
    """Lay the tables out for an engine that shards them, and hand them to Citus where that is
    there: whatever of it is still to be done, if ``create`` allows it.

    Raises:
        ConfigurationError: it may not be done, or Citus will not do.
    """
    citus = await citus_release(connection)
    if await is_sharded(connection) and (citus is None or await is_distributed(connection)):
        return
    if not create:
        raise _refusal("is not laid out to be sharded; `keyturn init --sharded` does that")
    if citus is not None and citus < _OLDEST_CITUS:
        raise _refusal(f"is of Citus {citus}; {_OLDEST_CITUS} or newer is needed")
    async with _alone(connection):
        if not await is_sharded(connection):
            await lay_out(connection)
        if citus is not None and not await is_distributed(connection):
            with _told_as_unready():
                await distribute(connection)


@contextmanager
def _told_as_unready() -> Iterator[None]:
    """Within, what Citus lacks to take the tables is raised as ``ConfigurationError``."""
    try:
        yield
    except (
        asyncpg.FeatureNotSupportedError,
        asyncpg.InvalidParameterValueError,
        asyncpg.ObjectNotInPrerequisiteStateError,
    ) as error:
        raise _refusal(
            f"is of a Citus that does not take the tables (SQLSTATE {error.sqlstate}): it must have"
            " nodes that hold shards, and know its coordinator"
        ) from None


async def applied_migrations(connection: Connection) -> dict[int, str]:
    """Checksums by number; none where the schema is absent or empty."""
    tables = await connection.fetchval(
        "SELECT array_agg(relname::text) FROM pg_class"
        " WHERE relnamespace = to_regnamespace('keyturn') AND relkind IN ('r', 'p', 'v', 'f')"
    )
    if not tables:
        return {}
    try:
        rows = await connection.fetch("SELECT number, checksum FROM keyturn.migration")
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
        raise _refusal(
            "names a database whose schema keyturn is of another program; it was left as it is"
        ) from None
    return {number: checksum for number, checksum in rows}  # noqa: C416  a row is no pair


def _refusal(what: str) -> ConfigurationError:
    return ConfigurationError("database_url", what)
