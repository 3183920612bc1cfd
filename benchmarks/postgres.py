"""``Sessions`` on PostgreSQL without HTTP: durable turns a second, what a turn costs the process
and the server, and what it leaves in the log and in the table.

The server is a private one on this machine, with fsync and synchronous_commit on. Every exchange is
a turn (the window is 0), and every answer carries a new ES256 access token.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import uvloop
from tests.postgresql import Server, running

from keyturn import Sessions, open_store

from .measure import heading, median_of, ratios, shown
from .processes import cpu_seconds
from .turning import ROUNDS, Callers, sessions_on, show_turns

__all__ = ["log_position", "run", "show_alone", "written_since"]

CALLERS = 256
ALONE = 600
"""Exchanges of a round."""


def run() -> None:
    heading(f"Sessions.refresh on PostgreSQL, {CALLERS} callers in one process")
    with running() as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(server))


async def _run(server: Server) -> None:
    url = await server.new_database()
    store = await open_store(url, create=True)
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE EXTENSION pg_walinspect")
    clocks = {"Python": time.process_time, "PostgreSQL": lambda: cpu_seconds(server.pid)}
    async with sessions_on(store) as sessions:
        callers = await Callers.sign_in(sessions, CALLERS)
        before = await log_position(connection)
        turns = await show_turns(sessions, callers, clocks)
        await _show_log(connection, before, turns)
        await show_alone(sessions, connection)
    # Its connections have ended, and told their statistics.
    updates = await connection.fetchrow(_UPDATES)
    assert updates
    updated, hot = updates
    print(f"updates that are HOT                  {hot / updated:.2%}")
    await connection.close()


_UPDATES = """
    SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'session'"""


# ── the log ─────────────────────────────────────────────────────────────────────────────────────


async def log_position(connection: Any) -> int:
    """How far the log has been written to the disk, as asyncpg tells a ``pg_lsn``."""
    position: int = await connection.fetchval("SELECT pg_current_wal_flush_lsn()")
    return position


async def _show_log(connection: Any, before: int, turns: int) -> None:
    """What it grew by, without the images of whole pages that follow each checkpoint."""
    written, images = await written_since(connection, before)
    print(f"bytes of log a turn                   {written / turns:.0f}")
    print(f"images of pages: bytes a turn         {images / turns:.0f}")


async def written_since(connection: Any, before: int) -> tuple[int, int]:
    """Bytes of records, and of images of pages."""
    after = await log_position(connection)
    return tuple(await connection.fetchrow(_WRITTEN, before, after))


_WRITTEN = """
    SELECT pg_wal_lsn_diff($2::pg_lsn, $1::pg_lsn)::bigint - sum(fpi_size)::bigint,
        sum(fpi_size)::bigint
    FROM pg_get_wal_stats($1, $2)"""


# ── one caller alone ────────────────────────────────────────────────────────────────────────────


async def show_alone(sessions: Sessions, connection: Any) -> tuple[list[float], list[float]]:
    """Beside the plain way: one row read by its key, one written, one signature. They take turns.
    Returns the median of each in every round, in microseconds.
    """
    callers = await Callers.sign_in(sessions, 1)
    plain = await _Plain.sign_in(sessions, connection)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(ROUNDS):
        times = [
            (await _microseconds(callers.exchange(0)), await _microseconds(plain.exchange()))
            for _ in range(ALONE)
        ]
        for medians, those in zip((ours, theirs), zip(*times, strict=True), strict=True):
            medians.append(median_of(those))
    print(f"1 caller: µs an exchange              {shown(ours, 0)}")
    print(f"two statements, a signature: µs       {shown(theirs, 0)}")
    print(f"ratio                                 {shown(ratios(ours, theirs), 2)}")
    return ours, theirs


class _Plain:
    """What is no store and knows no rules, on the row of a session."""

    def __init__(self, connection: Any, sid: str, sign: Callable[[bytes], bytes]) -> None:
        self._connection = connection
        self._sid = sid
        self._sign = sign

    @classmethod
    async def sign_in(cls, sessions: Sessions, connection: Any) -> _Plain:
        key = sessions.keyring.signing_key(sessions.now())
        return cls(connection, (await sessions.create("plain")).session.sid, key.sign)

    async def exchange(self) -> None:
        row = await self._connection.fetchrow(_READ, self._sid)
        held = row["generation"]
        won = await self._connection.fetchval(
            _WRITE, self._sid, held, held + 1, held, held + 1, held - 1, int(time.time())
        )
        assert won
        self._sign(b"x" * 400)


_READ = "SELECT * FROM keyturn.session WHERE sid = $1"
_WRITE = """
    UPDATE keyturn.session SET generation = $3, parent = $4, first_child = $5,
        previous_parent = $6, turned_at = $7
    WHERE sid = $1 AND generation = $2 RETURNING sid"""


async def _microseconds(work: Awaitable[object]) -> float:
    began = time.perf_counter_ns()
    await work
    return (time.perf_counter_ns() - began) / 1000
