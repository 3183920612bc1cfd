"""How the tables of a database come up to date: numbered scripts, each run once, in order, never
changed. What has been run is in the database, by number and checksum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources

import msgspec

from keyturn.core.errors import ConfigurationError

__all__ = ["Migration", "pending", "shipped_migrations"]


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


def shipped_migrations(package: str) -> list[Migration]:
    """The scripts that this release has for the store in ``package``, by number."""
    folder = resources.files(package) / "migrations"
    scripts = [file for file in folder.iterdir() if file.name.endswith(".sql")]
    migrations = [Migration(file.name, file.read_text("utf-8")) for file in scripts]
    return sorted(migrations, key=lambda migration: migration.number)


def pending(applied: Mapping[int, str], migrations: Sequence[Migration]) -> list[Migration]:
    """What is still to be run where ``applied``, checksums by number, has been.

    Raises:
        ConfigurationError: the database was made by a newer release, or by other scripts.
    """
    for number, checksum in sorted(applied.items()):
        _check_known(number, checksum, migrations)
    missing = [migration for migration in migrations if migration.number not in applied]
    for migration in missing:
        if migration.number < max(applied, default=0):
            raise _refusal(f"lacks migration {migration.name}, which later ones build on")
    return missing


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
