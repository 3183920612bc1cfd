"""What SQLite adds to the laws of a store: threads, processes, faults of the disk."""

from __future__ import annotations

import asyncio
import signal
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from keyturn.core.errors import RowUnavailable, StoreUnavailable
from keyturn.core.model import Claims
from keyturn.stores.base import Swap, SweepBounds
from keyturn.stores.conformance import (
    LATER,
    LOGOUT,
    NOW,
    a_session,
    begin,
    living,
    row,
    sids_of,
    turned,
)
from keyturn.stores.sqlite import SQLiteStore, engine, opening, statements
from keyturn.stores.sqlite import store as sqlite_store
from keyturn.stores.sqlite.engine import Engine

from .support import disk_full_beyond, files_in, read_together, start_python

SIGN_IN_FOR_EVER = """
import asyncio, sys
from keyturn.core.base64url import encode
from keyturn.core.model import Session
from keyturn.stores.sqlite import SQLiteStore

async def main():
    store = await SQLiteStore.open(sys.argv[1])
    for number in range(10**9):
        sid = encode(number.to_bytes(16, "big"))
        session = Session(sid=sid, user_id="ann", secret=bytes(32), created_at=1)
        await store.add(session, limit=10**9, replaces=None, epoch=0, tokens_until=9)
        print(sid, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "keyturn.db")


@pytest.fixture
async def store(path: str) -> AsyncIterator[SQLiteStore]:
    store = await SQLiteStore.open(path, create=True)
    yield store
    await store.close()


@pytest.fixture
async def other(store: SQLiteStore, path: str) -> AsyncIterator[SQLiteStore]:
    """As another process would open it."""
    other = await SQLiteStore.open(path)
    yield other
    await other.close()


@pytest.fixture
async def impatient(
    store: SQLiteStore, path: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SQLiteStore]:
    """One that gives up on a lock at once."""
    monkeypatch.setattr(opening, "_BUSY_MILLISECONDS", 10)
    impatient = await SQLiteStore.open(path)
    yield impatient
    await impatient.close()


# ── durability ──────────────────────────────────────────────────────────────────────────────────


async def test_everything_is_there_when_opened_again(path: str) -> None:
    """Sessions, epochs, cutoffs and events survive a restart."""
    store = await SQLiteStore.open(path, create=True)
    alive, ended = a_session(), a_session("bob")
    await begin(store, alive, ended)
    await store.end_user("bob", None, LOGOUT)
    await store.close()

    again = await SQLiteStore.open(path)

    assert await row(again, alive.sid) == alive
    assert (await row(again, ended.sid)).ended_at == NOW
    assert await again.user_epoch("bob") == 1
    assert sids_of((await again.cutoffs(None, NOW))[1]) == {ended.sid}
    assert len(await again.events(user_id="bob", limit=9)) == 2
    await again.close()


async def test_what_was_acknowledged_survives_a_kill(store: SQLiteStore, path: str) -> None:
    """A process killed while it writes loses nothing that it had told, and damages nothing."""
    process = start_python(SIGN_IN_FOR_EVER, path)
    assert process.stdout is not None
    acknowledged = {process.stdout.readline().strip() for _ in range(20)}
    process.send_signal(signal.SIGKILL)
    rest, errors = process.communicate()
    acknowledged |= set(rest.split())

    assert errors == ""
    assert acknowledged <= await living(store)
    assert await store.engine.read(lambda c: c.pragma("integrity_check")) == "ok"


async def test_an_erased_secret_is_not_left_in_the_file(tmp_path: Path) -> None:
    """Not even where its row was before it grew (requirement C2)."""
    path = tmp_path / "keyturn.db"
    secret = bytes(range(32))
    store = await SQLiteStore.open(str(path), create=True)
    await begin(store, session := a_session(secret=secret), a_session(), a_session())
    await store.close()
    kept = b64encode(secret) in files_in(tmp_path)[path.name]

    store = await SQLiteStore.open(str(path))
    longer = Claims(fullname="x" * 500)
    await store.set_claims("ann", longer, at=NOW, least_version=1, tokens_until=LATER)
    await store.end([session.sid], LOGOUT)
    await store.close()

    assert (kept, b64encode(secret) in files_in(tmp_path)[path.name]) == (True, False)


async def test_every_commit_reaches_the_disk(store: SQLiteStore) -> None:
    """The log is written ahead and synced with each commit."""
    settings = await store.engine.write(
        lambda connection: (connection.pragma("journal_mode"), connection.pragma("synchronous"))
    )

    assert settings == ("wal", 2)


async def test_a_check_is_a_commit(store: SQLiteStore, tmp_path: Path) -> None:
    """Not a promise that one would succeed."""
    log = tmp_path / "keyturn.db-wal"
    before = log.stat().st_size

    await store.check()

    assert log.stat().st_size > before


# ── transactions ────────────────────────────────────────────────────────────────────────────────


async def test_a_job_that_raises_leaves_nothing(store: SQLiteStore) -> None:
    """Several statements in one job are one transaction, and its own error comes through."""
    await begin(store, session := a_session())

    def job(connection: apsw.Connection) -> None:
        statements.end(connection, [session.sid], LOGOUT)
        raise LookupError("no such account")

    with pytest.raises(LookupError, match="no such account"):
        await store.engine.write(job)
    assert await row(store, session.sid) == session
    assert (await store.cutoffs(None, NOW))[1] == []


async def test_a_mistake_in_sql_is_not_an_outage(store: SQLiteStore) -> None:
    """It is a fault of ours and shows as one."""
    with pytest.raises(apsw.SQLError):
        await store.engine.read(lambda connection: connection.execute("SELECT nonsense"))


@pytest.mark.parametrize("device", ['{"user_agent":null}', '{"user_agent'])
async def test_a_row_that_cannot_be_read_fails_alone(store: SQLiteStore, device: str) -> None:
    """Whatever wrote it: who is asked for together with it is read."""
    await begin(store, damaged := a_session(), sound := a_session())
    damage = "UPDATE session SET device = ? WHERE sid = ?"
    await store.engine.write(lambda c: c.execute(damage, (device, damaged.sid)))

    fault, read = await read_together(store, damaged, sound)

    assert isinstance(fault, RowUnavailable)
    assert read == sound


async def test_a_read_is_of_one_moment(store: SQLiteStore, other: SQLiteStore) -> None:
    """What is committed while it runs does not show."""
    await begin(store, session := a_session())
    between, go_on = threading.Event(), threading.Event()

    def read_twice(connection: apsw.Connection) -> list[int]:
        first = len(statements.list_sessions(connection, "ann"))
        between.set()
        go_on.wait(10)
        return [first, len(statements.list_sessions(connection, "ann"))]

    reading = asyncio.create_task(store.engine.read(read_twice))
    await asyncio.to_thread(between.wait, 10)
    await other.end([session.sid], LOGOUT)
    go_on.set()

    assert await reading == [1, 1]
    assert await living(store) == set()


async def test_reads_go_on_beside_a_writer(store: SQLiteStore) -> None:
    """A long transaction keeps nobody from reading."""
    await begin(store, session := a_session())
    go_on = threading.Event()

    writing = asyncio.create_task(store.engine.write(lambda _: go_on.wait(10)))
    found = await living(store)
    go_on.set()

    assert (found, await writing) == ({session.sid}, True)


async def test_exchanges_and_who_follows_read_beside_all_others(store: SQLiteStore) -> None:
    """However much somebody else reads: what is revoked becomes known all the same."""
    await begin(store, session := a_session())
    await store.end([session.sid], LOGOUT)
    go_on = threading.Event()

    reading = asyncio.ensure_future(store.engine.read(lambda _: go_on.wait(10)))
    found = set(await store.get([session.sid]))
    await store.wait_for_change(0)
    _, cutoffs = await store.cutoffs(None, NOW)
    keys, longest = await store.signing_keys(), await store.longest_access_ttl(0)
    go_on.set()

    assert (found, sids_of(cutoffs), keys, longest) == ({session.sid}, {session.sid}, [], 0)
    assert await reading is True


async def test_a_cancelled_caller_does_not_stop_its_transaction(store: SQLiteStore) -> None:
    """Neither one that waits in the queue nor one that runs, and their answers disturb nobody."""
    disturbed: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: disturbed.append(what))
    sessions = [a_session(), a_session()]
    await begin(store, *sessions)
    running, go_on = threading.Event(), threading.Event()

    def slow_end(connection: apsw.Connection) -> None:
        running.set()
        go_on.wait(10)
        statements.end(connection, [sessions[0].sid], LOGOUT)

    callers = [
        asyncio.create_task(store.engine.write(slow_end)),
        asyncio.create_task(store.end([sessions[1].sid], LOGOUT)),
    ]
    await asyncio.to_thread(running.wait, 10)
    for caller in callers:
        caller.cancel()
    ends = await asyncio.gather(*callers, return_exceptions=True)
    go_on.set()
    await store.check()

    assert [type(end) for end in ends] == [asyncio.CancelledError] * 2
    assert (await living(store), disturbed) == (set(), [])


async def test_closing_finishes_what_was_asked_for(store: SQLiteStore, path: str) -> None:
    """And refuses what comes later."""
    sessions = [a_session() for _ in range(5)]
    adding = [asyncio.ensure_future(begin(store, session, epoch=0)) for session in sessions]
    await asyncio.sleep(0)

    await store.close()
    await asyncio.gather(*adding)
    await store.close()

    with pytest.raises(StoreUnavailable, match="closed"):
        await store.list_sessions("ann")
    again = await SQLiteStore.open(path)
    assert await living(again) == sids_of(sessions)
    await again.close()


def test_a_loop_that_is_gone_does_not_stop_the_threads(path: str) -> None:
    """An engine outlives the loop of a caller that did not wait."""
    running, go_on = threading.Event(), threading.Event()

    async def leave_behind() -> Engine:
        opened = await Engine.open(path, create=True)
        writing = asyncio.ensure_future(
            opened.write(lambda _: (running.set(), go_on.wait(10)))  # type: ignore[func-returns-value]
        )
        await asyncio.to_thread(running.wait, 10)
        writing.cancel()
        return opened

    async def use(opened: Engine) -> str:
        go_on.set()
        answer: str = await opened.write(lambda connection: connection.pragma("journal_mode"))
        await opened.close()
        return answer

    left = asyncio.run(leave_behind())

    assert asyncio.run(use(left)) == "wal"


class StoodStill(threading.Event):
    """Counts how often the loop stood still for a thread, and lets it go on the third time."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0
        self.go_on = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.times += 1
        if self.times == 3:
            self.go_on.set()
        return True


async def test_a_busy_loop_makes_way_for_a_thread(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stands still again and again until the thread has answered, and no longer."""
    monkeypatch.setattr(engine, "_PATIENCE_SECONDS", 0)
    worker = store.engine._writer
    worker._answer = stood_still = StoodStill()

    went_on = await store.engine.write(lambda _: stood_still.go_on.wait(10))
    times = stood_still.times
    for _ in range(10):
        await asyncio.sleep(0)

    assert (went_on, stood_still.times, worker._watched_by) == (True, times, None)


async def test_a_loop_stands_still_for_all_that_wait_as_for_one(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many jobs wait for a lock, there is one timer."""
    loop = asyncio.get_running_loop()
    timers: list[float] = []
    go_on = threading.Event()
    monkeypatch.setattr(loop, "call_later", lambda delay, *_: timers.append(delay))

    writing = [asyncio.ensure_future(store.engine.write(lambda _: go_on.wait(10)))]
    writing += [asyncio.ensure_future(store.engine.write(lambda _: True)) for _ in range(50)]
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(*writing)

    assert timers == [engine._PATIENCE_SECONDS]


# ── faults ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_lock_that_stays_is_an_outage(impatient: SQLiteStore, path: str) -> None:
    """For writing only, and not for ever (requirement C12)."""
    await begin(impatient, session := a_session())
    locker = apsw.Connection(path)
    locker.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreUnavailable, match=r"^The database stayed locked by another process$"):
        await impatient.end([session.sid], LOGOUT)
    assert await living(impatient) == {session.sid}

    locker.execute("ROLLBACK")
    locker.close()
    await impatient.end([session.sid], LOGOUT)
    assert await living(impatient) == set()


async def test_who_waited_too_long_is_not_kept_waiting_for_the_lock(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C12: a job whose time is over before it begins never begins; what comes later does."""
    running, go_on = threading.Event(), threading.Event()
    await begin(store, session := a_session())
    first = asyncio.ensure_future(
        store.engine.write(lambda _: (running.set(), go_on.wait(10)))  # type: ignore[func-returns-value]
    )
    await asyncio.to_thread(running.wait, 10)
    monkeypatch.setattr(engine, "_DEADLINE_SECONDS", -1)
    waiting = asyncio.ensure_future(store.end([session.sid], LOGOUT))
    await asyncio.sleep(0)
    go_on.set()

    with pytest.raises(StoreUnavailable, match="too busy to begin in time"):
        await waiting
    await first
    monkeypatch.undo()
    assert await living(store) == {session.sid}


async def test_a_queue_that_is_too_long_is_not_joined(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C12: who would wait behind thousands is told at once; those who wait are not disturbed."""
    monkeypatch.setattr(engine, "_LONGEST_QUEUE", 2)
    running, go_on = threading.Event(), threading.Event()
    first = asyncio.ensure_future(
        store.engine.write(lambda _: (running.set(), go_on.wait(10)))  # type: ignore[func-returns-value]
    )
    await asyncio.to_thread(running.wait, 10)
    waiting = [asyncio.ensure_future(store.engine.write(lambda _: True)) for _ in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(StoreUnavailable, match="Too much is waiting"):
        await store.end(["x"], LOGOUT)
    go_on.set()
    await first
    assert await asyncio.gather(*waiting) == [True, True]


@pytest.mark.parametrize("notice", [SQLiteStore.check, lambda store: store.wait_for_change(0)])
@pytest.mark.parametrize("replaced", [True, False])
async def test_a_file_that_was_replaced_or_removed_is_not_written_any_more(
    store: SQLiteStore, path: str, notice: Callable[[SQLiteStore], Any], *, replaced: bool
) -> None:
    """No end is acknowledged into a file that nobody else will read (requirement D12)."""
    await begin(store, session := a_session())
    file = Path(path)
    file.rename(file.with_name("moved.db"))
    if replaced:
        file.write_bytes(file.with_name("moved.db").read_bytes())

    with pytest.raises(StoreUnavailable, match="was replaced or removed"):
        await notice(store)
    with pytest.raises(StoreUnavailable, match="was replaced or removed"):
        await store.end([session.sid], LOGOUT)
    with pytest.raises(StoreUnavailable, match="was replaced or removed"):
        await living(store)


async def test_the_longest_life_of_access_tokens_is_there_when_opened_again(path: str) -> None:
    """D12: a process with a shorter one learns it, also after a restart of all."""
    store = await SQLiteStore.open(path, create=True)
    await store.longest_access_ttl(900)
    await store.close()

    again = await SQLiteStore.open(path)

    assert await again.longest_access_ttl(0) == 900
    await again.close()


@pytest.mark.parametrize(
    "ask", [SQLiteStore.check, lambda store: store.end_user("ann", None, LOGOUT)]
)
async def test_a_full_disk_is_an_outage(
    store: SQLiteStore, tmp_path: Path, ask: Callable[[SQLiteStore], Any]
) -> None:
    """Nothing is lost by it, and work goes on when there is room again (requirement C12)."""
    await begin(store, session := a_session())

    with disk_full_beyond((tmp_path / "keyturn.db-wal").stat().st_size):
        with pytest.raises(StoreUnavailable, match=r"^The disk of the database "):
            await ask(store)
        assert await living(store) == {session.sid}

    await store.end([session.sid], LOGOUT)
    assert await living(store) == set()


# ── several processes ───────────────────────────────────────────────────────────────────────────


async def test_acknowledged_writes_of_others_are_read(
    store: SQLiteStore, other: SQLiteStore
) -> None:
    """At once, in both directions."""
    seen = []
    for number in range(20):
        writer, reader = (store, other) if number % 2 else (other, store)
        await begin(writer, session := a_session())
        seen.append(session.sid in await living(reader))

    assert seen == [True] * 20


async def test_an_end_by_another_process_wakes(store: SQLiteStore, other: SQLiteStore) -> None:
    """Who follows the cutoffs."""
    await begin(store, session := a_session())
    cursor, _ = await store.cutoffs(None, NOW)
    await store.wait_for_change(0)

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(store.wait_for_change(100))
        tasks.create_task(other.end([session.sid], LOGOUT))

    assert sids_of((await store.cutoffs(cursor, NOW))[1]) == {session.sid}


async def test_nobody_is_woken_without_a_commit(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version of the data is asked for again and again until it is another one."""
    versions = iter([1, 1, 1, 2, 3])

    async def data_version() -> int:
        return next(versions)

    monkeypatch.setattr(sqlite_store, "_POLL_SECONDS", 0)
    monkeypatch.setattr(store.engine, "data_version", data_version)
    await store.wait_for_change(0)

    await store.wait_for_change(100)

    assert list(versions) == [3]


async def test_of_two_processes_one_turns_a_session(store: SQLiteStore, other: SQLiteStore) -> None:
    """Whichever writes first (requirement C4)."""
    sessions = [a_session() for _ in range(20)]
    await begin(store, *sessions)

    won = [
        await asyncio.gather(
            store.swap([Swap(session, turned(session, NOW + 1))]),
            other.swap([Swap(session, turned(session, NOW + 2))]),
        )
        for session in sessions
    ]

    assert all(sorted(pair) == [[False], [True]] for pair in won)
    for session, pair in zip(sessions, won, strict=True):
        assert (await row(store, session.sid)).turned_at == NOW + 1 + pair.index([True])


# ── plans ───────────────────────────────────────────────────────────────────────────────────────


async def test_no_statement_scans_a_table_that_grows(store: SQLiteStore) -> None:
    """Each looks rows up by an index; only the sweep walks along one, for as far as its limit."""
    session = a_session()
    asked: list[tuple[str, Any]] = []

    def remember(_: object, sql: str, bindings: Any) -> bool:
        asked.append((sql, bindings))
        return True

    def use_everything(connection: apsw.Connection) -> list[str]:
        connection.exec_trace = remember
        sid = session.sid
        statements.add(connection, session, limit=1, replaces=sid, epoch=0, tokens_until=LATER)
        statements.get(connection, [sid])
        statements.swap(connection, [Swap(session, turned(session))])
        statements.list_sessions(connection, "ann")
        statements.raise_version(connection, sid, 7)
        statements.set_claims(
            connection, "ann", Claims(), at=NOW, least_version=9, tokens_until=LATER
        )
        statements.end_user(connection, "ann", None, LOGOUT)
        statements.forget_user(connection, "ann")
        statements.cutoffs(connection, 0, NOW)
        statements.events_of_session(connection, sid, 9)
        statements.events_of_user(connection, "ann", 9)
        bounds = SweepBounds(ended=NOW, created=NOW, last_used=NOW, cutoffs=NOW, events=NOW)
        statements.sweep(connection, bounds, after="", limit=10)
        connection.exec_trace = None
        return [
            f"{detail} for {sql}"
            for sql, bindings in asked
            for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)
        ]

    plans = await store.engine.write(use_everything)

    assert len(asked) > 20
    growing = ("SCAN session", "SCAN cutoff", "SCAN event", "SCAN user_epoch")
    scans = [plan for plan in plans if plan.startswith(growing) and "LIMIT ?" not in plan]
    assert scans == []
