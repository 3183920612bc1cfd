"""The layout of a server that has all rows itself: many of them in one statement.

Such a statement would lock its rows in an order of its own, so they are locked before, or it is
told the order.
"""

# ruff: noqa: S608  what is put into a statement are constants; values are bound

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from keyturn.core.model import ALL_VERSIONS, Claims, Cutoff, EndReason, EventKind, Session
from keyturn.stores.base import Swap, SweepBounds

from .connecting import Connection
from .statements import (
    ADD,
    GET,
    LONGEST_TTL,
    OLD_SESSION,
    RECORDED,
    SESSION,
    TURN,
    beyond_limit,
    cutoffs_of,
    lock_user,
    raise_epoch,
    record_event,
    session_of,
    sweeping,
    sweeping_oldest,
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


async def get(connection: Connection, sids: Sequence[str]) -> dict[str, Session]:
    """As ``Layout.get``. One statement."""
    if len(sids) == 1:
        rows = await connection.fetch(GET, sids[0])
    else:
        rows = await connection.fetch(_GET_MANY, sids)
    return {row[0]: session_of(row) for row in rows}


_GET_MANY: Final = f"SELECT {SESSION} FROM keyturn.session WHERE sid = ANY ($1::text[])"


async def swap(connection: Connection, swaps: Sequence[Swap]) -> list[bool]:
    """As ``Layout.swap``. One statement."""
    told = [swap.event for swap in swaps]
    if len(swaps) == 1 and told == [None]:
        return [await connection.fetchval(TURN, *turn_of(swaps[0])) is not None]
    turns = [list(column) for column in zip(*map(turn_of, swaps), strict=True)]
    if any(told):
        events = [to_json(event) if event else None for event in told]
        won = await connection.fetch(_TURN_AND_TELL, *turns, events)
    else:
        won = await connection.fetch(_TURN_MANY, *turns)
    winners = {sid for (sid,) in won}
    return [swap.old.sid in winners for swap in swaps]


def is_one_statement(swaps: Sequence[Swap]) -> bool:  # noqa: ARG001
    """As ``Layout.is_one_statement``: always."""
    return True


def _turning(arrays: str, columns: str, told: str) -> str:
    """Turns of many; what is asked for beside, and what is done with it, is an event of each.

    Each row is locked as it is written, so they are written in order; where one is locked by others
    for too long, those before it were written in vain, and to lock all first would cost the rest of
    them more. The limit is no limit, but what keeps the planner from another way: it expects a row
    or two, and looks each up by its key.
    """
    return f"""
    WITH turned AS (
        UPDATE keyturn.session SET generation = turn.generation, parent = turn.parent,
            first_child = turn.first_child, previous_parent = turn.previous_parent,
            turned_at = turn.turned_at, used_before = turn.used_before
        FROM (
            SELECT * FROM unnest(
                $1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                $7::bigint[], $8::bigint[]{arrays})
            AS turn (
                sid, held, generation, parent, first_child, previous_parent, turned_at,
                used_before{columns})
            ORDER BY sid COLLATE "C" LIMIT cardinality($1)
        ) AS turn
        WHERE session.sid = turn.sid AND session.generation = turn.held
            AND session.ended_at IS NULL
        RETURNING session.sid{columns}
    ){told}
    SELECT sid FROM turned"""


_TURN_MANY: Final = _turning("", "", "")
_TURN_AND_TELL: Final = _turning(
    ", $9::json[]",
    ", event",
    """, told AS (
        INSERT INTO keyturn.event (at, kind, user_id, sid, reason, device)
        SELECT (event->>'at')::bigint, event->>'kind', event->>'user_id', event->>'sid',
            event->>'reason', coalesce(event->>'device', '{}')
        FROM turned WHERE event IS NOT NULL
    )""",
)


async def add_session(
    connection: Connection, session: Session, *, limit: int, replaces: str | None
) -> list[str]:
    """As ``Layout.add_session``. One statement."""
    rows = await connection.fetch(_ADD_AND_TELL, *values_of(session), limit - 1, replaces or "")
    return [sid for (sid,) in rows]


_ADD_AND_TELL: Final = f"""
    WITH added AS ({ADD} RETURNING sid, user_id, created_at, device), told AS (
        INSERT INTO keyturn.event (at, kind, user_id, sid, device)
        SELECT created_at, '{EventKind.SIGNED_IN}', user_id, sid, device FROM added
    ){beyond_limit("$17", "$18")}"""


async def end_each(
    connection: Connection,
    reasons: Mapping[str, EndReason],
    *,
    at: int,
    tokens_until: int,
    generation: int | None = None,
) -> list[Cutoff]:
    """As ``Layout.end_each``. One statement."""
    rows = await connection.fetch(
        _END, list(reasons), list(reasons.values()), at, ALL_VERSIONS, tokens_until, generation
    )
    return cutoffs_of(rows)


_END: Final = f"""
    WITH ending AS MATERIALIZED (
        SELECT * FROM unnest($1::text[], $2::text[]) AS ending (sid, reason)
    ), locked AS MATERIALIZED (
        SELECT sid FROM keyturn.session WHERE sid = ANY ($1::text[]) AND ended_at IS NULL
        ORDER BY sid FOR NO KEY UPDATE
    ), ended AS (
        UPDATE keyturn.session SET secret = NULL, ended_at = $3, end_reason = ending.reason
        FROM locked JOIN ending USING (sid)
        WHERE session.sid = locked.sid AND session.sid = ANY ($1::text[])
            AND session.ended_at IS NULL AND session.generation = coalesce($6, session.generation)
        RETURNING session.sid, session.user_id, ending.reason
    ), told AS (
        INSERT INTO keyturn.event (at, kind, user_id, sid, reason)
        SELECT $3, '{EventKind.ENDED}', user_id, sid, reason FROM ended
    )
    INSERT INTO keyturn.cutoff (sid, version, expires_at, reason)
    SELECT sid, $4, $5 + {LONGEST_TTL}, reason FROM ended {RECORDED}"""


async def change_claims(
    connection: Connection,
    user_id: str,
    claims: Claims,
    *,
    least_version: int,
    tokens_until: int,
) -> list[Cutoff]:
    """As ``Layout.change_claims``. One statement."""
    rows = await connection.fetch(
        _CHANGE_CLAIMS, user_id, to_json(claims), least_version, tokens_until
    )
    return cutoffs_of(rows)


_CHANGE_CLAIMS: Final = f"""
    WITH locked AS MATERIALIZED (
        SELECT sid FROM keyturn.session WHERE user_id = $1 AND ended_at IS NULL
        ORDER BY sid FOR NO KEY UPDATE
    ), changed AS (
        UPDATE keyturn.session SET claims = $2, version = greatest(version + 1, $3)
        FROM locked
        WHERE session.sid = locked.sid AND session.user_id = $1 AND session.ended_at IS NULL
        RETURNING session.sid, session.version
    )
    INSERT INTO keyturn.cutoff (sid, version, expires_at)
    SELECT sid, version - 1, $4 + {LONGEST_TTL} FROM changed {RECORDED}"""


async def sweep_sessions(connection: Connection, page: Sequence[str], bounds: SweepBounds) -> int:
    """As ``Layout.sweep_sessions``. One statement."""
    deleted: int = await connection.fetchval(
        _SWEEP_SESSIONS, page, bounds.ended, bounds.created, bounds.last_used
    )
    return deleted


async def sweep_events(connection: Connection, limit: int, before: int) -> int:
    """As ``Layout.sweep_events``. One statement."""
    deleted: int = await connection.fetchval(_SWEEP_EVENTS, limit, before)
    return deleted


_SWEEP_SESSIONS: Final = sweeping("session", "sid", OLD_SESSION)
_SWEEP_EVENTS: Final = sweeping_oldest("event", "at < $2")
