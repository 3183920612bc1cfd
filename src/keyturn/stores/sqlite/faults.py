"""Which errors of SQLite are the system's, not a mistake in what was asked of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import apsw
import msgspec

from keyturn.core.errors import RowUnavailable, StoreUnavailable

__all__ = ["told_as_unavailable"]

_FAULTS: Final[dict[type[apsw.Error], str]] = {
    apsw.BusyError: "The database stayed locked by another process",
    apsw.CantOpenError: "The database file cannot be opened",
    apsw.CorruptError: "The database file is damaged",
    apsw.FullError: "The disk of the database is full",
    apsw.IOError: "The disk of the database failed to read or write",
    apsw.LockedError: "The database is locked",
    apsw.NoMemError: "There is no memory left for the database",
    apsw.NotADBError: "The database file is damaged",
    apsw.ProtocolError: "The database stayed locked by another process",
    apsw.ReadOnlyError: "The database file cannot be written",
}


@contextmanager
def told_as_unavailable() -> Iterator[None]:
    """Within, a fault of the system is raised as ``StoreUnavailable``, as ``RowUnavailable`` where
    others read at once may fare better; mistakes of ours as is.
    """
    try:
        yield
    except (msgspec.DecodeError, apsw.SQLError) as error:
        if isinstance(error, apsw.SQLError) and "malformed JSON" not in str(error):
            raise
        raise RowUnavailable("A row of the database cannot be read") from error
    except tuple(_FAULTS) as error:
        raise StoreUnavailable(_FAULTS[type(error)]) from error
