"""Deliveries in SQLite, in the file of their events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import apsw
import msgspec

from keyturn.core.model import Event
from keyturn.stores.base import Delivery
from keyturn.stores.sqlite.engine import Engine

__all__ = ["SQLiteOutbox"]

_COLUMNS: Final = "id, hook, event, attempts, due_at, error"
_GIVEN_UP: Final = (
    "hook = ?1 AND due_at IS NULL AND (?2 IS NULL OR id IN (SELECT value FROM json_each(?2)))"
)

_event_of = msgspec.json.Decoder(Event).decode


class SQLiteOutbox:
    """An ``Outbox`` on the engine of a ``SQLiteStore``, which it leaves for that to close."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def subscribe(self, hook: str) -> None:
        await self._write("INSERT INTO hook (name) VALUES (?) ON CONFLICT DO NOTHING", hook)

    async def unsubscribe(self, hook: str) -> None:
        await self._engine.write(lambda connection: _unsubscribe(connection, hook))

    async def subscribed(self) -> list[str]:
        return [name for (name,) in await self._read("SELECT name FROM hook ORDER BY name")]

    async def take(self, hook: str, *, now: int, until: int) -> Delivery | None:
        """To look takes no turn of those that write."""
        if not await self._read(_DUE, hook, now):
            return None
        rows = await self._write(_TAKE, hook, now, until)
        return _delivery(rows[0]) if rows else None

    async def drop(self, delivery: Delivery) -> None:
        await self._write("DELETE FROM delivery WHERE id = ?", delivery.id)

    async def put_off(self, delivery: Delivery, *, due_at: int | None, error: str) -> None:
        await self._write(
            "UPDATE delivery SET due_at = ?, error = ? WHERE id = ? AND attempts = ?",
            due_at,
            error,
            delivery.id,
            delivery.attempts,
        )

    async def count(self, hook: str) -> tuple[int, int]:
        [(due, given_up)] = await self._read(
            "SELECT count(due_at), count(*) - count(due_at) FROM delivery WHERE hook = ?", hook
        )
        return due, given_up

    async def oldest(self, hook: str, *, given_up: bool, limit: int) -> list[Delivery]:
        rows = await self._read(_LIST, hook, given_up, limit)
        return [_delivery(row) for row in rows]

    async def retry(self, hook: str, ids: Sequence[str] | None) -> int:
        query = f"UPDATE delivery SET attempts = 0, due_at = 0 WHERE {_GIVEN_UP} RETURNING id"  # noqa: S608
        return len(await self._write(query, hook, _json(ids)))

    async def discard(self, hook: str, ids: Sequence[str] | None) -> int:
        query = f"DELETE FROM delivery WHERE {_GIVEN_UP} RETURNING id"  # noqa: S608
        return len(await self._write(query, hook, _json(ids)))

    async def _read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return await self._engine.read(
            lambda connection: connection.execute(query, values).fetchall()
        )

    async def _write(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return await self._engine.write(
            lambda connection: connection.execute(query, values).fetchall()
        )


_DUE: Final = "SELECT 1 FROM delivery WHERE hook = ? AND due_at <= ? LIMIT 1"
_TAKE: Final = f"""
    UPDATE delivery SET attempts = attempts + 1, due_at = ?3
    WHERE number = (
        SELECT number FROM delivery WHERE hook = ?1 AND due_at <= ?2
        ORDER BY due_at, number LIMIT 1)
    RETURNING {_COLUMNS}"""  # noqa: S608  names of columns
_LIST: Final = f"""
    SELECT {_COLUMNS} FROM delivery WHERE hook = ? AND (due_at IS NULL) = ?
    ORDER BY number LIMIT ?"""  # noqa: S608


def _unsubscribe(connection: apsw.Connection, hook: str) -> None:
    connection.execute("DELETE FROM hook WHERE name = ?", (hook,))
    connection.execute("DELETE FROM delivery WHERE hook = ?", (hook,))


def _delivery(row: tuple[Any, ...]) -> Delivery:
    delivery_id, hook, event, attempts, due_at, error = row
    return Delivery(
        id=delivery_id,
        hook=hook,
        event=_event_of(event),
        attempts=attempts,
        due_at=due_at,
        error=error,
    )


def _json(ids: Sequence[str] | None) -> str | None:
    return None if ids is None else msgspec.json.encode(ids).decode()
