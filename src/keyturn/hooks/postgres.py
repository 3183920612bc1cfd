"""Deliveries in PostgreSQL, in the database of their events."""

# ruff: noqa: S608  what is put into a statement are constants; values are bound

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from keyturn.core.errors import ConfigurationError
from keyturn.stores.base import Delivery
from keyturn.stores.postgres.engine import Engine
from keyturn.stores.postgres.statements import EVENT, event_of

__all__ = ["PostgresOutbox"]

_COLUMNS: Final = f"id, hook, attempts, due_at, error, {EVENT}"
_OURS: Final = ("id", "hook", "attempts", "due_at", "error")
_SOME: Final = 2000
"""Rows changed at once, so that no statement takes too long."""


class PostgresOutbox:
    """An ``Outbox`` on the engine of a ``PostgresStore``, which it leaves for that to close."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def subscribe(self, hook: str) -> None:
        [(is_told, is_known)] = await self._fetch(_STANDING, hook)
        if not is_told:
            raise ConfigurationError(
                "database_url", "is laid out on Citus, where there are no hooks and no webhook"
            )
        if not is_known:
            await self._fetch(_SUBSCRIBE, hook)

    async def unsubscribe(self, hook: str) -> None:
        await self._fetch("DELETE FROM keyturn.hook WHERE name = $1", hook)
        while await self._fetch(_DROP_SOME, hook, _SOME):
            pass

    async def subscribed(self) -> list[str]:
        rows = await self._fetch("SELECT name FROM keyturn.hook ORDER BY name")
        return [name for (name,) in rows]

    async def take(self, hook: str, *, now: int, until: int, latest: int) -> Delivery | None:
        rows = await self._fetch(_TAKE, hook, now, latest, until)
        return _delivery(rows[0]) if rows else None

    async def drop(self, delivery: Delivery) -> None:
        await self._fetch("DELETE FROM keyturn.delivery WHERE id = $1", delivery.id)

    async def put_off(self, delivery: Delivery, *, due_at: int | None, error: str) -> None:
        await self._fetch(_PUT_OFF, due_at, error, delivery.id, delivery.due_at)

    async def count(self, hook: str) -> tuple[int, int]:
        [(due, given_up)] = await self._fetch(_COUNT, hook)
        return due, given_up

    async def oldest(self, hook: str, *, given_up: bool, limit: int) -> list[Delivery]:
        return [_delivery(row) for row in await self._fetch(_OLDEST, hook, given_up, limit)]

    async def retry(self, hook: str, ids: Sequence[str] | None) -> int:
        return await self._in_batches(_RETRY, hook, ids)

    async def discard(self, hook: str, ids: Sequence[str] | None) -> int:
        return await self._in_batches(_DISCARD, hook, ids)

    async def _in_batches(self, query: str, hook: str, ids: Sequence[str] | None) -> int:
        done = 0
        while changed := len(await self._fetch(query, hook, ids, _SOME)):
            done += changed
        return done

    async def _fetch(self, query: str, *values: Any) -> list[asyncpg.Record]:
        return await self._engine.run(lambda connection: connection.fetch(query, *values))


_STANDING: Final = """
    SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger
            WHERE tgrelid = 'keyturn.event'::regclass AND tgname = 'tell_hooks'),
        EXISTS (SELECT FROM keyturn.hook WHERE name = $1)"""
_SUBSCRIBE: Final = "INSERT INTO keyturn.hook (name) VALUES ($1) ON CONFLICT DO NOTHING"
# Two looks along the index: whoever is due, else whoever was put off by a clock that was wrong.
_TAKE: Final = f"""
    UPDATE keyturn.delivery SET due_at = $4 WHERE number = coalesce(
        (SELECT number FROM keyturn.delivery WHERE hook = $1 AND due_at <= $2
            ORDER BY due_at, number LIMIT 1 FOR UPDATE SKIP LOCKED),
        (SELECT number FROM keyturn.delivery WHERE hook = $1 AND due_at > $3
            ORDER BY due_at, number LIMIT 1 FOR UPDATE SKIP LOCKED))
    RETURNING {_COLUMNS}"""
_PUT_OFF: Final = """
    UPDATE keyturn.delivery SET attempts = attempts + 1, due_at = $1, error = $2
    WHERE id = $3 AND due_at = $4"""
_COUNT: Final = """
    SELECT count(due_at), count(*) - count(due_at) FROM keyturn.delivery WHERE hook = $1"""
_OLDEST: Final = f"""
    SELECT {_COLUMNS} FROM keyturn.delivery WHERE hook = $1 AND (due_at IS NULL) = $2
    ORDER BY number LIMIT $3"""
_DROP_SOME: Final = """
    DELETE FROM keyturn.delivery WHERE number IN (
        SELECT number FROM keyturn.delivery WHERE hook = $1 LIMIT $2) RETURNING 1"""
_GIVEN_UP: Final = """number IN (
        SELECT number FROM keyturn.delivery WHERE hook = $1 AND due_at IS NULL
        AND ($2::text[] IS NULL OR id = ANY ($2)) LIMIT $3)"""
_RETRY: Final = f"""
    UPDATE keyturn.delivery SET attempts = 0, due_at = 0 WHERE {_GIVEN_UP} RETURNING 1"""
_DISCARD: Final = f"DELETE FROM keyturn.delivery WHERE {_GIVEN_UP} RETURNING 1"


def _delivery(row: asyncpg.Record) -> Delivery:
    values = dict(row)
    ours = {name: values.pop(name) for name in _OURS}
    return Delivery(**ours, event=event_of(values))
