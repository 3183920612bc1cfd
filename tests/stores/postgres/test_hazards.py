"""What can go wrong with many rows in one statement, and with many processes on one database."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from keyturn.core.errors import RowUnavailable, StoreUnavailable
from keyturn.core.model import Claims, EndReason, Event, EventKind
from keyturn.stores.base import Swap
from keyturn.stores.conformance import (
    LATER,
    LOGOUT,
    NOW,
    a_session,
    begin,
    living,
    row,
    turned,
)
from keyturn.stores.postgres import PostgresStore, connecting
from keyturn.stores.postgres.store import connections_of_process
from tests.stores.support import read_together

from .support import (
    SOMEBODY_WAITS,
    Connection,
    connected,
    opened,
    turn,
    turns_of,
    until_true,
)

LOCK = "SELECT FROM keyturn.session WHERE sid = $1 FOR UPDATE"
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
THEIR_BACKENDS = "datname = current_database() AND pid <> pg_backend_pid()"


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements wait for locks for as long as the machine needs to get to the point."""
    monkeypatch.setitem(connecting._SETTINGS, "lock_timeout", "9000")
    monkeypatch.setitem(connecting._SETTINGS, "statement_timeout", "10000")


@pytest.fixture
async def store(database: str, layout: str) -> AsyncIterator[PostgresStore]:
    async with opened(database, sharded=layout == "sharded") as store:
        yield store


@pytest.fixture
async def other(database: str, store: PostgresStore) -> AsyncIterator[PostgresStore]:
    """The same database, as another process has it."""
    async with opened(database) as other:
        yield other


@pytest.fixture
async def admin(database: str, store: PostgresStore) -> AsyncIterator[Connection]:
    async with connected(database) as connection:
        yield connection


async def test_turns_and_ends_of_two_processes_never_wait_in_a_ring(
    store: PostgresStore, other: PostgresStore, admin: Connection
) -> None:
    """Batches over the same rows in all orders: no call is ever the victim of a deadlock."""
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '5ms'")
    sessions = [a_session() for _ in range(32)]
    await begin(store, *sessions)
    sids = [session.sid for session in sessions]
    shuffle = random.Random(1).shuffle

    async def turn_again_and_again(process: PostgresStore) -> int:
        won = 0
        for _ in range(25):
            rows = list((await process.get(sids)).values())
            shuffle(rows)
            with suppress(RowUnavailable):  # so many wait for one row here that some give up
                won += sum(await process.swap([turn(session) for session in rows]))
        return won

    async def change_again_and_again(process: PostgresStore) -> int:
        for number in range(25):
            await process.end(sids[number : number + 2][::-1], LOGOUT)
            await process.set_claims("ann", Claims(), at=NOW, least_version=0, tokens_until=LATER)
        return 0

    won = await asyncio.gather(
        *(turn_again_and_again(process) for process in (store, store, other, other)),
        *(change_again_and_again(process) for process in (store, other)),
    )

    generations = sum(session.generation for session in (await store.get(sids)).values())
    assert (sum(won), await admin.fetchval(DEADLOCKS)) == (generations, 0)


async def test_ends_of_two_processes_never_wait_in_a_ring(
    store: PostgresStore, other: PostgresStore, admin: Connection
) -> None:
    """Of the same sessions, named in opposite orders: each is ended by one of them."""
    for _ in range(10):
        sessions = [a_session() for _ in range(16)]
        sids = [session.sid for session in sessions]
        await begin(store, *sessions)

        ours, theirs = await asyncio.gather(store.end(sids, LOGOUT), other.end(sids[::-1], LOGOUT))

        assert sorted(str(cutoff.sid) for cutoff in ours + theirs) == sorted(sids)
    assert await admin.fetchval(DEADLOCKS) == 0


async def test_of_turns_in_two_processes_each_session_has_one_winner(
    store: PostgresStore, other: PostgresStore
) -> None:
    """Batches of the same rows, at the same moment (requirement C4)."""
    sessions = [a_session() for _ in range(64)]
    await begin(store, *sessions)
    for _ in range(10):
        rows = list((await store.get([session.sid for session in sessions])).values())

        ours, theirs = await asyncio.gather(
            store.swap([turn(session) for session in rows]),
            other.swap([turn(session) for session in reversed(rows)]),
        )

        assert [a + b for a, b in zip(ours, reversed(theirs), strict=True)] == [1] * 64


async def test_one_locked_row_fails_alone(store: PostgresStore, admin: Connection) -> None:
    """Whoever holds it: the 63 beside it are turned, and later it is too."""
    sessions = [a_session() for _ in range(64)]
    await begin(store, *sessions)
    turns = turns_of(store)

    async with admin.transaction():
        await admin.execute(LOCK, sessions[17].sid)
        answers = await asyncio.gather(
            *(turns.submit(turn(session)) for session in sessions), return_exceptions=True
        )

    locked = answers.pop(17)
    assert (isinstance(locked, RowUnavailable), answers) == (True, [True] * 63)
    assert await turns.submit(turn(sessions[17])) is True


async def test_those_who_wait_for_a_lock_leave_connections_to_others(
    store: PostgresStore, admin: Connection
) -> None:
    """However many log out of a session that somebody has locked, all others are served."""
    await begin(store, locked := a_session(), other := a_session())

    async with admin.transaction():
        await admin.execute(LOCK, locked.sid)
        ends = [asyncio.create_task(store.end([locked.sid], LOGOUT)) for _ in range(6)]
        await until_true(admin, SOMEBODY_WAITS)
        won = await store.swap([turn(other)])
        waiting = [end for end in ends if not end.done()]

    assert won == [True]
    assert len(waiting) == len(await asyncio.gather(*ends)) == 6


async def test_no_kind_of_call_waits_behind_another(store: PostgresStore) -> None:
    """However many read a lot, or wait for a lock: exchanges go on, and so does the one who follows
    what was revoked and by which keys is signed.
    """
    await begin(store, session := a_session())
    may_end = asyncio.Event()

    async def take_long(_: Connection) -> bool:
        return await may_end.wait()

    calls = [asyncio.create_task(store.engine.run(take_long)) for _ in range(20)]
    calls += [asyncio.create_task(store.engine.transact(take_long)) for _ in range(20)]
    won = await store.swap([turn(await row(store, session.sid))])
    followed = [await store.cutoffs(None, NOW), await store.signing_keys()]
    longest = await store.longest_access_ttl(0)
    under_way = [call for call in calls if not call.done()]
    may_end.set()

    assert (won, followed[1], longest) == ([True], [], 0)
    assert await asyncio.gather(*under_way) == [True] * 40


async def test_there_are_never_more_connections_than_are_told(
    store: PostgresStore, admin: Connection
) -> None:
    """As many as the doctor looks for, whatever is asked for at once; the one that listens is not
    there yet.
    """
    may_end = asyncio.Event()
    told = connections_of_process(store.engine._connector) - 1
    theirs = "SELECT count(*) FROM pg_stat_activity "
    theirs += f"WHERE {THEIR_BACKENDS} AND backend_type = 'client backend'"

    async def take_long(_: Connection) -> bool:
        return await may_end.wait()

    engine = store.engine
    calls = [
        asyncio.ensure_future(call(take_long))
        for call in (engine.run_batch, engine.run, engine.transact, engine.follow)
        for _ in range(30)
    ]
    await until_true(admin, f"SELECT ({theirs}) >= {told}")
    may_end.set()

    assert await asyncio.gather(*calls) == [True] * 120
    assert await admin.fetchval(theirs) == told


async def test_who_waits_too_long_for_a_place_is_refused(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing done: begun so late, it would be cut off in the middle."""
    await begin(store, session := a_session())
    monkeypatch.setattr("keyturn.stores.postgres.engine._PATIENCE_SECONDS", 0)
    may_end = asyncio.Event()

    async def take_long(_: Connection) -> bool:
        return await may_end.wait()

    calls = [asyncio.create_task(store.engine.transact(take_long)) for _ in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(StoreUnavailable, match=r"^Too much is waiting for the database$"):
        await store.end([session.sid], LOGOUT)
    may_end.set()
    assert await asyncio.gather(*calls) == [True, True]
    assert await living(store) == {session.sid}


async def test_one_bad_row_fails_alone(store: PostgresStore, admin: Connection) -> None:
    """One that the database refuses to write: the others of its batch are written."""
    await admin.execute("ALTER TABLE keyturn.session ADD CHECK (generation <> 13)")
    sessions = [a_session(generation=generation) for generation in (5, 12, 7)]
    await begin(store, *sessions)
    turns = turns_of(store)

    answers = await asyncio.gather(
        *(turns.submit(turn(session)) for session in sessions), return_exceptions=True
    )

    assert (answers[0], answers[2]) == (True, True)
    assert str(answers[1]) == "The database refused the row (SQLSTATE 23514)"
    assert await row(store, sessions[1].sid) == sessions[1]


@pytest.mark.parametrize("damage", ["device = '{\"user_agent\":null}'", "end_reason = 'bored'"])
async def test_a_row_that_cannot_be_read_fails_alone(
    store: PostgresStore, admin: Connection, damage: str
) -> None:
    """Whatever wrote it: who is asked for together with it is read, and no connection is lost."""
    await begin(store, damaged := a_session(), sound := a_session())
    await admin.execute(f"UPDATE keyturn.session SET {damage} WHERE sid = $1", damaged.sid)
    backends = await admin.fetch(f"SELECT pid FROM pg_stat_activity WHERE {THEIR_BACKENDS}")

    fault, read = await read_together(store, damaged, sound)

    assert isinstance(fault, RowUnavailable)
    assert read == sound
    left = await admin.fetch(f"SELECT pid FROM pg_stat_activity WHERE {THEIR_BACKENDS}")
    assert {*backends} <= {*left}


@pytest.mark.parametrize("layout", ["gathered"])
async def test_a_lost_connection_fails_the_whole_batch(
    patient: None, store: PostgresStore, admin: Connection
) -> None:
    """Nothing is tried again, as it may have been done; the next batch finds another connection."""
    sessions = [a_session() for _ in range(8)]
    await begin(store, *sessions)
    turns = turns_of(store)

    async with admin.transaction():
        await admin.execute(LOCK, sessions[3].sid)
        answers = [turns.submit(turn(session)) for session in sessions]
        await until_true(admin, SOMEBODY_WAITS)
        await admin.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {THEIR_BACKENDS}"
        )
        lost = await asyncio.gather(*answers, return_exceptions=True)

    assert {type(answer) for answer in lost} == {StoreUnavailable}
    assert turns.calls == 1
    assert (
        await asyncio.gather(*(turns.submit(turn(session)) for session in sessions)) == [True] * 8
    )


async def test_a_cancelled_waiter_does_not_cancel_the_batch(
    patient: None, store: PostgresStore, admin: Connection
) -> None:
    """Neither what others wait for, nor what it asked for itself."""
    one, two = a_session(), a_session()
    await begin(store, one, two)
    turns = turns_of(store)

    async with admin.transaction():
        await admin.execute(LOCK, one.sid)
        given_up, kept = turns.submit(turn(one)), turns.submit(turn(two))
        await until_true(admin, SOMEBODY_WAITS)
        given_up.cancel()

    assert await kept is True
    assert await row(store, one.sid) == turned(one)


async def test_a_cancelled_end_is_done_all_the_same(
    store: PostgresStore, admin: Connection
) -> None:
    """A client that hangs up while it logs out is logged out."""
    await begin(store, session := a_session())

    async with admin.transaction():
        await admin.execute(LOCK, session.sid)
        end = asyncio.create_task(store.end([session.sid], LOGOUT))
        await until_true(admin, SOMEBODY_WAITS)
        end.cancel()
        await asyncio.wait([end])

    await store.close()  # waits for it
    query = "SELECT end_reason FROM keyturn.session"
    assert (end.cancelled(), await admin.fetchval(query)) == (True, EndReason.LOGGED_OUT)


async def test_a_turn_waits_for_an_end_and_loses(
    patient: None, store: PostgresStore, admin: Connection
) -> None:
    """A row that was changed while its lock was waited for is judged as it is then, in a batch
    as well as alone (requirement C7).
    """
    sessions = [a_session() for _ in range(3)]
    await begin(store, *sessions)
    alone, first, second = sessions

    async with admin.transaction():
        await admin.execute("UPDATE keyturn.session SET ended_at = 1, end_reason = 'evicted'")
        batch = asyncio.create_task(store.swap([turn(first), turn(second)]))
        single = asyncio.create_task(store.swap([turn(alone)]))
        await until_true(admin, SOMEBODY_WAITS.replace("> 0", "= 2"))

    assert (await batch, await single) == ([False, False], [False])
    assert (await row(store, first.sid)).end_reason is EndReason.EVICTED


async def test_an_end_waits_for_a_turn_and_keeps_it(
    store: PostgresStore, admin: Connection
) -> None:
    """What a racing turn wrote stays in the ended row."""
    await begin(store, session := a_session())

    async with admin.transaction():
        await admin.execute("UPDATE keyturn.session SET generation = 1")
        end = asyncio.create_task(store.end([session.sid], LOGOUT))
        await until_true(admin, SOMEBODY_WAITS)

    cutoffs = await end
    ended = await row(store, session.sid)
    assert (len(cutoffs), ended.generation, ended.secret) == (1, 1, None)


async def test_an_end_of_all_waits_for_a_sign_in_and_ends_it(
    store: PostgresStore, admin: Connection
) -> None:
    """A session that is committed while the user's lock is waited for does not escape
    (requirement C7).
    """
    await begin(store, known := a_session())

    async with admin.transaction():
        await admin.execute("SELECT FROM keyturn.user_epoch FOR UPDATE")
        end = asyncio.create_task(store.end_user("ann", None, LOGOUT))
        await until_true(admin, SOMEBODY_WAITS)
        await admin.execute(
            "INSERT INTO keyturn.session SELECT (s).* FROM (SELECT"
            " json_populate_record(s, json_build_object('sid', 'late')) AS s"
            " FROM keyturn.session AS s) AS copy"
        )

    assert {cutoff.sid for cutoff in await end} == {known.sid, "late"}
    assert await living(store) == set()


async def test_an_event_is_recorded_by_the_winners_of_a_batch(store: PostgresStore) -> None:
    """In the same statement, with all it says."""
    winner, loser = a_session(), a_session(generation=5)
    await begin(store, winner, loser)
    told = [
        Event(at=NOW, kind=EventKind.RECOVERED, user_id="ann", sid=session.sid)
        for session in (winner, loser)
    ]
    overtaken = a_session(sid=loser.sid)

    won = await store.swap(
        [Swap(winner, turned(winner), told[0]), Swap(overtaken, turned(overtaken), told[1])]
    )

    recovered = [
        event
        for event in await store.events(user_id="ann", limit=9)
        if event.kind is EventKind.RECOVERED
    ]
    assert (won, recovered) == ([True, False], told[:1])


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_a_transaction_that_had_to_yield_is_run_again(
    store: PostgresStore, admin: Connection, state: str
) -> None:
    """A few times; the counter is outside of transactions, as sequences are."""
    await begin(store, session := a_session())
    await admin.execute(YIELDING.format(state=state, times=3))

    assert await store.swap([turn(session)]) == [True]
    assert len(await store.end([session.sid], LOGOUT)) == 1


async def test_a_transaction_that_always_has_to_yield_is_given_up(
    store: PostgresStore, admin: Connection
) -> None:
    """After a bounded number of tries."""
    await begin(store, session := a_session())
    await admin.execute(YIELDING.format(state="40001", times=1000))

    with pytest.raises(StoreUnavailable, match=r"SQLSTATE 40001"):
        await store.swap([turn(session)])
    assert await admin.fetchval("SELECT last_value FROM yielded") < 10


YIELDING = """
    CREATE SEQUENCE yielded;
    CREATE FUNCTION yield() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('yielded') <= {times} THEN
            RAISE EXCEPTION 'yield' USING ERRCODE = '{state}';
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER yields BEFORE UPDATE ON keyturn.session
    FOR EACH ROW EXECUTE FUNCTION yield()"""


async def test_a_commit_with_a_warning_is_none_that_was_acknowledged(
    store: PostgresStore, admin: Connection
) -> None:
    """It is done, but not yet on a node that was lost in the middle, or on a standby: so a read may
    not find it.
    """
    await admin.execute(WARNING)

    with pytest.raises(StoreUnavailable, match=r"not commit on all its nodes yet \(SQLSTATE 08007"):
        await begin(store, session := a_session())
    assert await living(store) == {session.sid}
    await store.end([session.sid], LOGOUT)


WARNING = """
    CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE WARNING 'failed to commit transaction';
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER warns AFTER INSERT ON keyturn.session
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION warn()"""


async def test_the_defaults_of_a_role_do_not_count(database: str, odd_role: str) -> None:
    """One that begins everything at REPEATABLE READ, and commits before it is durable."""
    in_force = (
        "SELECT current_setting('transaction_isolation') || current_setting('synchronous_commit')"
    )
    async with opened(database.replace("keyturn@", f"{odd_role}@")) as store:
        alone = await store.engine.run(lambda connection: connection.fetchval(in_force))
        among_others = await store.engine.transact(lambda connection: connection.fetchval(in_force))

    assert (alone, among_others) == ("read committedon", "read committedon")


@pytest.fixture
async def odd_role(database: str) -> str:
    async with connected(database) as connection:
        await connection.execute("DROP ROLE IF EXISTS odd")
        await connection.execute("CREATE ROLE odd LOGIN SUPERUSER")
        for setting in (
            "default_transaction_isolation = 'repeatable read'",
            "synchronous_commit = off",
        ):
            await connection.execute(f"ALTER ROLE odd SET {setting}")
    return "odd"


async def test_a_slow_statement_is_given_up(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the server, so that it does not go on there; the connection serves the next."""
    monkeypatch.setitem(connecting._SETTINGS, "statement_timeout", "50")
    async with opened(database) as store:
        with pytest.raises(StoreUnavailable, match=r"took too long \(SQLSTATE 57014\)"):
            await store.engine.run(_sleep)

        await store.check()


async def test_no_prepared_statement_expires(store: PostgresStore) -> None:
    """Those that did are closed by asyncpg after it has prepared another, and it waits for that
    without a limit: on a way that is lost just then a lane would wait for ever.
    """
    await store.check()

    for connection in store.engine._idle:
        statements: Any = connection._stmt_cache  # type: ignore[attr-defined]
        assert statements.get_max_lifetime() == 0
    assert store.engine._idle


async def test_what_befell_one_connection_may_have_befallen_all(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After one that did not answer at all, none of the idle ones is tried in vain."""
    monkeypatch.setattr("keyturn.stores.postgres.connecting.COMMAND_SECONDS", 0.2)
    await asyncio.gather(store.check(), store.check())
    idle = list(store.engine._idle)

    with pytest.raises(StoreUnavailable, match=r"^The database took too long$"):
        await store.engine.run(_sleep)

    assert [connection.is_closed() for connection in idle] == [True, True]


async def test_a_call_that_takes_too_long_costs_no_other_its_connection(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it may have waited for most of its time, it tells nothing of the way to the server."""
    await asyncio.gather(store.check(), store.check())
    idle = list(store.engine._idle)
    monkeypatch.setattr("keyturn.stores.postgres.engine._CALL_SECONDS", 0.2)

    with pytest.raises(StoreUnavailable, match=r"^The database took too long$"):
        await store.engine.transact(_sleep)

    assert [connection.is_closed() for connection in idle] == [False, True]


@pytest.mark.parametrize("notice", ["swap", "cutoffs"])
async def test_a_server_that_is_no_primary_any_more_is_let_go_of(
    store: PostgresStore, notice: str
) -> None:
    """Where the way leads to another one by now, but nobody cut the connections to the older: as
    soon as one is found to be read only, none of them is used again, not even to read.
    """
    await begin(store, session := a_session())
    may_end = asyncio.Event()

    async def read_long(connection: Connection) -> Connection:
        await may_end.wait()
        return connection

    reading = asyncio.create_task(store.engine.run(read_long))
    await store.engine.run(_demote)

    with pytest.raises(StoreUnavailable, match="cannot be written"):
        await (store.swap([turn(session)]) if notice == "swap" else store.cutoffs(None, NOW))
    may_end.set()
    older = await reading

    assert [older.is_closed(), store.engine._idle] == [True, []]
    assert await store.swap([turn(session)]) == [True]


async def _demote(connection: Connection) -> None:
    await connection.execute("SET default_transaction_read_only = on")


@pytest.mark.parametrize("layout", ["gathered"])
async def test_waiting_for_a_connection_is_given_up(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that finds all of them taken fails in time, and does not pile up."""
    monkeypatch.setattr("keyturn.stores.postgres.engine._CALL_SECONDS", 0.2)
    taken = [asyncio.create_task(store.engine.run(_sleep)) for _ in range(9)]

    answers = await asyncio.gather(*taken, store.check(), return_exceptions=True)

    assert {str(answer) for answer in answers} == {"The database took too long"}
    await store.check()


async def _sleep(connection: Connection) -> None:
    await connection.execute("SELECT pg_sleep(60)")
