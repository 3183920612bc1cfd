"""Which errors of PostgreSQL are the system's, and how they are told: without SQL, values or
addresses. What asyncpg itself says can hold whole rows, so it is not passed on even as a cause.
"""

from __future__ import annotations

from types import TracebackType
from typing import Final

import asyncpg

from keyturn.core.errors import RowUnavailable, StoreUnavailable

__all__ = ["FAULTS", "RETRIED", "told_as_unavailable"]

RETRIED: Final = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.InvalidCachedStatementError,  # a newer release changed a table meanwhile
)
"""The transaction was rolled back through no fault of its own: run it again."""

FAULTS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    EOFError,
)

_OF_ROWS: Final = ("22", "23", "P0", "55P03", "XX001", "XX002")
"""SQLSTATEs of a row: data and constraints refused, a lock not given, a page damaged."""

_TOLD: Final = {
    "08007": "The database did not commit on all its nodes yet",
    "08": "The connection to the database was lost",
    "22": "The database cannot hold such a value",
    "23": "The database refused the row",
    "25": "The database cannot be written, as a standby cannot",
    "28": "The database refused the user or the password",
    "3D": "The database does not exist",
    "42501": "The database refused a permission",
    "42": "The tables of Keyturn are not as they should be",
    "53100": "The disk of the database is full",
    "53": "The database has too little room or too many connections",
    "55P03": "The session stayed locked",
    "57014": "The database took too long",
    "57": "The database is starting or stopping",
    "58": "The disk of the database failed to read or write",
    "XX000": "The database failed",
    "XX": "The database is damaged",
}
"""By SQLSTATE or its class; PostgreSQL's manual, appendix A."""


class told_as_unavailable:  # noqa: N801  a context manager is called like a function
    """Within, a fault of the database, or of the way to it, is raised as ``StoreUnavailable``;
    as ``RowUnavailable`` where others asked for at once may fare better.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, FAULTS):
            raise _unavailable(error) from None


def _unavailable(error: BaseException) -> StoreUnavailable:
    if isinstance(error, TimeoutError):
        return StoreUnavailable("The database took too long")
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return StoreUnavailable(_TOLD["25"])
    if not isinstance(error, asyncpg.PostgresError):
        return StoreUnavailable("The database does not answer")
    state = error.sqlstate or ""
    told = _TOLD.get(state) or _TOLD.get(state[:2]) or "The database failed"
    kind = RowUnavailable if state.startswith(_OF_ROWS) else StoreUnavailable
    return kind(f"{told} (SQLSTATE {state})")
