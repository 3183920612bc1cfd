"""What one reading of a database tells the doctor, without a trace of the reading."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from keyturn.core.errors import ConfigurationError
from keyturn.core.model import SealedKey
from keyturn.stores.migrations import pending, shipped_migrations

from .databases import damage_refused, file_of, name_of
from .settings import Settings

if TYPE_CHECKING:
    from keyturn.stores.postgres.connecting import Connection, Connector

__all__ = ["Facts", "read_facts"]

# Each kind of database needs a library that the other does without, imported where it is used.

_LATEST_EVENTS: Final = 1000


class Facts(NamedTuple):
    """What is in the database, and how it stands."""

    database: str
    """Its name and the release of its software."""
    outdated: bool
    damage: str
    """Empty if none was found."""
    ahead: float
    """Seconds by which a clock that somebody wrote by is ahead of this machine's."""
    keys: Sequence[SealedKey]
    hooks: Mapping[str, tuple[int, int]]
    """Who is told of events, how many they are to be told of yet, and how many were given up."""
    advice: Sequence[str] = ()
    """What to change about the database itself."""


async def read_facts(settings: Settings) -> Facts:
    """Read the database that the settings name, and change nothing.

    Raises:
        ConfigurationError: it is absent, foreign, of a newer release, or damaged beyond reading.
        StoreUnavailable: it does not answer, or is locked.
    """
    file = file_of(settings)
    if file is not None:
        with damage_refused(settings):
            return await asyncio.to_thread(_read_file, file)
    return await _read_server(settings)


_HOOKS: Final = """
    SELECT name, count(due_at), count(id) - count(due_at)
    FROM {0}hook LEFT JOIN {0}delivery ON hook = name GROUP BY name"""


def _hooks(rows: Iterable[Any]) -> dict[str, tuple[int, int]]:
    return {name: (waiting, given_up) for name, waiting, given_up in rows}


# ── SQLite ──────────────────────────────────────────────────────────────────────────────────────


def _read_file(file: Path) -> Facts:
    import apsw

    import keyturn.stores.sqlite
    from keyturn.stores.sqlite.faults import told_as_unavailable
    from keyturn.stores.sqlite.opening import check_release, connect_to_read
    from keyturn.stores.sqlite.statements import signing_keys

    check_release()
    with told_as_unavailable(), closing(connect_to_read(file)) as connection:
        connection.execute("BEGIN")  # one state, though a server may write
        applied = dict(connection.execute("SELECT number, checksum FROM migration"))
        check = connection.execute("PRAGMA quick_check(1)").get
        newest_turn = connection.execute("SELECT max(turned_at) FROM session").get
        missing = pending(applied, shipped_migrations(keyturn.stores.sqlite.__name__))
        return Facts(
            database=f"{file}, SQLite {apsw.sqlite_lib_version()}",
            outdated=bool(missing),
            damage="" if check == "ok" else check,
            ahead=(newest_turn or 0) - time.time(),
            keys=signing_keys(connection),
            hooks={} if missing else _hooks(connection.execute(_HOOKS.format(""))),
        )


# ── PostgreSQL ──────────────────────────────────────────────────────────────────────────────────


async def _read_server(settings: Settings) -> Facts:
    import keyturn.stores.postgres
    from keyturn.stores.postgres.connecting import Connector
    from keyturn.stores.postgres.distributing import is_sharded
    from keyturn.stores.postgres.opening import applied_migrations, visited
    from keyturn.stores.postgres.statements import closed_tables, signing_keys

    connector = Connector(settings.database_url)
    async with visited(connector) as connection:
        applied = await applied_migrations(connection)
        if not applied:
            name = name_of(settings)
            raise ConfigurationError(
                "database_url", f"{name} holds no tables of Keyturn; `keyturn init` makes them"
            )
        missing = pending(applied, shipped_migrations(keyturn.stores.postgres.__name__))
        connector.sharded = not missing and await is_sharded(connection)
        release = await connection.fetchval("SELECT current_setting('server_version')")
        pooled = "" if connector.direct else ", behind a pooler"
        return Facts(
            database=f"{name_of(settings)}, PostgreSQL {release}{pooled}",
            outdated=bool(missing),
            damage="",
            ahead=await _seconds_ahead(connection),
            keys=await signing_keys(connection),
            hooks={} if missing else _hooks(await connection.fetch(_HOOKS.format("keyturn."))),
            advice=[
                *_what_is_closed([] if missing else await closed_tables(connection)),
                *await _what_loses_commits(connection),
                *await _too_few_connections(connection, connector),
            ],
        )


async def _seconds_ahead(connection: Connection) -> float:
    """By the clock of the server, and by the times that others wrote of late. A server that is
    behind counts as well: then the others are, or this machine is ahead.
    """
    asked_at = time.time()
    [(servers, newest)] = await connection.fetch(_CLOCKS, _LATEST_EVENTS)
    answered_at = time.time()
    return float(max(servers - answered_at, asked_at - servers, (newest or 0) - answered_at))


_CLOCKS: Final = """
    SELECT extract(epoch FROM clock_timestamp())::float8,
        (SELECT max(at) FROM (
            SELECT at FROM keyturn.event ORDER BY id DESC LIMIT $1) AS latest)"""


def _what_is_closed(tables: Sequence[str]) -> list[str]:
    if not tables:
        return []
    closed = f"its user may not read and write {', '.join(tables)}, as servers must"
    return [f"{closed}: make it the owner of all that is in the schema keyturn"]


async def _what_loses_commits(connection: Connection) -> list[str]:
    """Settings of the server under which an answer that was given may be undone."""
    return [
        f"its setting {name} is off, so a crash can undo what was acknowledged: set it on"
        for name in ("fsync", "full_page_writes")
        if await connection.fetchval("SELECT current_setting($1)", name) == "off"
    ]


async def _too_few_connections(connection: Connection, connector: Connector) -> list[str]:
    from keyturn.stores.postgres.store import connections_of_process

    needed = connections_of_process(connector)
    free: int = await connection.fetchval(_FREE_CONNECTIONS)
    if free >= needed:
        return []
    room = f"it has room for {max(free, 0)} more connections, and a worker takes {needed}"
    return [f"{room}: raise max_connections, or put PgBouncer in front"]


_FREE_CONNECTIONS: Final = """
    SELECT current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int
        - count(*)::int
    FROM pg_stat_activity WHERE backend_type = 'client backend'"""
