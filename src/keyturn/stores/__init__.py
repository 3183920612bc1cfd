"""Where sessions live. ``open_store`` opens one by its URL."""

from __future__ import annotations

from keyturn.core.errors import ConfigurationError

from .base import Store

__all__ = ["Store", "open_store"]


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
    raise ConfigurationError(
        "database_url", "must begin with sqlite:/// or postgresql://, or be memory:"
    )
