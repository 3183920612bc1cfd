"""Where sessions live. ``open_store`` opens one by its URL."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from keyturn.core.errors import ConfigurationError

from .base import Store

__all__ = ["Store", "open_store", "store_exists"]

_UNKNOWN_KIND: Final = "must begin with sqlite:/// or postgresql://, or be memory:"


async def open_store(url: str, *, create: bool = False) -> Store:
    """Open the store that ``url`` names: ``memory:``, ``sqlite:///relative``,
    ``sqlite:////absolute/path`` or ``postgresql://user:password@host/database``.

    ``create`` makes an absent one (of PostgreSQL the tables, not the database); without it an
    absent one is an error, so that a mistyped path never passes for an empty database.

    Raises:
        ConfigurationError: the URL is of no known kind, or what it names is absent, foreign,
            damaged, or of a newer release.
        StoreUnavailable: it does not answer.
    """
    kind, _, rest = url.partition(":")
    if kind == "memory":
        from .memory import MemoryStore

        return MemoryStore()
    if kind == "sqlite" and rest.startswith("///"):
        from .sqlite import SQLiteStore

        return await SQLiteStore.open(rest.removeprefix("///"), create=create)
    if kind in {"postgresql", "postgres"}:
        from .postgres import PostgresStore

        return await PostgresStore.open(url, create=create)
    raise ConfigurationError("database_url", _UNKNOWN_KIND)


async def store_exists(url: str) -> bool:
    """Whether there is a store at ``url`` already, so that ``create`` would make none: a file, or
    tables. Touches nothing.

    Raises:
        ConfigurationError: as ``open_store``, of a server of PostgreSQL.
        StoreUnavailable: it does not answer.
    """
    kind, _, rest = url.partition(":")
    if kind in {"postgresql", "postgres"}:
        from .postgres.opening import holds_tables

        return await holds_tables(url)
    return kind == "sqlite" and _is_file(rest.removeprefix("///"))


def _is_file(path: str) -> bool:
    return Path(path).exists()
