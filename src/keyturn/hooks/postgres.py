"""Deliveries in PostgreSQL, in the database of their events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import msgspec

from keyturn.core.errors import ConfigurationError
from keyturn.core.model import Event
from keyturn.stores.base import Delivery
from keyturn.stores.postgres.engine import Engine

__all__ = ["PostgresOutbox"]

_COLUMNS: Final = "id, hook, event, attempts, due_at, error"
_GIVEN_UP: Final = "hook = $1 AND due_at IS NULL AND ($2::text[] IS NULL OR id = ANY ($2))"

_event_of = msgspec.json.Decoder(Event).decode


class PostgresOutbox:
    """An ``Outbox`` on the engine of a ``PostgresStore``, which it leaves for that to close."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def subscribe(self, hook: str) -> None:
        [(is_told,)] = await self._fetch(_IS_TOLD)
        if not is_told:
            raise ConfigurationError(
                "database_url", "is laid out on Citus, where there are no hooks and no webhook"
            )
        await self._fetch(_SUBSCRIBE, hook)

    async def unsubscribe(self, hook: str) -> None:
        await self._fetch("DELETE FROM keyturn.hook WHERE name = $1", hook)
        while await self._fetch(_DROP_SOME, hook):
            pass

    async def subscribed(self) -> list[str]:
        return [
            name for (name,) in await self._fetch("SELECT name FROM keyturn.hook ORDER BY name")
        ]

    async def take(self, hook: str, *, now: int, until: int) -> Delivery | None:
        rows = await self._fetch(_TAKE, hook, now, until)
        return _delivery(rows[0]) if rows else None

    async def drop(self, delivery: Delivery) -> None:
        await self._fetch("DELETE FROM keyturn.delivery WHERE id = $1", delivery.id)

    async def put_off(self, delivery: Delivery, *, due_at: int | None, error: str) -> None:
        await self._fetch(_PUT_OFF, due_at, error, delivery.id, delivery.attempts)

    async def count(self, hook: str) -> tuple[int, int]:
        [(due, given_up)] = await self._fetch(_COUNT, hook)
        return due, given_up

    async def oldest(self, hook: str, *, given_up: bool, limit: int) -> list[Delivery]:
        return [_delivery(row) for row in await self._fetch(_LIST, hook, given_up, limit)]

    async def retry(self, hook: str, ids: Sequence[str] | None) -> int:
        return len(await self._fetch(_RETRY, hook, ids))

    async def discard(self, hook: str, ids: Sequence[str] | None) -> int:
        return len(await self._fetch(_DISCARD, hook, ids))

    async def _fetch(self, query: str, *values: Any) -> list[asyncpg.Record]:
        return await self._engine.run(lambda connection: connection.fetch(query, *values))


_TAKE: Final = f"""
    UPDATE keyturn.delivery SET attempts = attempts + 1, due_at = $3
    WHERE number = (
        SELECT number FROM keyturn.delivery WHERE hook = $1 AND due_at <= $2
        ORDER BY due_at, number LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING {_COLUMNS}"""  # noqa: S608  names of columns
_PUT_OFF: Final = """
    UPDATE keyturn.delivery SET due_at = $1, error = $2 WHERE id = $3 AND attempts = $4"""
_COUNT: Final = """
    SELECT count(due_at), count(*) - count(due_at) FROM keyturn.delivery WHERE hook = $1"""
_LIST: Final = f"""
    SELECT {_COLUMNS} FROM keyturn.delivery WHERE hook = $1 AND (due_at IS NULL) = $2
    ORDER BY number LIMIT $3"""  # noqa: S608
_RETRY: Final = f"""
    UPDATE keyturn.delivery SET attempts = 0, due_at = 0 WHERE {_GIVEN_UP} RETURNING id"""  # noqa: S608
_DISCARD: Final = f"DELETE FROM keyturn.delivery WHERE {_GIVEN_UP} RETURNING id"  # noqa: S608


_IS_TOLD: Final = """
    SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger
        WHERE tgrelid = 'keyturn.event'::regclass AND tgname = 'tell_hooks')"""
_SUBSCRIBE: Final = "INSERT INTO keyturn.hook (name) VALUES ($1) ON CONFLICT DO NOTHING"
_DROP_SOME: Final = """
    DELETE FROM keyturn.delivery WHERE number IN (
        SELECT number FROM keyturn.delivery WHERE hook = $1 LIMIT 5000) RETURNING 1"""


def _delivery(row: asyncpg.Record) -> Delivery:
    return Delivery(**{**row, "event": _event_of(row["event"])})
