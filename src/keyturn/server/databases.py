"""The database that the settings name: a file of SQLite, or a server of PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from keyturn.core.errors import ConfigurationError, StoreUnavailable

from .settings import Settings

__all__ = ["damage_refused", "file_of", "name_of"]

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


@contextmanager
def damage_refused(settings: Settings) -> Iterator[None]:
    """Within, a file that is found damaged is refused: trying again is no help. To a server that
    runs it is an outage, as to it the rest of the file is of use still.
    """
    file = file_of(settings)
    try:
        yield
    except StoreUnavailable as error:
        if file is None or not _tells_of_damage(error):
            raise
        raise ConfigurationError("database_url", f"{file} is damaged; restore a backup") from error


def _tells_of_damage(error: StoreUnavailable) -> bool:
    import apsw  # which a server of PostgreSQL does without

    return isinstance(error.__cause__, apsw.CorruptError | apsw.NotADBError)
