"""The tables, brought up to date: numbered scripts, each run once, in order, never changed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import resources

import apsw
import msgspec

from keyturn.core.errors import ConfigurationError

__all__ = ["Migration", "migrate", "shipped_migrations"]


class Migration(msgspec.Struct, frozen=True):
    """One script of SQL. Its name begins with its number: ``0001_sessions.sql``."""

    name: str
    script: str

    @property
    def number(self) -> int:
        return int(self.name.partition("_")[0])

    @property
    def checksum(self) -> str:
        """SHA-256 of the script, in hexadecimal."""
        return hashlib.sha256(self.script.encode()).hexdigest()


def shipped_migrations() -> list[Migration]:
    """The scripts of this release, in the order of their numbers."""
    folder = resources.files(__package__) / "migrations"
    scripts = [file for file in folder.iterdir() if file.name.endswith(".sql")]
    migrations = [Migration(file.name, file.read_text("utf-8")) for file in scripts]
    return sorted(migrations, key=lambda migration: migration.number)


def migrate(connection: apsw.Connection, migrations: Sequence[Migration]) -> None:
    """Run what has not been run, within the transaction that the caller has begun to write; so of
    many processes that start at once, one does it and the others find it done.

    Raises:
        ConfigurationError: the database was made by a newer release, or by other scripts.
    """
    applied = _applied(connection)
    for number, checksum in applied.items():
        _check_known(number, checksum, migrations)
    for migration in migrations:
        if migration.number not in applied:
            if migration.number < max(applied, default=0):
                raise _refusal(f"lacks migration {migration.name}, which later ones build on")
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
    return dict(connection.execute("SELECT number, checksum FROM migration ORDER BY number"))


def _check_known(number: int, checksum: str, migrations: Sequence[Migration]) -> None:
    known = {migration.number: migration for migration in migrations}
    if number > max(known, default=0):
        raise ConfigurationError(
            "database_url", "was made by a newer release of Keyturn; install that one"
        )
    if number not in known:
        raise _refusal(f"was made with migration {number:04}, which this release does not have")
    if known[number].checksum != checksum:
        raise _refusal(f"was made with another text of migration {known[number].name}")


def _refusal(what: str) -> ConfigurationError:
    return ConfigurationError(
        "database_url", f"{what}; install the release of Keyturn that made it, or restore a backup"
    )
