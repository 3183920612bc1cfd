"""Deliveries in SQLite, in the file of their events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from keyturn.core.model import Device, EndReason, Event, EventKind
from keyturn.stores.base import Delivery
from keyturn.stores.sqlite.engine import Engine

__all__ = ["SQLiteOutbox"]

_COLUMNS: Final = "id, hook, at, kind, user_id, sid, reason, device, attempts, due_at, error"
_SOME: Final = 2000
"""Rows changed at once, so that others do not wait for long."""

_device_of = msgspec.json.Decoder(Device).decode


class SQLiteOutbox:
    """An ``Outbox`` on the engine of a ``SQLiteStore``, which it leaves for that to close."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def subscribe(self, hook: str) -> None:
        if not await self._read("SELECT 1 FROM hook WHERE name = ?", hook):
            await self._write("INSERT INTO hook (name) VALUES (?) ON CONFLICT DO NOTHING", hook)

    async def unsubscribe(self, hook: str) -> None:
        await self._write("DELETE FROM hook WHERE name = ?", hook)
        while await self._write(_DROP_SOME, hook, _SOME):
            pass

    async def subscribed(self) -> list[str]:
        return [name for (name,) in await self._read("SELECT name FROM hook ORDER BY name")]

    async def take(self, hook: str, *, now: int, until: int, latest: int) -> Delivery | None:
        """To look takes no turn of those that write."""
        if not await self._read(_DUE, hook, now, latest):
            return None
        rows = await self._write(_TAKE, hook, now, latest, until)
        return _delivery(rows[0]) if rows else None

    async def drop(self, delivery: Delivery) -> None:
        await self._write("DELETE FROM delivery WHERE id = ?", delivery.id)

    async def put_off(self, delivery: Delivery, *, due_at: int | None, error: str) -> None:
        await self._write(_PUT_OFF, due_at, error, delivery.id, delivery.due_at)

    async def count(self, hook: str) -> tuple[int, int]:
        [(due, given_up)] = await self._read(_COUNT, hook)
        return due, given_up

    async def oldest(self, hook: str, *, given_up: bool, limit: int) -> list[Delivery]:
        return [_delivery(row) for row in await self._read(_OLDEST, hook, given_up, limit)]

    async def retry(self, hook: str, ids: Sequence[str] | None) -> int:
        return await self._in_batches(_RETRY, hook, ids)

    async def discard(self, hook: str, ids: Sequence[str] | None) -> int:
        return await self._in_batches(_DISCARD, hook, ids)

    async def _in_batches(self, query: str, hook: str, ids: Sequence[str] | None) -> int:
        chosen = None if ids is None else msgspec.json.encode(ids).decode()
        done = 0
        while changed := len(await self._write(query, hook, chosen, _SOME)):
            done += changed
        return done

    async def _read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return await self._engine.read(
            lambda connection: connection.execute(query, values).fetchall()
        )

    async def _write(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return await self._engine.write(
            lambda connection: connection.execute(query, values).fetchall()
        )


# ruff: noqa: S608  what is put into a statement are constants; values are bound
_DUE: Final = "SELECT 1 FROM delivery WHERE hook = ? AND (due_at <= ? OR due_at > ?) LIMIT 1"
_TAKE: Final = f"""
    UPDATE delivery SET due_at = ?4 WHERE number = (
        SELECT number FROM delivery WHERE hook = ?1 AND (due_at <= ?2 OR due_at > ?3)
        ORDER BY due_at, number LIMIT 1)
    RETURNING {_COLUMNS}"""
_PUT_OFF: Final = """
    UPDATE delivery SET attempts = attempts + 1, due_at = ?, error = ?
    WHERE id = ? AND due_at = ?"""
_COUNT: Final = "SELECT count(due_at), count(*) - count(due_at) FROM delivery WHERE hook = ?"
_OLDEST: Final = f"""
    SELECT {_COLUMNS} FROM delivery WHERE hook = ? AND (due_at IS NULL) = ?
    ORDER BY number LIMIT ?"""
_DROP_SOME: Final = """
    DELETE FROM delivery WHERE number IN (
        SELECT number FROM delivery WHERE hook = ? LIMIT ?) RETURNING 1"""
_GIVEN_UP: Final = """number IN (
        SELECT number FROM delivery WHERE hook = ?1 AND due_at IS NULL
        AND (?2 IS NULL OR id IN (SELECT value FROM json_each(?2))) LIMIT ?3)"""
_RETRY: Final = f"UPDATE delivery SET attempts = 0, due_at = 0 WHERE {_GIVEN_UP} RETURNING 1"
_DISCARD: Final = f"DELETE FROM delivery WHERE {_GIVEN_UP} RETURNING 1"


def _delivery(row: tuple[Any, ...]) -> Delivery:
    delivery_id, hook, at, kind, user_id, sid, reason, device, attempts, due_at, error = row
    event = Event(
        at=at,
        kind=EventKind(kind),
        user_id=user_id,
        sid=sid,
        reason=reason and EndReason(reason),
        device=_device_of(device),
    )
    return Delivery(
        id=delivery_id, hook=hook, event=event, attempts=attempts, due_at=due_at, error=error
    )
