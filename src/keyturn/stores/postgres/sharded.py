"""The layout of an engine that shards the tables, like Citus. A session and its events are where
its ``sid`` leads, so a statement names one ``sid`` and is sent there; what needs several is a
transaction of several. All other tables are on the node that we are connected to.

On Citus a transaction commits on the node of a session first and here afterwards, and a crash in
between would lose what is here alone: a cutoff, an epoch, a password. So one that changes both is
made to commit in two phases (``_commit_in_two_phases``).

In the second phase, what it wrote elsewhere is seen after it was committed here. Who waited for a
row that it had locked here could go on too early, and miss a session that it began. Advisory locks
are let go at the very end, so they are what keeps others from a user.
"""

# ruff: noqa: S608  what is put into a statement are constants; values are bound

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec.structs import astuple, replace

from keyturn.core.model import (
    ALL_VERSIONS,
    Claims,
    Cutoff,
    EndReason,
    Event,
    EventKind,
    Session,
)
from keyturn.stores.base import Swap, SweepBounds, lasting, sign_in_of

from . import statements
from .connecting import Connection
from .statements import (
    ADD,
    GET,
    OLD_SESSION,
    RECORDED,
    TURN,
    beyond_limit,
    session_of,
    to_json,
    turn_of,
    values_of,
)

__all__ = [
    "add_session",
    "change_claims",
    "end_each",
    "get",
    "is_one_statement",
    "lock_user",
    "raise_epoch",
    "record_event",
    "swap",
    "sweep_events",
    "sweep_sessions",
]

_SWEEPING: Final = 0x6B657973776570
"""Of the advisory lock of whoever sweeps."""


# ── sessions ────────────────────────────────────────────────────────────────────────────────────


async def get(connection: Connection, sids: Sequence[str]) -> dict[str, Session]:
    """As ``Layout.get``. A statement for each."""
    rows = [await connection.fetchrow(GET, sid) for sid in sids]
    return {row[0]: session_of(row) for row in rows if row is not None}


async def swap(connection: Connection, swaps: Sequence[Swap]) -> list[bool]:
    """As ``Layout.swap``. A statement for each, and one for each event."""
    in_order = sorted(swaps, key=lambda swap: swap.old.sid)
    won = {swap.old.sid: await _turn(connection, swap) for swap in in_order}
    return [won[swap.old.sid] for swap in swaps]


def is_one_statement(swaps: Sequence[Swap]) -> bool:
    """As ``Layout.is_one_statement``."""
    return len(swaps) == 1 and swaps[0].event is None


async def _turn(connection: Connection, swap: Swap) -> bool:
    won = await connection.fetchval(TURN, *turn_of(swap)) is not None
    if won and swap.event is not None:
        await record_event(connection, swap.event)
    return won


async def add_session(
    connection: Connection, session: Session, *, limit: int, replaces: str | None
) -> list[str]:
    """As ``Layout.add_session``."""
    await connection.execute(ADD, *values_of(session))
    await record_event(connection, sign_in_of(session))
    rows = await connection.fetch(
        _BEYOND_LIMIT, session.sid, session.user_id, limit - 1, replaces or ""
    )
    return [sid for (sid,) in rows]


_BEYOND_LIMIT: Final = beyond_limit("$3", "$4")


# ── ends and changes ────────────────────────────────────────────────────────────────────────────


async def end_each(
    connection: Connection,
    reasons: Mapping[str, EndReason],
    *,
    at: int,
    tokens_until: int,
    generation: int | None = None,
) -> list[Cutoff]:
    """As ``Layout.end_each``."""
    cutoffs = []
    for sid, reason in sorted(reasons.items()):
        user_id = await connection.fetchval(_END, sid, at, reason, generation)
        if user_id is not None:
            event = Event(at=at, kind=EventKind.ENDED, user_id=user_id, sid=sid, reason=reason)
            await record_event(connection, event)
            cutoffs.append(Cutoff(sid, ALL_VERSIONS, tokens_until, reason))
    return await _record_cutoffs(connection, cutoffs)


_END: Final = """
    UPDATE keyturn.session SET secret = NULL, ended_at = $2, end_reason = $3
    WHERE sid = $1 AND ended_at IS NULL AND generation = coalesce($4, generation)
    RETURNING user_id"""


async def change_claims(
    connection: Connection,
    user_id: str,
    claims: Claims,
    *,
    least_version: int,
    tokens_until: int,
) -> list[Cutoff]:
    """As ``Layout.change_claims``."""
    cutoffs = []
    for (sid,) in await connection.fetch(_LIVING, user_id):
        version = await connection.fetchval(_CHANGE, sid, to_json(claims), least_version)
        if version is not None:
            cutoffs.append(Cutoff(sid, version - 1, tokens_until))
    return await _record_cutoffs(connection, cutoffs)


_LIVING: Final = """
    SELECT sid FROM keyturn.session WHERE user_id = $1 AND ended_at IS NULL ORDER BY sid"""

_CHANGE: Final = """
    UPDATE keyturn.session SET claims = $2, version = greatest(version + 1, $3)
    WHERE sid = $1 AND ended_at IS NULL RETURNING version"""


async def _record_cutoffs(connection: Connection, cutoffs: Sequence[Cutoff]) -> list[Cutoff]:
    if not cutoffs:
        return []
    await _commit_in_two_phases(connection)
    recorded = lasting(cutoffs, await statements.longest_access_ttl(connection))
    await connection.executemany(_RECORD_CUTOFF, map(astuple, recorded))
    return recorded


_RECORD_CUTOFF: Final = f"""
    INSERT INTO keyturn.cutoff (sid, version, expires_at, reason)
    VALUES ($1, $2, $3, $4) {RECORDED}"""


async def _commit_in_two_phases(connection: Connection) -> None:
    """``layout`` is the table on this node that Citus knows of. That it is written is enough, so
    nothing in it is.
    """
    await connection.execute("DELETE FROM keyturn.layout WHERE id <> 1")


async def lock_user(connection: Connection, user_id: str) -> int:
    """As ``Layout.lock_user``."""
    await _keep_others_from(connection, user_id)
    return await statements.lock_user(connection, user_id)


async def raise_epoch(connection: Connection, user_id: str) -> None:
    """As ``Layout.raise_epoch``."""
    await _keep_others_from(connection, user_id)
    await _commit_in_two_phases(connection)
    await statements.raise_epoch(connection, user_id)


async def _keep_others_from(connection: Connection, user_id: str) -> None:
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", user_id)


async def record_event(connection: Connection, event: Event) -> None:
    """As ``Layout.record_event``. What happened to a user alone has to be somewhere, too."""
    await statements.record_event(connection, replace(event, sid=event.sid or ""))


# ── upkeep ──────────────────────────────────────────────────────────────────────────────────────


async def sweep_sessions(connection: Connection, page: Sequence[str], bounds: SweepBounds) -> int:
    """As ``Layout.sweep_sessions``. Rows of many nodes are locked in no order, and none that is
    locked is passed over; so one process sweeps at a time.
    """
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _SWEEPING)
    return len(
        await connection.fetch(
            _SWEEP_SESSIONS, page, bounds.ended, bounds.created, bounds.last_used
        )
    )


_SWEEP_SESSIONS: Final = f"DELETE FROM keyturn.session WHERE {OLD_SESSION} RETURNING 1"


async def sweep_events(connection: Connection, limit: int, before: int) -> int:
    """As ``Layout.sweep_events``."""
    oldest = await connection.fetch(_OLDEST_EVENTS, limit)
    if not oldest:
        return 0
    [last] = oldest[-1]
    return len(await connection.fetch(_SWEEP_EVENTS, last, before))


_OLDEST_EVENTS: Final = "SELECT id FROM keyturn.event ORDER BY id LIMIT $1"
_SWEEP_EVENTS: Final = "DELETE FROM keyturn.event WHERE id <= $1 AND at < $2 RETURNING 1"
