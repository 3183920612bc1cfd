"""Where sessions live. ``open_store`` opens one by its URL."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeGuard

from keyturn.core.errors import ConfigurationError

from .base import Store

if TYPE_CHECKING:
    from .postgres import PostgresStore
    from .sqlite import SQLiteStore

__all__ = ["Store", "is_postgres", "is_sqlite", "open_store", "store_exists"]

_POSTGRESQL: Final = ("postgresql", "postgres")
_UNKNOWN_KIND: Final = "must begin with sqlite:/// or postgresql://, or be memory:"


async def open_store(url: str, *, create: bool = False, sharded: bool = False) -> Store:
    """Open the store that ``url`` names: ``memory:``, ``sqlite:///relative``,
    ``sqlite:////absolute/path`` or ``postgresql://user:password@host/database``.

    ``create`` makes an absent one (of PostgreSQL the tables, not the database); without it an
    absent one is an error, so that a mistyped path never passes for an empty database.

    ``sharded`` is for PostgreSQL on an engine that shards its tables, like Citus: it sees that they
    are laid out for that, which only ``create`` does. Whoever opens them later need not say it.

    Raises:
        ConfigurationError: the URL is of no known kind, or of one that is not sharded, or what it
            names is absent, foreign, damaged, or of a newer release.
        StoreUnavailable: it does not answer.
    """
    kind, _, rest = url.partition(":")
    if sharded and kind not in _POSTGRESQL:
        raise ConfigurationError("database_url", "must begin with postgresql:// to be sharded")
    if kind == "memory":
        from .memory import MemoryStore

        return MemoryStore()
    if kind == "sqlite" and rest.startswith("///"):
        from .sqlite import SQLiteStore

        return await SQLiteStore.open(rest.removeprefix("///"), create=create)
    if kind in _POSTGRESQL:
        from .postgres import PostgresStore

        return await PostgresStore.open(url, create=create, sharded=sharded)
    raise ConfigurationError("database_url", _UNKNOWN_KIND)


async def store_exists(url: str) -> bool:
    """Whether there is a store at ``url`` already, so that ``create`` would make none: a file, or
    tables. Touches nothing.

    Raises:
        ConfigurationError: as ``open_store``, of a server of PostgreSQL.
        StoreUnavailable: it does not answer.
    """
    kind, _, rest = url.partition(":")
    if kind in _POSTGRESQL:
        from .postgres.opening import holds_tables

        return await holds_tables(url)
    return kind == "sqlite" and _is_file(rest.removeprefix("///"))


def _is_file(path: str) -> bool:
    return Path(path).exists()


def is_sqlite(store: Store) -> TypeGuard[SQLiteStore]:
    """Whether it is a SQLite file. Without its module, whose library may not be installed, there is
    no store of a kind.
    """
    module = sys.modules.get(f"{__name__}.sqlite")
    return module is not None and isinstance(store, module.SQLiteStore)


def is_postgres(store: Store) -> TypeGuard[PostgresStore]:
    """Whether it is in PostgreSQL; as ``is_sqlite``."""
    module = sys.modules.get(f"{__name__}.postgres")
    return module is not None and isinstance(store, module.PostgresStore)
