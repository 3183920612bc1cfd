"""The database that the settings name: a file of SQLite, or a server of PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from .settings import Settings

__all__ = ["file_of", "name_of"]

_SQLITE: Final = "sqlite:///"


def file_of(settings: Settings) -> Path | None:
    """The file that ``database_url`` names; None where it names a server."""
    url = settings.database_url
    return Path(url.removeprefix(_SQLITE)) if url.startswith(_SQLITE) else None


def name_of(settings: Settings) -> str:
    """What to call the database before people: without user and password."""
    file = file_of(settings)
    if file is not None:
        return str(file)
    url = urlsplit(settings.database_url)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"
