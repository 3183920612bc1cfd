"""What the store asks of PostgreSQL: plain functions over a connection. One that says so makes a
single statement, which is a transaction by itself; the others are for within one that the caller
has begun at READ COMMITTED, so that each statement sees what was committed while it waited.

Locks are taken in one order, so that no two wait for each other: account, user's epoch, sessions by
``sid``.

Here is what is the same in both layouts of the tables. Where it needs what is not, it takes the
``layout``: the module ``gathered`` or ``sharded``.
"""

# ruff: noqa: S608  what is put into a statement are constants of this file; values are bound

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
import msgspec

from keyturn.core.errors import RowUnavailable
from keyturn.core.model import (
    Claims,
    Cutoff,
    Device,
    EndReason,
    Event,
    EventKind,
    SealedKey,
    Session,
)
from keyturn.stores.base import PAST_ALL, Ending, Swap, SweepBounds

from .connecting import Connection
from .layouts import Layout

__all__ = [
    "ADD",
    "CHANNEL",
    "EVENT",
    "GET",
    "LONGEST_TTL",
    "OLD_SESSION",
    "RECORDED",
    "SESSION",
    "TURN",
    "add",
    "add_signing_key",
    "beyond_limit",
    "check",
    "closed_tables",
    "cutoffs",
    "cutoffs_of",
    "drop_signing_keys",
    "end",
    "end_user",
    "event_of",
    "events_of_session",
    "events_of_user",
    "forget_user",
    "list_sessions",
    "living",
    "lock_user",
    "longest_access_ttl",
    "raise_access_ttl",
    "raise_epoch",
    "raise_version",
    "record_event",
    "replace_signing_key",
    "session_of",
    "set_claims",
    "signing_keys",
    "sweep",
    "sweeping",
    "sweeping_oldest",
    "to_json",
    "turn_of",
    "user_epoch",
    "values_of",
    "void_all",
]

_Row = asyncpg.Record | tuple[Any, ...]

CHANNEL: Final = "keyturn_cutoffs"
"""Where PostgreSQL tells that a cutoff was recorded, or that the signing keys changed."""

SESSION: Final = ", ".join(Session.__struct_fields__)
_CUTOFF: Final = ", ".join(Cutoff.__struct_fields__)
EVENT: Final = ", ".join(Event.__struct_fields__)
_SEALED_KEY: Final = ", ".join(SealedKey.__struct_fields__)

_claims_of = msgspec.json.Decoder(Claims).decode
_device_of = msgspec.json.Decoder(Device).decode

_UNREADABLE: Final = "A row of the database cannot be read"

_LAST_USED: Final = "greatest(created_at, turned_at)"


# ── sessions ────────────────────────────────────────────────────────────────────────────────────


async def add(
    connection: Connection,
    layout: Layout,
    session: Session,
    *,
    limit: int,
    replaces: str | None,
    epoch: int,
    tokens_until: int,
) -> list[Cutoff] | None:
    """As ``Store.add``."""
    if await layout.lock_user(connection, session.user_id) != epoch:
        return None
    beyond = await layout.add_session(connection, session, limit=limit, replaces=replaces)
    ended = dict.fromkeys(beyond, EndReason.EVICTED)
    if replaces is not None:
        ended[replaces] = EndReason.REPLACED
    if not ended:
        return []
    return await layout.end_each(
        connection, ended, at=session.created_at, tokens_until=tokens_until
    )


ADD: Final = f"""
    INSERT INTO keyturn.session ({SESSION})
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"""


def values_of(session: Session) -> list[Any]:
    """What ``ADD`` takes."""
    values = msgspec.structs.asdict(session)
    values["claims"], values["device"] = to_json(session.claims), to_json(session.device)
    return list(values.values())


def beyond_limit(others: str, replaced: str) -> str:
    """Finds the sessions of user $2, the least recently used ones, that are too many if $1 is a new
    one. It may have so many ``others``, not counting the one that is ``replaced``; both are
    parameters of the statement that this becomes a part of.
    """
    return f"""
    SELECT sid FROM keyturn.session
    WHERE user_id = $2 AND ended_at IS NULL AND sid NOT IN ($1, {replaced})
    ORDER BY {_LAST_USED} DESC, sid DESC OFFSET {others}"""


GET: Final = f"SELECT {SESSION} FROM keyturn.session WHERE sid = $1"

TURN: Final = """
    UPDATE keyturn.session SET generation = $3, parent = $4, first_child = $5,
        previous_parent = $6, turned_at = $7, used_before = $8
    WHERE sid = $1 AND generation = $2 AND ended_at IS NULL RETURNING sid"""


def turn_of(swap: Swap) -> tuple[str, int, int, int, int, int, int | None, int | None]:
    """What ``TURN`` takes."""
    new = swap.new
    return (
        swap.old.sid,
        swap.old.generation,
        new.generation,
        new.parent,
        new.first_child,
        new.previous_parent,
        new.turned_at,
        new.used_before,
    )


async def list_sessions(connection: Connection, user_id: str) -> list[Session]:
    """As ``Store.list_sessions``. One statement."""
    return [session_of(row) for row in await connection.fetch(_LIST, user_id)]


_LIST: Final = f"""
    SELECT {SESSION} FROM keyturn.session WHERE user_id = $1 AND ended_at IS NULL
    ORDER BY created_at DESC, sid DESC"""


async def living(
    connection: Connection, *, since: int, after: str, limit: int
) -> tuple[list[str], str]:
    """As ``Store.living``. One statement."""
    page = await connection.fetch(_LIVING, after, limit, since)
    return [sid for sid, wanted in page if wanted], page[-1][0] if len(page) == limit else ""


_LIVING: Final = f"""
    SELECT sid, ended_at IS NULL AND {_LAST_USED} >= $3 FROM keyturn.session
    WHERE sid > $1 ORDER BY sid LIMIT $2"""


async def raise_version(connection: Connection, sid: str, above: int) -> int | None:
    """As ``Store.raise_version``. One statement."""
    version: int | None = await connection.fetchval(_RAISE_VERSION, sid, above + 1)
    return version


_RAISE_VERSION: Final = """
    UPDATE keyturn.session SET version = greatest(version, $2)
    WHERE sid = $1 AND ended_at IS NULL RETURNING version"""


def session_of(row: _Row) -> Session:
    """Of the columns ``SESSION``.

    Raises:
        RowUnavailable: it cannot be read.
    """
    (
        sid,
        user_id,
        secret,
        created_at,
        generation,
        parent,
        first_child,
        previous_parent,
        turned_at,
        used_before,
        version,
        claims,
        device,
        remember,
        ended_at,
        end_reason,
    ) = row
    try:
        return Session(
            sid=sid,
            user_id=user_id,
            secret=secret,
            created_at=created_at,
            generation=generation,
            parent=parent,
            first_child=first_child,
            previous_parent=previous_parent,
            turned_at=turned_at,
            used_before=used_before,
            version=version,
            claims=_claims_of(claims),
            device=_device_of(device),
            remember=remember,
            ended_at=ended_at,
            end_reason=None if end_reason is None else EndReason(end_reason),
        )
    except ValueError:
        raise RowUnavailable(_UNREADABLE) from None


# ── ends and changes ────────────────────────────────────────────────────────────────────────────


async def end(
    connection: Connection,
    layout: Layout,
    sids: Sequence[str],
    ending: Ending,
    *,
    generation: int | None = None,
) -> list[Cutoff]:
    """As ``Store.end``."""
    return await layout.end_each(
        connection,
        dict.fromkeys(sids, ending.reason),
        at=ending.at,
        tokens_until=ending.tokens_until,
        generation=generation,
    )


async def end_user(
    connection: Connection, layout: Layout, user_id: str, keep: str | None, ending: Ending
) -> list[Cutoff]:
    """As ``Store.end_user``."""
    await layout.raise_epoch(connection, user_id)
    living = await connection.fetch(_OTHERS, user_id, keep)
    return await end(connection, layout, [sid for (sid,) in living], ending)


_OTHERS: Final = """
    SELECT sid FROM keyturn.session
    WHERE user_id = $1 AND ended_at IS NULL AND sid IS DISTINCT FROM $2"""

# Whoever follows the cutoffs is woken at the commit, however many there are.
_TOLD: Final = f"pg_notify('{CHANNEL}', '')"
LONGEST_TTL: Final = "coalesce((SELECT seconds FROM keyturn.longest_access_ttl), 0)"
RECORDED: Final = f"RETURNING {_CUTOFF}, {_TOLD}"


async def set_claims(
    connection: Connection,
    layout: Layout,
    user_id: str,
    claims: Claims,
    *,
    at: int,
    least_version: int,
    tokens_until: int,
) -> list[Cutoff]:
    """As ``Store.set_claims``."""
    await layout.raise_epoch(connection, user_id)
    event = Event(at=at, kind=EventKind.CLAIMS_CHANGED, user_id=user_id)
    await layout.record_event(connection, event)
    return await layout.change_claims(
        connection, user_id, claims, least_version=least_version, tokens_until=tokens_until
    )


async def forget_user(connection: Connection, user_id: str) -> None:
    """Keep nothing of a user who is gone but the id. None of their sessions lives, and who holds
    one that has ended waits for no other.
    """
    await connection.execute(
        "UPDATE keyturn.session SET claims = '{}', device = '{}' WHERE user_id = $1", user_id
    )
    await connection.execute("UPDATE keyturn.event SET device = '{}' WHERE user_id = $1", user_id)
    await connection.execute(_FORGET_IN_DELIVERIES, user_id)


_FORGET_IN_DELIVERIES: Final = """
    UPDATE keyturn.delivery SET device = '{}', error = '' WHERE user_id = $1"""


async def user_epoch(connection: Connection, user_id: str) -> int:
    """As ``Store.user_epoch``. One statement."""
    query = "SELECT epoch FROM keyturn.user_epoch WHERE user_id = $1"
    epoch: int | None = await connection.fetchval(query, user_id)
    return epoch or 0


async def lock_user(connection: Connection, user_id: str) -> int:
    """Wait until nobody else changes which sessions the user has, and keep others from it. Returns
    the user's epoch. One statement.
    """
    return await _set_epoch(connection, user_id, "user_epoch.epoch", 0)


async def raise_epoch(connection: Connection, user_id: str) -> None:
    """As ``lock_user``, and raise the epoch. One statement."""
    await _set_epoch(connection, user_id, "user_epoch.epoch + 1", 1)


async def _set_epoch(connection: Connection, user_id: str, known: str, unknown: int) -> int:
    epoch: int = await connection.fetchval(
        f"""INSERT INTO keyturn.user_epoch (user_id, epoch) VALUES ($1, $2)
        ON CONFLICT (user_id) DO UPDATE SET epoch = {known} RETURNING epoch""",
        user_id,
        unknown,
    )
    return epoch


# ── cutoffs and events ──────────────────────────────────────────────────────────────────────────


async def void_all(connection: Connection, issued_until: int, tokens_until: int) -> Cutoff:
    """As ``Store.void_all``. One statement."""
    return cutoffs_of(await connection.fetch(_VOID_ALL, issued_until, tokens_until))[0]


_VOID_ALL: Final = f"""
    INSERT INTO keyturn.cutoff (version, expires_at)
    VALUES ($1, $2 + {LONGEST_TTL}) {RECORDED}"""


async def longest_access_ttl(connection: Connection) -> int:
    """As ``Store.longest_access_ttl``, which only asks. One statement."""
    seconds: int | None = await connection.fetchval(
        "SELECT seconds FROM keyturn.longest_access_ttl"
    )
    return seconds or 0


async def raise_access_ttl(connection: Connection, at_least: int) -> int:
    """As ``Store.longest_access_ttl``. One statement."""
    seconds: int = await connection.fetchval(
        """INSERT INTO keyturn.longest_access_ttl AS longest (id, seconds) VALUES (1, $1)
        ON CONFLICT (id) DO UPDATE SET seconds = greatest(longest.seconds, excluded.seconds)
        RETURNING seconds""",
        at_least,
    )
    return seconds


async def cutoffs(
    connection: Connection, cursor: int, now: int
) -> tuple[datetime, int, list[Cutoff]]:
    """The cutoffs of the transactions from ``cursor`` on, the cursor to go on from, and when the
    server was started that this holds for. One statement.

    Raises:
        ReadOnlySQLTransactionError: the server is no primary any more, so that it tells nothing.
    """
    rows = await connection.fetch(_CUTOFFS, cursor, now)
    read_only, started_at, cursor = rows[0][:3]
    if read_only == "on":
        raise asyncpg.ReadOnlySQLTransactionError
    return started_at, cursor, cutoffs_of([row[3:] for row in rows if row["version"] is not None])


# All transactions before ``xmin`` are over, so what they recorded is among what is read. Those past
# the last one that recorded anything may be forgotten in a crash and their numbers used again, so
# the cursor does not go there.
_CUTOFFS: Final = f"""
    SELECT current_setting('transaction_read_only'), pg_postmaster_start_time(), here.cursor,
        {_CUTOFF}
    FROM (
        SELECT least(
            pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
            (SELECT coalesce(max(xid), 0) + 1 FROM keyturn.cutoff)) AS cursor
    ) AS here
    LEFT JOIN keyturn.cutoff ON xid >= $1 AND expires_at > $2"""


async def record_event(connection: Connection, event: Event) -> None:
    """Record that something happened to a session or a user. One statement."""
    values = msgspec.structs.asdict(event)
    values["device"] = to_json(event.device)
    query = f"INSERT INTO keyturn.event ({EVENT}) VALUES ($1, $2, $3, $4, $5, $6)"
    await connection.execute(query, *values.values())


async def events_of_session(connection: Connection, sid: str, limit: int) -> list[Event]:
    """The newest events of a session, newest first. One statement."""
    return await _newest_events(connection, "sid", sid, limit)


async def events_of_user(connection: Connection, user_id: str, limit: int) -> list[Event]:
    """The newest events of a user and all their sessions, newest first. One statement."""
    return await _newest_events(connection, "user_id", user_id, limit)


async def _newest_events(
    connection: Connection, column: str, whose: str, limit: int
) -> list[Event]:
    rows = await connection.fetch(
        f"SELECT {EVENT} FROM keyturn.event WHERE {column} = $1 ORDER BY id DESC LIMIT $2",
        whose,
        limit,
    )
    return [event_of(row) for row in rows]


def event_of(row: asyncpg.Record | dict[str, Any]) -> Event:
    """Of the columns ``EVENT``, and no others.

    Raises:
        RowUnavailable: it cannot be read.
    """
    values = dict(row)
    try:
        values["kind"] = EventKind(values["kind"])
        values["sid"] = values["sid"] or None
        values["reason"] = values["reason"] and EndReason(values["reason"])
        values["device"] = _device_of(values["device"])
    except ValueError:
        raise RowUnavailable(_UNREADABLE) from None
    return Event(**values)


def cutoffs_of(rows: Iterable[_Row]) -> list[Cutoff]:
    """Of rows that begin with the fields of one."""
    return [
        Cutoff(sid, version, expires_at, reason and EndReason(reason))
        for sid, version, expires_at, reason, *_ in rows
    ]


# ── signing keys ────────────────────────────────────────────────────────────────────────────────


async def signing_keys(connection: Connection) -> list[SealedKey]:
    """As ``Store.signing_keys``. One statement."""
    rows = await connection.fetch(
        f"SELECT {_SEALED_KEY} FROM keyturn.signing_key ORDER BY position"
    )
    return [SealedKey(**dict(row)) for row in rows]


async def add_signing_key(connection: Connection, key: SealedKey, *, after: str | None) -> bool:
    """As ``Store.add_signing_key``. One statement."""
    values = msgspec.structs.astuple(key)
    return await connection.fetchval(_ADD_SIGNING_KEY, *values, after) is not None


# Of those that would come next at the same time, one gets the position.
_ADD_SIGNING_KEY: Final = f"""
    INSERT INTO keyturn.signing_key (position, {_SEALED_KEY})
    SELECT coalesce(max(position), 0) + 1, $1, $2, $3, $4, $5 FROM keyturn.signing_key
    HAVING (array_agg(kid ORDER BY position DESC))[1] IS NOT DISTINCT FROM $6
    ON CONFLICT DO NOTHING RETURNING position, {_TOLD}"""


async def replace_signing_key(connection: Connection, old: SealedKey, new: SealedKey) -> bool:
    """As ``Store.replace_signing_key``: the seal is over all that is said of a key. One
    statement.
    """
    values = old.kid, old.sealed, new.use_from, new.sealed
    return await connection.fetchval(_REPLACE_SIGNING_KEY, *values) is not None


_REPLACE_SIGNING_KEY: Final = f"""
    UPDATE keyturn.signing_key SET use_from = $3, sealed = $4
    WHERE kid = $1 AND sealed = $2 RETURNING position, {_TOLD}"""


async def drop_signing_keys(connection: Connection, kids: Sequence[str], *, beside: str) -> bool:
    """As ``Store.drop_signing_keys``. One statement."""
    return bool(await connection.fetchval(_DROP_SIGNING_KEYS, kids, beside))


# Whoever else drops keys meanwhile is waited for, and what they dropped is not held: each locks all
# of them, in the same order, as each has to look at all.
_DROP_SIGNING_KEYS: Final = f"""
    WITH held AS MATERIALIZED (
        SELECT kid FROM keyturn.signing_key ORDER BY position FOR UPDATE
    ), dropped AS (
        DELETE FROM keyturn.signing_key
        WHERE kid = ANY ($1::text[]) AND (SELECT bool_or(kid = $2) FROM held)
        RETURNING {_TOLD}
    )
    SELECT bool_or(kid = $2), (SELECT count(*) FROM dropped) FROM held"""


# ── upkeep ──────────────────────────────────────────────────────────────────────────────────────


async def sweep(
    connection: Connection, layout: Layout, bounds: SweepBounds, *, after: str, limit: int
) -> tuple[int, str]:
    """As ``Store.sweep``."""
    page = [sid for (sid,) in await connection.fetch(_PAGE, after, limit)]
    sessions = await layout.sweep_sessions(connection, page, bounds)
    others: int = await connection.fetchval(_SWEEP_CUTOFFS, limit, bounds.cutoffs)
    others += await layout.sweep_events(connection, limit, bounds.events)
    others += await connection.fetchval(_SWEEP_DELIVERIES, limit, bounds.events)
    rest = PAST_ALL if others else ""
    return sessions + others, page[-1] if len(page) == limit else rest


_PAGE: Final = "SELECT sid FROM keyturn.session WHERE sid > $1 ORDER BY sid LIMIT $2"

OLD_SESSION: Final = f"""sid = ANY ($1::text[])
    AND (ended_at < $2 OR created_at < $3 OR {_LAST_USED} < $4)"""
"""Which of a page are old; takes the page, and the bounds in their order."""


def sweeping(table: str, key: str, old: str) -> str:
    """Deletes what is ``old`` and counts it. What another is about to delete, or to change, is
    passed over.
    """
    return f"""
        WITH old AS MATERIALIZED (
            SELECT {key} FROM keyturn.{table} WHERE {old} FOR UPDATE SKIP LOCKED
        ), deleted AS (
            DELETE FROM keyturn.{table} USING old WHERE {table}.{key} = old.{key} RETURNING 1
        )
        SELECT count(*) FROM deleted"""


def sweeping_oldest(table: str, old: str, *, key: str = "id") -> str:
    """As ``sweeping``, of so many of the oldest rows. They are an array, as the planner of a
    subquery whose limit it does not know reads the whole table.
    """
    oldest = f"{key} = ANY (ARRAY(SELECT {key} FROM keyturn.{table} ORDER BY {key} LIMIT $1))"
    return sweeping(table, key, f"{oldest} AND {old}")


_SWEEP_CUTOFFS: Final = sweeping_oldest("cutoff", "expires_at < $2")
_SWEEP_DELIVERIES: Final = sweeping_oldest(
    "delivery", "(at < $2 OR hook NOT IN (SELECT name FROM keyturn.hook))", key="number"
)


async def check(connection: Connection) -> None:
    """As ``Store.check``: a real commit that changes nothing, with the tables in sight. One
    statement.

    Raises:
        InsufficientPrivilegeError: some that a login or an exchange needs may not be read and
            written.
    """
    if await connection.fetchval(_CHECK, _TABLES_OF_REQUESTS, column=1):
        raise asyncpg.InsufficientPrivilegeError


async def closed_tables(connection: Connection) -> list[str]:
    """Of all that servers write, those that may not be read and written, as after a restore by
    somebody else. One statement.
    """
    closed: list[str] = await connection.fetchval(f"SELECT {_CLOSED}", _TABLES)
    return closed


_TABLES_OF_REQUESTS: Final = ("session", "user_epoch", "cutoff", "event", "account", "failures")
_TABLES: Final = (
    *_TABLES_OF_REQUESTS,
    "signing_key",
    "longest_access_ttl",
    "password_reset",
    "hook",
    "delivery",
)

_MAY: Final = " AND ".join(
    f"has_table_privilege('keyturn.' || name, '{right}')"
    for right in ("SELECT", "INSERT", "UPDATE", "DELETE")
)
_CLOSED: Final = f"ARRAY(SELECT name FROM unnest($1::text[]) AS name WHERE NOT ({_MAY}))"
_CHECK: Final = f"SELECT pg_logical_emit_message(true, 'keyturn', ''), {_CLOSED}"


def to_json(value: object) -> str:
    """As a column holds it."""
    return msgspec.json.encode(value).decode()
