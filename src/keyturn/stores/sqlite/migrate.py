"""The tables of SQLite, brought up to date."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from keyturn.stores.migrations import Migration, pending

__all__ = ["migrate"]


def migrate(connection: apsw.Connection, migrations: Sequence[Migration]) -> None:
    """Run what has not been run, within the transaction that the caller has begun to write; so of
    many processes that start at once, one does it and the others find it done.

    Raises:
        ConfigurationError: the database was made by a newer release, or by other scripts.
    """
    for migration in pending(_applied(connection), migrations):
        connection.execute(migration.script)
        connection.execute(
            "INSERT INTO migration (number, checksum) VALUES (?, ?)",
            (migration.number, migration.checksum),
        )


def _applied(connection: apsw.Connection) -> dict[int, str]:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migration "
        "(number INTEGER PRIMARY KEY, checksum TEXT NOT NULL) STRICT"
    )
    return dict(connection.execute("SELECT number, checksum FROM migration"))
