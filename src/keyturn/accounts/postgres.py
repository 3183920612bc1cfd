"""Users in PostgreSQL, in the database of their sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg

from keyturn.core.model import Cutoff, Device, Event, EventKind
from keyturn.stores.base import ClaimsChange, Ending
from keyturn.stores.postgres import PostgresStore, statements
from keyturn.stores.postgres.connecting import Connection
from keyturn.stores.postgres.layouts import Layout

from . import throttle
from .model import Account, User
from .store import NotChanged
from .throttle import Failures, ThrottleKey

__all__ = ["PostgresUsers"]

_USER: Final = ", ".join(User.__struct_fields__)
_ACCOUNT: Final = f"""
    SELECT password_hash, coalesce(epoch, 0) AS epoch, {_USER}
    FROM keyturn.account LEFT JOIN keyturn.user_epoch ON user_id = id"""  # noqa: S608  names of columns
_BY_ID: Final = f"{_ACCOUNT} WHERE id = $1"
_BY_NAME: Final = f"{_ACCOUNT} WHERE username_key = $1 OR email_key = $1"
_BY_RESET: Final = f"""
    {_ACCOUNT} WHERE id =
        (SELECT user_id FROM keyturn.password_reset WHERE digest = $1 AND expires_at > $2)"""  # noqa: S608
_AMONG: Final = f"""
    SELECT {_USER} FROM keyturn.account
    WHERE username_key = ANY ($1::text[]) OR email_key = ANY ($1::text[])"""  # noqa: S608
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

    async def add_many(self, accounts: Sequence[tuple[User, str]]) -> list[bool]:
        return await self._engine.transact(lambda connection: _add_many(connection, accounts))

    async def find(self, key: str) -> Account | None:
        return await self._engine.run(lambda connection: _account(connection, _BY_NAME, key))

    async def get(self, user_id: str) -> Account | None:
        return await self._engine.run(lambda connection: _account(connection, _BY_ID, user_id))

    async def find_users(self, keys: Sequence[str]) -> list[User]:
        return await self._engine.run(lambda connection: _among(connection, keys))

    async def list_users(self, *, after: str, limit: int) -> list[User]:
        return await self._engine.run(lambda connection: _list(connection, after, limit))

    async def set_password(
        self,
        account: Account,
        password_hash: str,
        ending: Ending,
        device: Device,
        *,
        reset: bytes | None = None,
    ) -> list[Cutoff] | None:
        return await self._engine.transact(
            lambda connection: _set_password(
                connection, self._layout, account, password_hash, ending, device, reset
            )
        )

    async def rehash(self, account: Account, password_hash: str) -> None:
        await self._engine.run(lambda connection: _rehash(connection, account, password_hash))

    async def set_reset(self, user_id: str, digest: bytes, expires_at: int) -> bool:
        return await self._engine.transact(
            lambda connection: _set_reset(connection, user_id, digest, expires_at)
        )

    async def find_by_reset(self, digest: bytes, now: int) -> Account | None:
        return await self._engine.run(
            lambda connection: _account(connection, _BY_RESET, digest, now)
        )

    async def change(
        self, account: Account, user: User, change: ClaimsChange
    ) -> list[Cutoff] | NotChanged:
        return await self._engine.transact(
            lambda connection: _change(connection, self._layout, account, user, change)
        )

    async def disable(self, user_id: str, ending: Ending) -> list[Cutoff] | None:
        return await self._engine.transact(
            lambda connection: _disable(connection, self._layout, user_id, ending)
        )

    async def enable(self, user_id: str) -> bool:
        return await self._engine.run(lambda connection: _enable(connection, user_id))

    async def delete(
        self, user_id: str, ending: Ending, *, epoch: int | None = None
    ) -> list[Cutoff] | None:
        return await self._engine.transact(
            lambda connection: _delete(connection, self._layout, user_id, ending, epoch)
        )

    async def blocked_until(self, keys: Sequence[ThrottleKey], now: int) -> int:
        counted = await self._engine.run(lambda connection: _counted(connection, keys))
        return throttle.blocked_until(counted.values(), now)

    async def settle(
        self,
        keys: Sequence[ThrottleKey],
        *,
        success: bool,
        now: int,
        failure: Event | None = None,
    ) -> int:
        return await self._engine.transact(
            lambda connection: _settle(
                connection, self._layout, keys, success=success, now=now, failure=failure
            ),
            locks=_locks_of(keys),
        )

    async def clear(self, keys: Sequence[ThrottleKey]) -> None:
        await self._engine.transact(
            lambda connection: _clear(connection, keys), locks=_locks_of(keys)
        )

    async def sweep(self, now: int, limit: int) -> int:
        return await self._engine.transact(lambda connection: _sweep(connection, now, limit))


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


# An array of arrays would be taken apart to the last text, so permissions come joined by spaces. Of
# numbers, as of bytes, asyncpg would look up the type first, which takes Citus half a second.
_ADD_MANY: Final = """
    INSERT INTO keyturn.account (id, username, username_key, email, email_key, fullname,
        permissions, password_hash, created_at, disabled_at)
    SELECT id, username, username_key, email, email_key, fullname,
        string_to_array(permissions, ' '), password_hash, created_at, disabled_at
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
        $7::text[], $8::text[], $9::text[]::bigint[], $10::text[]::bigint[])
    AS one (id, username, username_key, email, email_key, fullname, permissions, password_hash,
        created_at, disabled_at)
    ON CONFLICT DO NOTHING RETURNING id"""


async def _add_many(connection: Connection, accounts: Sequence[tuple[User, str]]) -> list[bool]:
    rows = [
        (
            user.id,
            user.username,
            user.username_key,
            user.email,
            user.email_key,
            user.fullname,
            " ".join(user.permissions),
            password_hash,
            str(user.created_at),
            None if user.disabled_at is None else str(user.disabled_at),
        )
        for user, password_hash in accounts
    ]
    columns = list(zip(*rows, strict=True)) or [()] * 10
    added = {id_ for (id_,) in await connection.fetch(_ADD_MANY, *columns)}
    return [user.id in added for user, _ in accounts]


async def _account(
    connection: Connection, query: str, *values: str | bytes | int
) -> Account | None:
    # PostgreSQL holds no NUL, and refuses to look for one.
    if any(isinstance(value, str) and "\0" in value for value in values):
        return None
    row = await connection.fetchrow(query, *values)
    if row is None:
        return None
    password_hash, epoch, *fields = row
    return Account(user=_user(fields), password_hash=password_hash, epoch=epoch)


async def _among(connection: Connection, keys: Sequence[str]) -> list[User]:
    return [_user(tuple(row)) for row in await connection.fetch(_AMONG, keys)]


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
    reset: bytes | None,
) -> list[Cutoff] | None:
    user_id = account.user.id
    if not await _locked(connection, layout, user_id, account.epoch):
        return None
    if reset not in (None, await _reset_of(connection, user_id)):
        return None
    await connection.execute(
        "UPDATE keyturn.account SET password_hash = $1 WHERE id = $2", password_hash, user_id
    )
    await _forget_reset(connection, user_id)
    await layout.record_event(
        connection,
        Event(at=ending.at, kind=EventKind.PASSWORD_CHANGED, user_id=user_id, device=device),
    )
    return await statements.end_user(connection, layout, user_id, None, ending)


async def _locked(connection: Connection, layout: Layout, user_id: str, epoch: int | None) -> bool:
    """Keep others from changing the user. Returns whether there is one, of this epoch if given."""
    locked = await connection.fetchval(
        "SELECT id FROM keyturn.account WHERE id = $1 FOR NO KEY UPDATE", user_id
    )
    if locked is None:
        return False
    return epoch in (None, await layout.lock_user(connection, user_id))


async def _rehash(connection: Connection, account: Account, password_hash: str) -> None:
    await connection.execute(
        "UPDATE keyturn.account SET password_hash = $1 WHERE id = $2 AND password_hash = $3",
        password_hash,
        account.user.id,
        account.password_hash,
    )


async def _set_reset(connection: Connection, user_id: str, digest: bytes, expires_at: int) -> bool:
    may_have_one = await connection.fetchval(
        "SELECT disabled_at IS NULL FROM keyturn.account WHERE id = $1 FOR NO KEY UPDATE", user_id
    )
    if not may_have_one:
        return False
    await connection.execute(
        "INSERT INTO keyturn.password_reset (user_id, digest, expires_at) VALUES ($1, $2, $3)"
        " ON CONFLICT (user_id) DO UPDATE"
        " SET (digest, expires_at) = (excluded.digest, excluded.expires_at)",
        user_id,
        digest,
        expires_at,
    )
    return True


async def _reset_of(connection: Connection, user_id: str) -> bytes:
    digest: bytes | None = await connection.fetchval(
        "SELECT digest FROM keyturn.password_reset WHERE user_id = $1", user_id
    )
    return digest or b""


async def _forget_reset(connection: Connection, user_id: str) -> None:
    await connection.execute("DELETE FROM keyturn.password_reset WHERE user_id = $1", user_id)


async def _change(
    connection: Connection, layout: Layout, account: Account, user: User, change: ClaimsChange
) -> list[Cutoff] | NotChanged:
    if not await _locked(connection, layout, user.id, account.epoch):
        return NotChanged.RACED
    if not await _rename(connection, user):
        return NotChanged.TAKEN
    if user.email != account.user.email:
        await _forget_reset(connection, user.id)
    return await statements.set_claims(
        connection,
        layout,
        user.id,
        change.claims,
        at=change.at,
        least_version=change.least_version,
        tokens_until=change.tokens_until,
    )


async def _rename(connection: Connection, user: User) -> bool:
    """Whether nobody else has the names; the transaction goes on in any case."""
    await connection.execute("SAVEPOINT before_rename")
    try:
        await connection.execute(
            "UPDATE keyturn.account SET username = $1, username_key = $2, email = $3,"
            " email_key = $4, fullname = $5 WHERE id = $6",
            user.username,
            user.username_key,
            user.email,
            user.email_key,
            user.fullname,
            user.id,
        )
    except asyncpg.UniqueViolationError:
        await connection.execute("ROLLBACK TO before_rename")
        return False
    return True


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
    await _forget_reset(connection, user_id)
    return await statements.end_user(connection, layout, user_id, None, ending)


async def _enable(connection: Connection, user_id: str) -> bool:
    return await _changes(
        connection, "UPDATE keyturn.account SET disabled_at = NULL WHERE id = $1", user_id
    )


async def _delete(
    connection: Connection, layout: Layout, user_id: str, ending: Ending, epoch: int | None
) -> list[Cutoff] | None:
    if not await _locked(connection, layout, user_id, epoch):
        return None
    await connection.execute("DELETE FROM keyturn.account WHERE id = $1", user_id)
    await _forget_reset(connection, user_id)
    cutoffs = await statements.end_user(connection, layout, user_id, None, ending)
    await statements.forget_user(connection, user_id)
    return cutoffs


async def _counted(connection: Connection, keys: Sequence[ThrottleKey]) -> Mapping[bytes, Failures]:
    # Texts, as the times of ``_ADD_MANY`` are.
    rows = await connection.fetch(
        "SELECT digest, count, blocked_until, forget_at FROM keyturn.failures"
        " WHERE digest = ANY ($1::text[]::bytea[])",
        [f"\\x{key.digest.hex()}" for key in keys],
    )
    return {digest: Failures(*counted) for digest, *counted in rows}


async def _settle(
    connection: Connection,
    layout: Layout,
    keys: Sequence[ThrottleKey],
    *,
    success: bool,
    now: int,
    failure: Event | None,
) -> int:
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
    if failure and not until:
        await _record_failure(connection, layout, failure)
    return until


async def _record_failure(connection: Connection, layout: Layout, failure: Event) -> None:
    """If the user is there, and stays until this is over. Where not, as many statements are made:
    on a long way to the database one more would tell who has an account.
    """
    is_there = await connection.fetchval(_HOLD, failure.user_id)
    if is_there:
        await layout.record_event(connection, failure)
    else:
        await connection.fetchval(_HOLD, failure.user_id)


_HOLD: Final = "SELECT true FROM keyturn.account WHERE id = $1 FOR KEY SHARE"


def _locks_of(keys: Sequence[ThrottleKey]) -> list[int]:
    """A key on which nothing is counted has no row that could be locked."""
    return [int.from_bytes(key.digest[:8], "big", signed=True) for key in keys]


async def _clear(connection: Connection, keys: Sequence[ThrottleKey]) -> None:
    for key in keys:
        await connection.execute("DELETE FROM keyturn.failures WHERE digest = $1", key.digest)


async def _sweep(connection: Connection, now: int, limit: int) -> int:
    failures = await connection.fetch(_sweeping("failures", "digest", "forget_at"), now, limit)
    resets = await connection.fetch(
        _sweeping("password_reset", "user_id", "expires_at"), now, limit
    )
    return len(failures) + len(resets)


def _sweeping(table: str, key: str, end: str) -> str:
    return f"""
        DELETE FROM keyturn.{table} WHERE {key} = ANY (ARRAY(
            SELECT {key} FROM keyturn.{table} WHERE {end} <= $1 LIMIT $2
            FOR UPDATE SKIP LOCKED))
        RETURNING 1"""  # noqa: S608  names of columns


async def _changes(connection: Connection, statement: str, *values: object) -> bool:
    """Whether the statement touched a row; its answer ends with how many."""
    answer = await connection.execute(statement, *values)
    return not answer.endswith(" 0")
