"""Users in PostgreSQL, in the database of their sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from keyturn.core.model import Cutoff, Device, Event, EventKind
from keyturn.stores.base import Ending
from keyturn.stores.postgres import PostgresStore, statements
from keyturn.stores.postgres.connecting import Connection
from keyturn.stores.postgres.layouts import Layout

from . import throttle
from .model import Account, User
from .throttle import Failures, ThrottleKey

__all__ = ["PostgresUsers"]

_USER: Final = ", ".join(User.__struct_fields__)
_ACCOUNT: Final = f"""
    SELECT password_hash, coalesce(epoch, 0) AS epoch, {_USER}
    FROM keyturn.account LEFT JOIN keyturn.user_epoch ON user_id = id"""  # noqa: S608  names of columns
_BY_ID: Final = f"{_ACCOUNT} WHERE id = $1"
_BY_NAME: Final = f"{_ACCOUNT} WHERE username_key = $1 OR email_key = $1"
_PAST_NAME: Final = f"""
    SELECT {_USER} FROM keyturn.account WHERE username_key > $1
    ORDER BY username_key LIMIT $2"""  # noqa: S608


class PostgresUsers:
    """A ``UserStore`` on the engine of a ``PostgresStore``, which it leaves for that to close."""

    def __init__(self, store: PostgresStore) -> None:
        self._engine = store.engine
        self._layout = store.layout

    async def add(self, user: User, password_hash: str) -> bool:
        return await self._engine.run(lambda connection: _add(connection, user, password_hash))

    async def find(self, key: str) -> Account | None:
        return await self._engine.run(lambda connection: _account(connection, _BY_NAME, key))

    async def get(self, user_id: str) -> Account | None:
        return await self._engine.run(lambda connection: _account(connection, _BY_ID, user_id))

    async def list_users(self, *, after: str, limit: int) -> list[User]:
        return await self._engine.run(lambda connection: _list(connection, after, limit))

    async def set_password(
        self, account: Account, password_hash: str, ending: Ending, device: Device
    ) -> list[Cutoff] | None:
        return await self._engine.transact(
            lambda connection: _set_password(
                connection, self._layout, account, password_hash, ending, device
            )
        )

    async def rehash(self, account: Account, password_hash: str) -> None:
        await self._engine.run(lambda connection: _rehash(connection, account, password_hash))

    async def disable(self, user_id: str, ending: Ending) -> list[Cutoff] | None:
        return await self._engine.transact(
            lambda connection: _disable(connection, self._layout, user_id, ending)
        )

    async def enable(self, user_id: str) -> bool:
        return await self._engine.run(lambda connection: _enable(connection, user_id))

    async def blocked_until(self, keys: Sequence[ThrottleKey], now: int) -> int:
        counted = await self._engine.run(lambda connection: _counted(connection, keys))
        return throttle.blocked_until(counted.values(), now)

    async def settle(self, keys: Sequence[ThrottleKey], *, success: bool, now: int) -> int:
        return await self._engine.transact(
            lambda connection: _settle(connection, keys, success=success, now=now)
        )

    async def sweep(self, now: int, limit: int) -> int:
        return await self._engine.run(lambda connection: _sweep(connection, now, limit))


async def _add(connection: Connection, user: User, password_hash: str) -> bool:
    return await _changes(
        connection,
        "INSERT INTO keyturn.account (id, username, username_key, email, email_key, fullname,"
        " permissions, password_hash, created_at, disabled_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
        user.id,
        user.username,
        user.username_key,
        user.email,
        user.email_key,
        user.fullname,
        user.permissions,
        password_hash,
        user.created_at,
        user.disabled_at,
    )


async def _account(connection: Connection, query: str, value: str) -> Account | None:
    # PostgreSQL holds no NUL, and refuses to look for one.
    row = None if "\0" in value else await connection.fetchrow(query, value)
    if row is None:
        return None
    password_hash, epoch, *values = row
    return Account(user=_user(values), password_hash=password_hash, epoch=epoch)


async def _list(connection: Connection, after: str, limit: int) -> list[User]:
    return [_user(tuple(row)) for row in await connection.fetch(_PAST_NAME, after, limit)]


def _user(row: Sequence[Any]) -> User:
    values = dict(zip(User.__struct_fields__, row, strict=True))
    values["permissions"] = tuple(values["permissions"])
    return User(**values)


async def _set_password(
    connection: Connection,
    layout: Layout,
    account: Account,
    password_hash: str,
    ending: Ending,
    device: Device,
) -> list[Cutoff] | None:
    user_id = account.user.id
    locked = await connection.fetchval(
        "SELECT id FROM keyturn.account WHERE id = $1 FOR NO KEY UPDATE", user_id
    )
    if locked is None or await layout.lock_user(connection, user_id) != account.epoch:
        return None
    await connection.execute(
        "UPDATE keyturn.account SET password_hash = $1 WHERE id = $2", password_hash, user_id
    )
    await layout.record_event(
        connection,
        Event(at=ending.at, kind=EventKind.PASSWORD_CHANGED, user_id=user_id, device=device),
    )
    return await statements.end_user(connection, layout, user_id, None, ending)


async def _rehash(connection: Connection, account: Account, password_hash: str) -> None:
    await connection.execute(
        "UPDATE keyturn.account SET password_hash = $1 WHERE id = $2 AND password_hash = $3",
        password_hash,
        account.user.id,
        account.password_hash,
    )


async def _disable(
    connection: Connection, layout: Layout, user_id: str, ending: Ending
) -> list[Cutoff] | None:
    if not await _changes(
        connection,
        "UPDATE keyturn.account SET disabled_at = coalesce(disabled_at, $1) WHERE id = $2",
        ending.at,
        user_id,
    ):
        return None
    return await statements.end_user(connection, layout, user_id, None, ending)


async def _enable(connection: Connection, user_id: str) -> bool:
    return await _changes(
        connection, "UPDATE keyturn.account SET disabled_at = NULL WHERE id = $1", user_id
    )


async def _counted(connection: Connection, keys: Sequence[ThrottleKey]) -> Mapping[bytes, Failures]:
    # Of a list of bytes asyncpg would look up the type first, for which Citus takes half a second.
    rows = await connection.fetch(
        "SELECT digest, count, blocked_until, forget_at FROM keyturn.failures"
        " WHERE digest = ANY ($1::text[]::bytea[])",
        [f"\\x{key.digest.hex()}" for key in keys],
    )
    return {digest: Failures(*counted) for digest, *counted in rows}


async def _settle(
    connection: Connection, keys: Sequence[ThrottleKey], *, success: bool, now: int
) -> int:
    await _lock(connection, keys)
    counted = await _counted(connection, keys)
    until, changes = throttle.settle(keys, counted, success=success, now=now)
    for digest, failures in changes.items():
        if failures is None:
            await connection.execute("DELETE FROM keyturn.failures WHERE digest = $1", digest)
        else:
            await connection.execute(
                "INSERT INTO keyturn.failures (digest, count, blocked_until, forget_at)"
                " VALUES ($1, $2, $3, $4) ON CONFLICT (digest) DO UPDATE"
                " SET (count, blocked_until, forget_at)"
                " = (excluded.count, excluded.blocked_until, excluded.forget_at)",
                digest,
                failures.count,
                failures.blocked_until,
                failures.forget_at,
            )
    return until


async def _lock(connection: Connection, keys: Sequence[ThrottleKey]) -> None:
    """Until the transaction ends, for this attempt alone: a key on which nothing is counted has no
    row that could be locked. In one order for all.
    """
    for number in sorted(int.from_bytes(key.digest[:8], "big", signed=True) for key in keys):
        await connection.execute("SELECT pg_advisory_xact_lock($1)", number)


async def _sweep(connection: Connection, now: int, limit: int) -> int:
    swept = await connection.fetch(
        "DELETE FROM keyturn.failures WHERE digest = ANY (ARRAY("
        " SELECT digest FROM keyturn.failures WHERE forget_at <= $1 LIMIT $2"
        " FOR UPDATE SKIP LOCKED)) RETURNING 1",
        now,
        limit,
    )
    return len(swept)


async def _changes(connection: Connection, statement: str, *values: object) -> bool:
    """Whether the statement touched a row; its answer ends with how many."""
    answer = await connection.execute(statement, *values)
    return not answer.endswith(" 0")
