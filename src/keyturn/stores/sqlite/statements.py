"""What the store asks of SQLite: plain functions over a connection, within a transaction that the
caller has begun; so that others can put several of them, and their own, into one.

Rows in any number are read as one JSON text and written from one. Each row that SQLite hands over
singly lets another thread of Python in, and getting back in while the event loop is busy can take
five milliseconds: a batch of 64 would hold the write lock for a third of a second.
"""

# ruff: noqa: S608  what is put into a statement are constants of this file; values are bound

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Final

import msgspec
from apsw import Connection
from msgspec.structs import asdict

from keyturn.core.model import (
    ALL_VERSIONS,
    Claims,
    Cutoff,
    EndReason,
    Event,
    EventKind,
    SealedKey,
    Session,
)
from keyturn.stores.base import PAST_ALL, Ending, Swap, SweepBounds, lasting, sign_in_of

__all__ = [
    "add",
    "add_signing_key",
    "cutoffs",
    "drop_signing_keys",
    "end",
    "end_user",
    "events_of_session",
    "events_of_user",
    "forget_user",
    "get",
    "list_sessions",
    "living",
    "longest_access_ttl",
    "raise_access_ttl",
    "raise_version",
    "record_event",
    "replace_signing_key",
    "set_claims",
    "signing_keys",
    "swap",
    "sweep",
    "user_epoch",
    "void_all",
]

_SESSION: Final = """json_object(
    'sid', sid, 'user_id', user_id, 'secret', secret, 'created_at', created_at,
    'generation', generation, 'parent', parent, 'first_child', first_child,
    'previous_parent', previous_parent, 'turned_at', turned_at, 'used_before', used_before,
    'version', version, 'claims', json(claims), 'device', json(device), 'remember', remember,
    'ended_at', ended_at, 'end_reason', end_reason)"""
_CUTOFF: Final = """json_object(
    'sid', sid, 'version', version, 'expires_at', expires_at, 'reason', reason)"""
_EVENT: Final = """json_object(
    'at', at, 'kind', kind, 'user_id', user_id, 'sid', sid, 'reason', reason,
    'device', json(device))"""

_sessions_of = msgspec.json.Decoder(list[Session], strict=False).decode  # 0 and 1 for booleans
_cutoffs_of = msgspec.json.Decoder(list[Cutoff]).decode
_events_of = msgspec.json.Decoder(list[Event]).decode
_sids_of = msgspec.json.Decoder(list[str]).decode

_LAST_USED: Final = "max(created_at, coalesce(turned_at, 0))"


# ── sessions ────────────────────────────────────────────────────────────────────────────────────


def add(
    connection: Connection,
    session: Session,
    *,
    limit: int,
    replaces: str | None,
    epoch: int,
    tokens_until: int,
) -> list[Cutoff] | None:
    """As ``Store.add``."""
    if user_epoch(connection, session.user_id) != epoch:
        return None
    row = asdict(session)
    row["secret"] = None if session.secret is None else b64encode(session.secret).decode()
    row["claims"], row["device"] = _json(session.claims), _json(session.device)
    connection.execute(
        """INSERT INTO session (
            sid, user_id, secret, created_at, generation, parent, first_child, previous_parent,
            turned_at, used_before, version, claims, device, remember, ended_at, end_reason)
        VALUES (
            :sid, :user_id, :secret, :created_at, :generation, :parent, :first_child,
            :previous_parent, :turned_at, :used_before, :version, :claims, :device, :remember,
            :ended_at, :end_reason)""",
        row,
    )
    record_event(connection, sign_in_of(session))
    replaced = Ending(EndReason.REPLACED, session.created_at, tokens_until)
    ended = end(connection, [] if replaces is None else [replaces], replaced)
    evicted = Ending(EndReason.EVICTED, session.created_at, tokens_until)
    return ended + end(connection, _beyond_limit(connection, session, limit), evicted)


def _beyond_limit(connection: Connection, session: Session, limit: int) -> list[str]:
    return _sids_of(
        connection.execute(
            f"""SELECT json_group_array(sid) FROM (
                SELECT sid FROM session WHERE user_id = ? AND ended_at IS NULL AND sid <> ?
                ORDER BY {_LAST_USED} DESC, id DESC LIMIT -1 OFFSET ?)""",
            (session.user_id, session.sid, limit - 1),
        ).get
    )


def get(connection: Connection, sids: Sequence[str]) -> dict[str, Session]:
    """As ``Store.get``."""
    rows = connection.execute(
        f"""SELECT json_group_array({_SESSION}) FROM session
        WHERE sid IN (SELECT value FROM json_each(?))""",
        (_json(sids),),
    ).get
    return {session.sid: session for session in _sessions_of(rows)}


def swap(connection: Connection, swaps: Sequence[Swap]) -> list[bool]:
    """As ``Store.swap``. Who wins is read first, in one row: the update would tell it in many."""
    won = _winners(connection, swaps)
    winners = [swap for swap in swaps if swap.old.sid in won]
    turns = [
        (
            swap.new.sid,
            swap.new.generation,
            swap.new.parent,
            swap.new.first_child,
            swap.new.previous_parent,
            swap.new.turned_at,
            swap.new.used_before,
        )
        for swap in winners
    ]
    connection.execute(
        """UPDATE session SET generation = turn.generation, parent = turn.parent,
            first_child = turn.first_child, previous_parent = turn.previous_parent,
            turned_at = turn.turned_at, used_before = turn.used_before
        FROM (
            SELECT value->>0 AS sid, value->>1 AS generation, value->>2 AS parent,
                value->>3 AS first_child, value->>4 AS previous_parent, value->>5 AS turned_at,
                value->>6 AS used_before
            FROM json_each(?)) AS turn
        WHERE session.sid = turn.sid""",
        (_json(turns),),
    )
    _record_events(connection, [swap.event for swap in winners if swap.event])
    return [swap.old.sid in won for swap in swaps]


def _winners(connection: Connection, swaps: Sequence[Swap]) -> set[str]:
    held = [(swap.old.sid, swap.old.generation) for swap in swaps]
    winners = connection.execute(
        """SELECT json_group_array(sid) FROM json_each(?) AS held
        JOIN session ON sid = held.value->>0 AND generation = held.value->>1
        WHERE ended_at IS NULL""",
        (_json(held),),
    ).get
    return set(_sids_of(winners))


def list_sessions(connection: Connection, user_id: str) -> list[Session]:
    """As ``Store.list_sessions``."""
    rows = connection.execute(
        f"""SELECT json_group_array({_SESSION} ORDER BY created_at DESC, id DESC) FROM session
        WHERE user_id = ? AND ended_at IS NULL""",
        (user_id,),
    ).get
    return _sessions_of(rows)


def living(connection: Connection, *, since: int, after: str, limit: int) -> tuple[list[str], str]:
    """As ``Store.living``."""
    wanted, looked_at, last = connection.execute(
        f"""SELECT json_group_array(sid) FILTER (WHERE ended_at IS NULL AND {_LAST_USED} >= ?),
            count(*), max(sid)
        FROM (SELECT sid, ended_at, created_at, turned_at FROM session
            WHERE sid > ? ORDER BY sid LIMIT ?)""",
        (since, after, limit),
    ).get
    return _sids_of(wanted), last if looked_at == limit else ""


def raise_version(connection: Connection, sid: str, above: int) -> int | None:
    """As ``Store.raise_version``."""
    version: int | None = connection.execute(
        """UPDATE session SET version = max(version, ?) WHERE sid = ? AND ended_at IS NULL
        RETURNING version""",
        (above + 1, sid),
    ).get
    return version


# ── ends and changes ────────────────────────────────────────────────────────────────────────────


def end(
    connection: Connection,
    sids: Sequence[str],
    ending: Ending,
    *,
    generation: int | None = None,
) -> list[Cutoff]:
    """As ``Store.end``."""
    if not sids:
        return []
    living = connection.execute(
        """SELECT json_group_array(json_array(sid, user_id)) FROM session
        WHERE sid IN (SELECT value FROM json_each(?)) AND ended_at IS NULL
        AND generation = coalesce(?, generation)""",
        (_json(sids), generation),
    ).get
    ended = msgspec.json.decode(living, type=list[tuple[str, str]])
    if not ended:
        return []
    connection.execute(
        """UPDATE session SET secret = NULL, ended_at = ?, end_reason = ?
        WHERE sid IN (SELECT value->>0 FROM json_each(?))""",
        (ending.at, ending.reason, living),
    )
    _record_events(
        connection,
        [
            Event(
                at=ending.at,
                kind=EventKind.ENDED,
                user_id=user_id,
                sid=sid,
                reason=ending.reason,
            )
            for sid, user_id in ended
        ],
    )
    return _record_cutoffs(
        connection,
        [Cutoff(sid, ALL_VERSIONS, ending.tokens_until, ending.reason) for sid, _ in ended],
    )


def end_user(
    connection: Connection, user_id: str, keep: str | None, ending: Ending
) -> list[Cutoff]:
    """As ``Store.end_user``."""
    _raise_epoch(connection, user_id)
    sids = connection.execute(
        """SELECT json_group_array(sid) FROM session
        WHERE user_id = ? AND ended_at IS NULL AND sid IS NOT ?""",
        (user_id, keep),
    ).get
    return end(connection, _sids_of(sids), ending)


def set_claims(
    connection: Connection,
    user_id: str,
    claims: Claims,
    *,
    at: int,
    least_version: int,
    tokens_until: int,
) -> list[Cutoff]:
    """As ``Store.set_claims``."""
    _raise_epoch(connection, user_id)
    record_event(connection, Event(at=at, kind=EventKind.CLAIMS_CHANGED, user_id=user_id))
    connection.execute(
        """UPDATE session SET claims = ?, version = max(version + 1, ?)
        WHERE user_id = ? AND ended_at IS NULL""",
        (_json(claims), least_version, user_id),
    )
    below = connection.execute(
        """SELECT json_group_array(json_object(
            'sid', sid, 'version', version - 1, 'expires_at', ?)) FROM session
        WHERE user_id = ? AND ended_at IS NULL""",
        (tokens_until, user_id),
    ).get
    return _record_cutoffs(connection, _cutoffs_of(below))


def forget_user(connection: Connection, user_id: str) -> None:
    """Keep nothing of a user who is gone but the id. None of their sessions lives."""
    connection.execute(
        """UPDATE session SET claims = '{}', device = '{}'
        WHERE user_id = ? AND ended_at IS NOT NULL""",
        (user_id,),
    )
    connection.execute("UPDATE event SET device = '{}' WHERE user_id = ?", (user_id,))
    connection.execute(
        "UPDATE delivery SET device = '{}', error = '' WHERE user_id = ?", (user_id,)
    )


def user_epoch(connection: Connection, user_id: str) -> int:
    """As ``Store.user_epoch``."""
    epoch: int | None = connection.execute(
        "SELECT epoch FROM user_epoch WHERE user_id = ?", (user_id,)
    ).get
    return epoch or 0


def _raise_epoch(connection: Connection, user_id: str) -> None:
    connection.execute(
        """INSERT INTO user_epoch (user_id, epoch) VALUES (?, 1)
        ON CONFLICT (user_id) DO UPDATE SET epoch = epoch + 1""",
        (user_id,),
    )


# ── cutoffs and events ──────────────────────────────────────────────────────────────────────────


def void_all(connection: Connection, issued_until: int, tokens_until: int) -> Cutoff:
    """As ``Store.void_all``."""
    return _record_cutoffs(connection, [Cutoff(None, issued_until, tokens_until)])[0]


def longest_access_ttl(connection: Connection) -> int:
    """As ``Store.longest_access_ttl``, which only asks."""
    seconds: int | None = connection.execute("SELECT seconds FROM longest_access_ttl").get
    return seconds or 0


def raise_access_ttl(connection: Connection, at_least: int) -> int:
    """As ``Store.longest_access_ttl``."""
    seconds: int = connection.execute(
        """INSERT INTO longest_access_ttl (id, seconds) VALUES (1, ?)
        ON CONFLICT (id) DO UPDATE SET seconds = max(seconds, excluded.seconds)
        RETURNING seconds""",
        (at_least,),
    ).get
    return seconds


def cutoffs(connection: Connection, cursor: int | None, now: int) -> tuple[int, list[Cutoff]]:
    """As ``Store.cutoffs``. One writes at a time, so the order of ids is that of commits."""
    newest: int | None = connection.execute("SELECT max(id) FROM cutoff").get
    rows = connection.execute(
        f"SELECT json_group_array({_CUTOFF}) FROM cutoff WHERE id > ? AND expires_at > ?",
        (cursor or 0, now),
    ).get
    return newest or 0, _cutoffs_of(rows)


def record_event(connection: Connection, event: Event) -> None:
    """Record that something happened to a session or a user."""
    _record_events(connection, [event])


def events_of_session(connection: Connection, sid: str, limit: int) -> list[Event]:
    """The newest events of a session, newest first."""
    return _newest_events(connection, "sid = ?", sid, limit)


def events_of_user(connection: Connection, user_id: str, limit: int) -> list[Event]:
    """The newest events of a user and all their sessions, newest first."""
    return _newest_events(connection, "user_id = ?", user_id, limit)


def _newest_events(connection: Connection, condition: str, whose: str, limit: int) -> list[Event]:
    rows = connection.execute(
        f"""SELECT json_group_array({_EVENT} ORDER BY id DESC) FROM (
            SELECT * FROM event WHERE {condition} ORDER BY id DESC LIMIT ?)""",
        (whose, limit),
    ).get
    return _events_of(rows)


def _record_events(connection: Connection, events: Sequence[Event]) -> None:
    if events:
        connection.execute(
            """INSERT INTO event (at, kind, user_id, sid, reason, device)
            SELECT value->>'at', value->>'kind', value->>'user_id', value->>'sid',
                value->>'reason', coalesce(value->'device', '{}')
            FROM json_each(?)""",
            (_json(events),),
        )


def _record_cutoffs(connection: Connection, cutoffs: list[Cutoff]) -> list[Cutoff]:
    if not cutoffs:
        return []
    recorded = lasting(cutoffs, longest_access_ttl(connection))
    connection.execute(
        """INSERT INTO cutoff (sid, version, expires_at, reason)
        SELECT value->>'sid', value->>'version', value->>'expires_at', value->>'reason'
        FROM json_each(?)""",
        (_json(recorded),),
    )
    return recorded


# ── signing keys ────────────────────────────────────────────────────────────────────────────────


def signing_keys(connection: Connection) -> list[SealedKey]:
    """As ``Store.signing_keys``."""
    return [
        SealedKey(
            kid=kid, algorithm=algorithm, created_at=created_at, use_from=use_from, sealed=sealed
        )
        for kid, algorithm, created_at, use_from, sealed in connection.execute(
            "SELECT kid, algorithm, created_at, use_from, sealed FROM signing_key ORDER BY id"
        )
    ]


def add_signing_key(connection: Connection, key: SealedKey, *, after: str | None) -> bool:
    """As ``Store.add_signing_key``."""
    newest = connection.execute("SELECT kid FROM signing_key ORDER BY id DESC LIMIT 1").get
    if newest != after:
        return False
    connection.execute(
        """INSERT INTO signing_key (kid, algorithm, created_at, use_from, sealed)
        VALUES (:kid, :algorithm, :created_at, :use_from, :sealed)""",
        asdict(key),
    )
    return True


def replace_signing_key(connection: Connection, old: SealedKey, new: SealedKey) -> bool:
    """As ``Store.replace_signing_key``: the seal is over all that is said of a key."""
    connection.execute(
        "UPDATE signing_key SET use_from = ?, sealed = ? WHERE kid = ? AND sealed = ?",
        (new.use_from, new.sealed, old.kid, old.sealed),
    )
    return connection.changes() == 1


def drop_signing_keys(connection: Connection, kids: Sequence[str], *, beside: str) -> bool:
    """As ``Store.drop_signing_keys``."""
    query = "SELECT EXISTS (SELECT * FROM signing_key WHERE kid = ?)"
    if not connection.execute(query, (beside,)).get:
        return False
    connection.execute(
        "DELETE FROM signing_key WHERE kid IN (SELECT value FROM json_each(?))", (_json(kids),)
    )
    return True


# ── sweep ───────────────────────────────────────────────────────────────────────────────────────


def sweep(
    connection: Connection, bounds: SweepBounds, *, after: str, limit: int
) -> tuple[int, str]:
    """As ``Store.sweep``. Each part looks along an index at ``limit`` rows, the oldest of cutoffs,
    events and deliveries, so it never holds the write lock for long.
    """
    looked_at, last = connection.execute(
        "SELECT count(*), max(sid) FROM (SELECT sid FROM session WHERE sid > ? "
        "ORDER BY sid LIMIT ?)",
        (after, limit),
    ).get
    sessions = _delete(
        connection,
        f"""DELETE FROM session WHERE sid > ? AND sid <= ?
        AND (ended_at < ? OR created_at < ? OR {_LAST_USED} < ?)""",
        (after, last, bounds.ended, bounds.created, bounds.last_used),
    )
    others = (
        _delete(
            connection,
            """DELETE FROM cutoff WHERE id IN (SELECT id FROM cutoff ORDER BY id LIMIT ?)
        AND expires_at < ?""",
            (limit, bounds.cutoffs),
        )
        + _delete(
            connection,
            """DELETE FROM event WHERE id IN (SELECT id FROM event ORDER BY id LIMIT ?)
        AND at < ?""",
            (limit, bounds.events),
        )
        + _delete(
            connection,
            """DELETE FROM delivery
        WHERE number IN (SELECT number FROM delivery ORDER BY number LIMIT ?)
        AND (at < ? OR hook NOT IN (SELECT name FROM hook))""",
            (limit, bounds.events),
        )
    )
    rest = PAST_ALL if others else ""
    return sessions + others, last if looked_at == limit else rest


def _delete(connection: Connection, statement: str, bindings: tuple[int | str | None, ...]) -> int:
    connection.execute(statement, bindings)
    return connection.changes()


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
