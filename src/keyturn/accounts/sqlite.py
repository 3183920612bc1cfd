"""Users in SQLite, in the file of their sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import apsw
import msgspec

from keyturn.core.model import Cutoff, Device, Event, EventKind
from keyturn.stores.base import ClaimsChange, Ending
from keyturn.stores.sqlite import statements
from keyturn.stores.sqlite.engine import Engine

from . import throttle
from .model import Account, User
from .store import NotChanged
from .throttle import Failures, ThrottleKey

__all__ = ["SQLiteUsers"]

_USER: Final = ", ".join(User.__struct_fields__)
_ACCOUNT: Final = f"SELECT password_hash, {_USER} FROM account"  # noqa: S608  names of columns
_BY_ID: Final = f"{_ACCOUNT} WHERE id = ?"
_BY_NAME: Final = f"{_ACCOUNT} WHERE username_key = ?1 OR email_key = ?1"
_BY_RESET: Final = (
    f"{_ACCOUNT} WHERE id ="  # noqa: S608
    " (SELECT user_id FROM password_reset WHERE digest = ? AND expires_at > ?)"
)
_AMONG: Final = f"""
    SELECT {_USER} FROM account WHERE username_key IN (SELECT value FROM json_each(?1))
    UNION SELECT {_USER} FROM account WHERE email_key IN (SELECT value FROM json_each(?1))"""  # noqa: S608
_PAST_NAME: Final = (
    f"SELECT {_USER} FROM account WHERE username_key > ? ORDER BY username_key LIMIT ?"  # noqa: S608
)


class SQLiteUsers:
    """A ``UserStore`` on the engine of a ``SQLiteStore``, which it leaves for that to close."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def add(self, user: User, password_hash: str) -> bool:
        return await self._engine.write(lambda connection: _add(connection, user, password_hash))

    async def add_many(self, accounts: Sequence[tuple[User, str]]) -> list[bool]:
        return await self._engine.write(
            lambda connection: [_add(connection, *account) for account in accounts]
        )

    async def find(self, key: str) -> Account | None:
        return await self._engine.read(lambda connection: _account(connection, _BY_NAME, key))

    async def get(self, user_id: str) -> Account | None:
        return await self._engine.read(lambda connection: _account(connection, _BY_ID, user_id))

    async def find_users(self, keys: Sequence[str]) -> list[User]:
        return await self._engine.read(lambda connection: _among(connection, keys))

    async def list_users(self, *, after: str, limit: int) -> list[User]:
        return await self._engine.read(lambda connection: _list(connection, after, limit))

    async def set_password(
        self,
        account: Account,
        password_hash: str,
        ending: Ending,
        device: Device,
        *,
        reset: bytes | None = None,
    ) -> list[Cutoff] | None:
        return await self._engine.write(
            lambda connection: _set_password(
                connection, account, password_hash, ending, device, reset
            )
        )

    async def rehash(self, account: Account, password_hash: str) -> None:
        await self._engine.write(lambda connection: _rehash(connection, account, password_hash))

    async def set_reset(self, user_id: str, digest: bytes, expires_at: int) -> bool:
        return await self._engine.write(
            lambda connection: _set_reset(connection, user_id, digest, expires_at)
        )

    async def find_by_reset(self, digest: bytes, now: int) -> Account | None:
        return await self._engine.read(
            lambda connection: _account(connection, _BY_RESET, digest, now)
        )

    async def change(
        self, account: Account, user: User, change: ClaimsChange
    ) -> list[Cutoff] | NotChanged:
        return await self._engine.write(
            lambda connection: _change(connection, account, user, change)
        )

    async def disable(self, user_id: str, ending: Ending) -> list[Cutoff] | None:
        return await self._engine.write(lambda connection: _disable(connection, user_id, ending))

    async def enable(self, user_id: str) -> bool:
        return await self._engine.write(lambda connection: _enable(connection, user_id))

    async def delete(
        self, user_id: str, ending: Ending, *, epoch: int | None = None
    ) -> list[Cutoff] | None:
        return await self._engine.write(
            lambda connection: _delete(connection, user_id, ending, epoch)
        )

    async def blocked_until(self, keys: Sequence[ThrottleKey], now: int) -> int:
        counted = await self._engine.read(lambda connection: _counted(connection, keys))
        return throttle.blocked_until(counted.values(), now)

    async def settle(
        self,
        keys: Sequence[ThrottleKey],
        *,
        success: bool,
        now: int,
        failure: Event | None = None,
    ) -> int:
        return await self._engine.write(
            lambda connection: _settle(connection, keys, success=success, now=now, failure=failure)
        )

    async def clear(self, keys: Sequence[ThrottleKey]) -> None:
        await self._engine.write(lambda connection: _clear(connection, keys))

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


def _account(connection: apsw.Connection, query: str, *values: str | bytes | int) -> Account | None:
    row = connection.execute(query, values).fetchone()
    if row is None:
        return None
    user = _user(row[1:])
    return Account(
        user=user, password_hash=row[0], epoch=statements.user_epoch(connection, user.id)
    )


def _among(connection: apsw.Connection, keys: Sequence[str]) -> list[User]:
    wanted = msgspec.json.encode(keys).decode()
    return [_user(row) for row in connection.execute(_AMONG, (wanted,))]


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
    reset: bytes | None,
) -> list[Cutoff] | None:
    user_id = account.user.id
    if not _stands(connection, account) or reset not in (None, _reset_of(connection, user_id)):
        return None
    connection.execute(
        "UPDATE account SET password_hash = ? WHERE id = ?", (password_hash, user_id)
    )
    _forget_reset(connection, user_id)
    statements.record_event(
        connection,
        Event(at=ending.at, kind=EventKind.PASSWORD_CHANGED, user_id=user_id, device=device),
    )
    return statements.end_user(connection, user_id, None, ending)


def _stands(connection: apsw.Connection, account: Account) -> bool:
    """Whether the user is there, and was not changed since ``account`` was read."""
    held = _account(connection, _BY_ID, account.user.id)
    return held is not None and held.epoch == account.epoch


def _rehash(connection: apsw.Connection, account: Account, password_hash: str) -> None:
    connection.execute(
        "UPDATE account SET password_hash = ? WHERE id = ? AND password_hash = ?",
        (password_hash, account.user.id, account.password_hash),
    )


def _set_reset(connection: apsw.Connection, user_id: str, digest: bytes, expires_at: int) -> bool:
    return _changes(
        connection,
        "REPLACE INTO password_reset (user_id, digest, expires_at)"
        " SELECT id, ?, ? FROM account WHERE id = ? AND disabled_at IS NULL",
        digest,
        expires_at,
        user_id,
    )


def _reset_of(connection: apsw.Connection, user_id: str) -> bytes:
    digest: bytes | None = connection.execute(
        "SELECT digest FROM password_reset WHERE user_id = ?", (user_id,)
    ).get
    return digest or b""


def _forget_reset(connection: apsw.Connection, user_id: str) -> None:
    connection.execute("DELETE FROM password_reset WHERE user_id = ?", (user_id,))


def _change(
    connection: apsw.Connection, account: Account, user: User, change: ClaimsChange
) -> list[Cutoff] | NotChanged:
    if not _stands(connection, account):
        return NotChanged.RACED
    if not _changes(
        connection,
        "UPDATE OR IGNORE account SET username = ?, username_key = ?, email = ?, email_key = ?,"
        " fullname = ? WHERE id = ?",
        user.username,
        user.username_key,
        user.email,
        user.email_key,
        user.fullname,
        user.id,
    ):
        return NotChanged.TAKEN
    if user.email != account.user.email:
        _forget_reset(connection, user.id)
    return statements.set_claims(
        connection,
        user.id,
        change.claims,
        at=change.at,
        least_version=change.least_version,
        tokens_until=change.tokens_until,
    )


def _disable(connection: apsw.Connection, user_id: str, ending: Ending) -> list[Cutoff] | None:
    if not _changes(
        connection,
        "UPDATE account SET disabled_at = coalesce(disabled_at, ?) WHERE id = ?",
        ending.at,
        user_id,
    ):
        return None
    _forget_reset(connection, user_id)
    return statements.end_user(connection, user_id, None, ending)


def _enable(connection: apsw.Connection, user_id: str) -> bool:
    return _changes(connection, "UPDATE account SET disabled_at = NULL WHERE id = ?", user_id)


def _delete(
    connection: apsw.Connection, user_id: str, ending: Ending, epoch: int | None
) -> list[Cutoff] | None:
    if epoch not in (None, statements.user_epoch(connection, user_id)):
        return None
    if not _changes(connection, "DELETE FROM account WHERE id = ?", user_id):
        return None
    _forget_reset(connection, user_id)
    cutoffs = statements.end_user(connection, user_id, None, ending)
    statements.forget_user(connection, user_id)
    return cutoffs


def _counted(connection: apsw.Connection, keys: Sequence[ThrottleKey]) -> Mapping[bytes, Failures]:
    query = "SELECT count, blocked_until, forget_at FROM failures WHERE digest = ?"
    return {
        key.digest: Failures(*row)
        for key in keys
        for row in connection.execute(query, (key.digest,))
    }


def _settle(
    connection: apsw.Connection,
    keys: Sequence[ThrottleKey],
    *,
    success: bool,
    now: int,
    failure: Event | None,
) -> int:
    counted = _counted(connection, keys)
    until, changes = throttle.settle(keys, counted, success=success, now=now)
    if failure and not until and _account(connection, _BY_ID, failure.user_id):
        statements.record_event(connection, failure)
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


def _clear(connection: apsw.Connection, keys: Sequence[ThrottleKey]) -> None:
    connection.executemany("DELETE FROM failures WHERE digest = ?", [(key.digest,) for key in keys])


def _sweep(connection: apsw.Connection, now: int, limit: int) -> int:
    connection.execute(
        "DELETE FROM failures WHERE digest IN"
        " (SELECT digest FROM failures WHERE forget_at <= ? LIMIT ?)",
        (now, limit),
    )
    swept = connection.changes()
    connection.execute(
        "DELETE FROM password_reset WHERE user_id IN"
        " (SELECT user_id FROM password_reset WHERE expires_at <= ? LIMIT ?)",
        (now, limit),
    )
    return swept + connection.changes()


def _changes(
    connection: apsw.Connection, statement: str, *values: str | bytes | int | None
) -> bool:
    connection.execute(statement, values)
    return connection.changes() > 0
