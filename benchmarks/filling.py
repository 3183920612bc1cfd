"""Tables with as many sessions as a large site has, made in seconds: copies of what one sign-in
leaves behind, each with an id, a user and a secret of its own.
"""

from __future__ import annotations

import os
import random
from base64 import b64decode, b64encode
from typing import Any, Final, Protocol

import apsw
import asyncpg
import msgspec

from keyturn import Sessions, Store
from keyturn.core import refresh_token
from keyturn.stores.postgres.statements import EVENT, SESSION

__all__ = ["Place", "PostgresPlace", "Row", "SQLitePlace", "token_of"]

_OF_ONE_USER: Final = 4


class Row(msgspec.Struct, frozen=True):
    """Of a session that lives."""

    sid: str
    user_id: str
    secret: bytes
    generation: int


def token_of(sessions: Sessions, row: Row) -> str:
    """The refresh token that whoever began the session holds."""
    return refresh_token.mint(sessions.secrets, row.sid, row.secret, row.generation)


class Place(Protocol):
    """Where sessions are kept, looked at from behind the store."""

    async def fill(self, count: int) -> None:
        """Add so many sessions to the one that there is."""
        ...

    async def sample(self, count: int) -> list[Row]:
        """So many living sessions, by chance and in no order."""
        ...


class PostgresPlace:
    """In a database. Its tables are as autovacuum leaves them after a while."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    @classmethod
    async def at(cls, url: str) -> PostgresPlace:
        return cls(await asyncpg.connect(url))

    async def fill(self, count: int) -> None:
        # Its triggers are for hooks, of which there are none.
        await self.connection.execute("SET session_replication_role = replica")
        await self.connection.execute(_FILL, count, timeout=600)
        await self.connection.execute("VACUUM ANALYZE", timeout=600)
        await self.connection.execute("CHECKPOINT", timeout=600)

    async def sample(self, count: int) -> list[Row]:
        return [Row(*row) for row in await self.connection.fetch(_SAMPLE, count)]


_NEW: Final = {
    "sid": "substr(md5(number || random()::text), 1, 21) || 'A'",
    "user_id": f"'user-' || number / {_OF_ONE_USER}",
    "secret": "sha256((number || random()::text)::bytea)",
}

_FILL: Final = f"""
    WITH added AS (
        INSERT INTO keyturn.session ({SESSION})
        SELECT {", ".join(_NEW.get(name, name) for name in SESSION.split(", "))}
        FROM generate_series(1, $1::bigint) AS number,
            (SELECT * FROM keyturn.session LIMIT 1) AS one
        RETURNING sid, user_id
    ), known AS (
        INSERT INTO keyturn.user_epoch (user_id) SELECT DISTINCT user_id FROM added
        ON CONFLICT DO NOTHING
    )
    INSERT INTO keyturn.event ({EVENT})
    SELECT one.at, one.kind, added.user_id, added.sid, one.reason, one.device
    FROM added, (SELECT * FROM keyturn.event LIMIT 1) AS one"""

_SAMPLE: Final = """
    SELECT sid, user_id, secret, generation FROM keyturn.session WHERE ended_at IS NULL
    ORDER BY random() LIMIT $1"""


class SQLitePlace:
    """In a file, through the connection with which its store writes."""

    def __init__(self, store: Store) -> None:
        self._store: Any = store

    async def fill(self, count: int) -> None:
        added = [
            {
                "sid": f"{random.getrandbits(84):021x}A",
                "user_id": f"user-{number // _OF_ONE_USER}",
                "secret": b64encode(os.urandom(32)).decode(),
            }
            for number in range(count)
        ]
        for statement in (_FILL_SESSIONS, _FILL_EVENTS, _FILL_EPOCHS):
            await self._run(statement, added)

    async def _run(self, statement: str, bindings: list[dict[str, str]]) -> None:
        def add(connection: apsw.Connection) -> None:
            connection.executemany(statement, bindings)

        await self._store.engine.write(add)

    async def sample(self, count: int) -> list[Row]:
        def read(connection: apsw.Connection) -> list[Row]:
            return [
                Row(sid, user_id, b64decode(secret), generation)
                for sid, user_id, secret, generation in connection.execute(_SAMPLE_FILE, (count,))
            ]

        rows: list[Row] = await self._store.engine.read(read)
        return rows


_REST: Final = [name for name in SESSION.split(", ") if name not in _NEW]

_FILL_SESSIONS: Final = f"""
    INSERT INTO session (sid, user_id, secret, {", ".join(_REST)})
    SELECT :sid, :user_id, :secret, {", ".join(_REST)} FROM session WHERE id = 1"""

_FILL_EVENTS: Final = """
    INSERT INTO event (at, kind, user_id, sid, device)
    SELECT at, kind, :user_id, :sid, device FROM event WHERE id = 1"""

_FILL_EPOCHS: Final = """
    INSERT INTO user_epoch (user_id, epoch) VALUES (:user_id, 0) ON CONFLICT DO NOTHING"""

_SAMPLE_FILE: Final = """
    SELECT sid, user_id, secret, generation FROM session WHERE ended_at IS NULL
    ORDER BY random() LIMIT ?"""
