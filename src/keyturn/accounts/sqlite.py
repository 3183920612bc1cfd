"""Users in SQLite, in the file of their sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import apsw

from keyturn.core.model import Cutoff, Device, Event, EventKind
from keyturn.stores.base import Ending
from keyturn.stores.sqlite import statements
from keyturn.stores.sqlite.engine import Engine

from . import throttle
from .model import Account, User
from .throttle import Failures, ThrottleKey

__all__ = ["SQLiteUsers"]

_USER: Final = ", ".join(User.__struct_fields__)
_ACCOUNT: Final = f"SELECT password_hash, {_USER} FROM account"  # noqa: S608  names of columns
_BY_ID: Final = f"{_ACCOUNT} WHERE id = ?"
_BY_NAME: Final = f"{_ACCOUNT} WHERE username_key = ?1 OR email_key = ?1"
_PAST_NAME: Final = (
    f"SELECT {_USER} FROM account WHERE username_key > ? ORDER BY username_key LIMIT ?"  # noqa: S608
)


class SQLiteUsers:
    """A ``UserStore`` on the engine of a ``SQLiteStore``, which it leaves for that to close."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def add(self, user: User, password_hash: str) -> bool:
        return await self._engine.write(lambda connection: _add(connection, user, password_hash))

    async def find(self, key: str) -> Account | None:
        return await self._engine.read(lambda connection: _account(connection, _BY_NAME, key))

    async def get(self, user_id: str) -> Account | None:
        return await self._engine.read(lambda connection: _account(connection, _BY_ID, user_id))

    async def list_users(self, *, after: str, limit: int) -> list[User]:
        return await self._engine.read(lambda connection: _list(connection, after, limit))

    async def set_password(
        self, account: Account, password_hash: str, ending: Ending, device: Device
    ) -> list[Cutoff] | None:
        return await self._engine.write(
            lambda connection: _set_password(connection, account, password_hash, ending, device)
        )

    async def rehash(self, account: Account, password_hash: str) -> None:
        await self._engine.write(lambda connection: _rehash(connection, account, password_hash))

    async def disable(self, user_id: str, ending: Ending) -> list[Cutoff] | None:
        return await self._engine.write(lambda connection: _disable(connection, user_id, ending))

    async def enable(self, user_id: str) -> bool:
        return await self._engine.write(lambda connection: _enable(connection, user_id))

    async def blocked_until(self, keys: Sequence[ThrottleKey], now: int) -> int:
        counted = await self._engine.read(lambda connection: _counted(connection, keys))
        return throttle.blocked_until(counted.values(), now)

    async def settle(self, keys: Sequence[ThrottleKey], *, success: bool, now: int) -> int:
        return await self._engine.write(
            lambda connection: _settle(connection, keys, success=success, now=now)
        )

    async def sweep(self, now: int, limit: int) -> int:
        return await self._engine.write(lambda connection: _sweep(connection, now, limit))


def _add(connection: apsw.Connection, user: User, password_hash: str) -> bool:
    return _changes(
        connection,
        "INSERT INTO account (id, username, username_key, email, email_key, fullname, permissions,"
        " password_hash, created_at, disabled_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        user.id,
        user.username,
        user.username_key,
        user.email,
        user.email_key,
        user.fullname,
        " ".join(user.permissions),
        password_hash,
        user.created_at,
        user.disabled_at,
    )


def _account(connection: apsw.Connection, query: str, value: str) -> Account | None:
    row = connection.execute(query, (value,)).fetchone()
    if row is None:
        return None
    user = _user(row[1:])
    return Account(
        user=user, password_hash=row[0], epoch=statements.user_epoch(connection, user.id)
    )


def _list(connection: apsw.Connection, after: str, limit: int) -> list[User]:
    return [_user(row) for row in connection.execute(_PAST_NAME, (after, limit))]


def _user(row: Sequence[Any]) -> User:
    values = dict(zip(User.__struct_fields__, row, strict=True))
    values["permissions"] = tuple(values["permissions"].split())
    return User(**values)


def _set_password(
    connection: apsw.Connection,
    account: Account,
    password_hash: str,
    ending: Ending,
    device: Device,
) -> list[Cutoff] | None:
    user_id = account.user.id
    if statements.user_epoch(connection, user_id) != account.epoch or not _changes(
        connection,
        "UPDATE account SET password_hash = ? WHERE id = ?",
        password_hash,
        user_id,
    ):
        return None
    statements.record_event(
        connection,
        Event(at=ending.at, kind=EventKind.PASSWORD_CHANGED, user_id=user_id, device=device),
    )
    return statements.end_user(connection, user_id, None, ending)


def _rehash(connection: apsw.Connection, account: Account, password_hash: str) -> None:
    connection.execute(
        "UPDATE account SET password_hash = ? WHERE id = ? AND password_hash = ?",
        (password_hash, account.user.id, account.password_hash),
    )


def _disable(connection: apsw.Connection, user_id: str, ending: Ending) -> list[Cutoff] | None:
    if not _changes(
        connection,
        "UPDATE account SET disabled_at = coalesce(disabled_at, ?) WHERE id = ?",
        ending.at,
        user_id,
    ):
        return None
    return statements.end_user(connection, user_id, None, ending)


def _enable(connection: apsw.Connection, user_id: str) -> bool:
    return _changes(connection, "UPDATE account SET disabled_at = NULL WHERE id = ?", user_id)


def _counted(connection: apsw.Connection, keys: Sequence[ThrottleKey]) -> Mapping[bytes, Failures]:
    query = "SELECT count, blocked_until, forget_at FROM failures WHERE digest = ?"
    return {
        key.digest: Failures(*row)
        for key in keys
        for row in connection.execute(query, (key.digest,))
    }


def _settle(
    connection: apsw.Connection, keys: Sequence[ThrottleKey], *, success: bool, now: int
) -> int:
    counted = _counted(connection, keys)
    until, changes = throttle.settle(keys, counted, success=success, now=now)
    for digest, failures in changes.items():
        if failures is None:
            connection.execute("DELETE FROM failures WHERE digest = ?", (digest,))
        else:
            connection.execute(
                "REPLACE INTO failures (digest, count, blocked_until, forget_at)"
                " VALUES (?, ?, ?, ?)",
                (digest, failures.count, failures.blocked_until, failures.forget_at),
            )
    return until


def _sweep(connection: apsw.Connection, now: int, limit: int) -> int:
    connection.execute(
        "DELETE FROM failures WHERE digest IN"
        " (SELECT digest FROM failures WHERE forget_at <= ? LIMIT ?)",
        (now, limit),
    )
    return connection.changes()


def _changes(connection: apsw.Connection, statement: str, *values: str | int | None) -> bool:
    connection.execute(statement, values)
    return connection.changes() > 0
