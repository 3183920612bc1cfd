"""What a turn leaves behind: no new index entry, little in the log, and no larger table."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Final

import pytest

from keyturn.core.model import Claims, Device, Session
from keyturn.stores.conformance import NOW, a_session, begin, turned
from keyturn.stores.postgres import PostgresStore, gathered, sharded, statements

from .support import connected, opened, turn

TURNS: Final = 20
CLAIMS: Final = Claims(username="ada", email="ada@example.com", fullname="Ada Lovelace")
DEVICE: Final = Device(user_agent="Mozilla/5.0 (X11; Linux x86_64)" * 3, address="2001:db8::1")


async def everybody_turns(
    store: PostgresStore, sessions: Sequence[Session], at: int, batch: int
) -> list[Session]:
    for start in range(0, len(sessions), batch):
        swaps = [turn(session) for session in sessions[start : start + batch]]
        assert all(await store.swap(swaps))
    return [turned(session, at) for session in sessions]


@pytest.mark.parametrize(("batch", "count"), [(64, 960), (1, 96)])
async def test_a_turn_costs_little(database: str, batch: int, count: int) -> None:
    """HOT above 95 %, at most 400 bytes of log past the full pages after a checkpoint, and the
    table stays as large as a few turns made it.
    """
    async with connected(database) as admin, opened(database) as store:
        sessions = [a_session(f"u{n}", claims=CLAIMS, device=DEVICE) for n in range(count)]
        await begin(store, *sessions)
        random.Random(1).shuffle(sessions)  # who turns together did not sign in together
        for number in range(3):
            sessions = await everybody_turns(store, sessions, NOW + number, batch)
        size_before = await admin.fetchval("SELECT pg_relation_size('keyturn.session')")
        log_before = await admin.fetchval("SELECT pg_current_wal_insert_lsn()")

        for number in range(3, TURNS):
            sessions = await everybody_turns(store, sessions, NOW + number, batch)

        size = await admin.fetchval("SELECT pg_relation_size('keyturn.session')")
        written = int(
            await admin.fetchval(
                "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1)", log_before
            )
        )
        await store.close()  # so that its connections tell their statistics
        updated, hot = await admin.fetchrow(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'session'"
        ) or (0, 0)

    log_a_turn = written / (count * (TURNS - 3))
    print(f"HOT {hot / updated:.1%}, {log_a_turn:.0f} bytes of log a turn, {size_before} → {size}")
    assert updated == count * TURNS
    assert hot > 0.95 * updated
    assert log_a_turn <= 400
    assert size <= 1.1 * size_before


@pytest.mark.parametrize("count", [20, 300])
@pytest.mark.parametrize(
    ("statement", "types", "values"),
    [
        (statements.GET, "text", "'x'"),
        (gathered._GET_MANY, "text[]", "'{x}'"),
        (statements.TURN, "text" + ", bigint" * 7, "'x'" + ", 1" * 7),
        (
            gathered._TURN_MANY,
            "text[]" + ", bigint[]" * 7,
            "'{x}'" + ", '{1}'" * 7,
        ),
        (
            gathered._TURN_AND_TELL,
            "text[]" + ", bigint[]" * 7 + ", json[]",
            "'{x}'" + ", '{1}'" * 7 + ", '{null}'",
        ),
        (gathered._END, "text[], text[]" + ", bigint" * 4, "'{x}', '{x}'" + ", 1" * 4),
        (sharded._END, "text, bigint, text, bigint", "'x', 1, 'x', 1"),
    ],
    ids=["get", "gets", "turn", "turns", "turns that tell", "ends", "end"],
)
async def test_rows_are_found_by_their_key(
    database: str, count: int, statement: str, types: str, values: str
) -> None:
    """However few they are when the plan is made, which is kept while they become many."""
    async with opened(database) as store:
        await begin(store, *(a_session() for _ in range(count)))
        connection = await store.engine._connector.connect()
        await connection.execute("ANALYZE keyturn.session")
        await connection.execute(f"PREPARE planned ({types}) AS {statement}")

        lines = await connection.fetch(f"EXPLAIN EXECUTE planned ({values})")

        await connection.close()
    plan = "\n".join(line for (line,) in lines)
    scans = re.findall(r"(?:Seq Scan on session|Index Scan (?:using|on)) ?(\w*)", plan)
    assert set(scans) == {"session_pkey"}
    assert len(re.findall(r"Index Cond: \(sid = ", plan)) == len(scans)
