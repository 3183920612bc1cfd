"""What an engine tells of its work, to whoever counts or traces it."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from typing import Any, cast

import pytest

from keyturn.accounts import open_users
from keyturn.accounts.hashing import WorkPool
from keyturn.accounts.memory import MemoryUsers
from keyturn.core.errors import RefreshRefused, StoreUnavailable, Unavailable
from keyturn.core.model import EndReason, Policy
from keyturn.core.rotation import Verdict
from keyturn.observing import Observer, Observers, observed
from keyturn.stores import Store
from keyturn.stores.memory import MemoryStore
from tests.support import Clock, Meddling, loaded, restore, state_of
from tests.wire.support import site


class Notes(Observer):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []
        self.begun_sessions = 0
        self.ends: list[tuple[EndReason, int]] = []
        self.codes: list[str] = []
        self.calls: list[tuple[str, int, bool]] = []
        self.seconds: list[float] = []
        self.hashes = 0
        self.hash_refusals = 0

    def exchanged(self, verdict: Verdict, seconds: float) -> None:
        self.verdicts.append(verdict)
        self.seconds.append(seconds)

    def begun(self) -> None:
        self.begun_sessions += 1

    def ended(self, reason: EndReason, sessions: int) -> None:
        self.ends.append((reason, sessions))

    def refused(self, code: str) -> None:
        self.codes.append(code)

    def called_store(self, operation: str, rows: int, seconds: float, *, failed: bool) -> None:
        self.calls.append((operation, rows, failed))
        self.seconds.append(seconds)

    def hashed(self, seconds: float, waited: float) -> None:
        self.hashes += 1
        self.seconds += [seconds, waited]

    def refused_to_hash(self) -> None:
        self.hash_refusals += 1


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_exchanges_at_once_are_told_of_each_in_its_own_context(clock: Clock) -> None:
    """Also of one that lost its race and is judged again, by itself: it is no part of the others'
    traces.
    """
    request: ContextVar[str] = ContextVar("request", default="of nobody")
    told: list[tuple[str, str]] = []

    class Places(Observer):
        def exchanged(self, verdict: Verdict, seconds: float) -> None:
            told.append((request.get(), verdict))

        def called_store(self, operation: str, rows: int, seconds: float, *, failed: bool) -> None:
            told.append((request.get(), operation))

    async def exchange(whose: str, token: str) -> None:
        request.set(whose)
        await sessions.refresh(token)

    memory = MemoryStore()
    store = Meddling(memory)
    async with (
        loaded(memory, clock) as elsewhere,
        loaded(store, clock, observer=Places()) as sessions,
    ):
        ann, ben = [(await sessions.create(name)).refresh_token for name in ("ann", "ben")]
        store.before("swap", lambda: elsewhere.refresh(ben))
        told.clear()
        await asyncio.gather(exchange("of ann", ann), exchange("of ben", ben))

    assert told == [
        ("of ann", "get"),
        ("of ann", "swap"),
        ("of ann", Verdict.ROTATE),
        ("of ben", "get"),
        ("of ben", Verdict.REPLAY),
    ]


async def test_every_verdict_is_told_once(notes: Notes, clock: Clock) -> None:
    """C3, C8: each of the eight, whether it hands out a token or refuses."""
    store = MemoryStore()
    async with loaded(store, clock, observer=notes) as sessions:

        async def exchange(token: str) -> str:
            try:
                return (await sessions.refresh(token)).refresh_token
            except RefreshRefused:
                return token

        first = (await sessions.create("ada")).refresh_token
        before = state_of(store)
        second = await exchange(first)
        await exchange(second)
        await exchange(first)
        clock.sleep(31)
        await exchange(first)
        clock.sleep(31)
        third = await exchange(second)
        await exchange(first)
        restore(store, before)
        await exchange(third)
        clock.sleep(31)
        await exchange(await exchange(third))
        clock.sleep(31)
        await exchange(first)
        await exchange(first)

    assert notes.verdicts == [
        Verdict.ROTATE,
        Verdict.ECHO,
        Verdict.REPLAY,
        Verdict.RECOVER,
        Verdict.ROTATE,
        Verdict.LATE,
        Verdict.RESUME,
        Verdict.ROTATE,
        Verdict.ECHO,
        Verdict.REUSE,
        Verdict.ENDED,
    ]


async def test_exchanges_of_one_token_at_once_are_one(notes: Notes, clock: Clock) -> None:
    """They share a flight, and it is judged once."""
    async with loaded(MemoryStore(), clock, observer=notes) as sessions:
        token = (await sessions.create("ada")).refresh_token
        await asyncio.gather(*[sessions.refresh(token) for _ in range(5)])

    assert notes.verdicts == [Verdict.ROTATE]


async def test_sessions_begun_and_ended_are_told_by_who_did_it(clock: Clock) -> None:
    """Who only learns of an end tells of none: the sum over all processes is right."""
    store, here, there = MemoryStore(), Notes(), Notes()
    policy = Policy(max_sessions=2)
    async with (
        loaded(store, clock, observer=here, policy=policy) as sessions,
        loaded(store, clock, observer=there, policy=policy) as others,
    ):
        tokens = [await sessions.create("ada") for _ in range(3)]
        await sessions.logout(tokens[2].refresh_token, tokens[2].access_token)
        await sessions.create("grace")
        await sessions.create("grace")
        await sessions.revoke_all("grace")
        await others.catch_up()
        clock.sleep(policy.idle_timeout)
        with pytest.raises(RefreshRefused):
            await others.refresh(tokens[1].refresh_token)
        await sessions.catch_up()

    assert (here.begun_sessions, there.begun_sessions) == (5, 0)
    assert here.ends == [
        (EndReason.EVICTED, 1),
        (EndReason.LOGGED_OUT, 1),
        (EndReason.REVOKED_BY_ADMIN, 2),
    ]
    assert there.ends == [(EndReason.IDLE, 1)]


async def test_new_claims_end_nothing(notes: Notes, clock: Clock) -> None:
    """Their cutoffs are those of access tokens alone."""
    async with loaded(MemoryStore(), clock, observer=notes) as sessions:
        tokens = await sessions.create("ada")
        await sessions.set_claims("ada", tokens.session.claims)
        await sessions.void_all()

        assert sessions.known_cutoffs == 1
    assert notes.ends == []


async def test_calls_of_the_store_are_told_with_how_many_rows(notes: Notes, clock: Clock) -> None:
    """Exchanges that gather are one call."""
    async with loaded(MemoryStore(), clock, observer=notes) as sessions:
        tokens = [(await sessions.create("ada")).refresh_token for _ in range(5)]
        notes.calls.clear()
        await asyncio.gather(*map(sessions.refresh, tokens))
        gathered = list(notes.calls)

    assert gathered == [("get", 5, False), ("swap", 5, False)]


@pytest.mark.parametrize("error", [StoreUnavailable("locked"), ValueError("a bug")])
async def test_a_call_that_fails_is_told_and_fails(notes: Notes, error: Exception) -> None:
    """The error is what it was."""

    class Failing(MemoryStore):
        async def check(self) -> None:
            raise error

    with pytest.raises(type(error)) as failure:
        await observed(Failing(), Store, notes, Clock(), prefix="a.").check()

    assert failure.value is error
    assert notes.calls == [("a.check", 1, True)]


async def test_what_is_no_work_is_not_told(notes: Notes) -> None:
    """A store that waits for news all the time is not slow; and it has what it had."""
    store = observed(MemoryStore(), Store, notes, Clock())
    await store.wait_for_change(0)
    await store.close()

    assert notes.calls == []
    assert (store.lanes, store.batch) == (MemoryStore.lanes, MemoryStore.batch)


async def test_refusals_are_told_by_code(notes: Notes, clock: Clock) -> None:
    """A fault of ours too, be it foreseen or not."""
    async with site(clock, observer=notes) as here:
        await here.ask("GET", "/nowhere")
        await here.ask("POST", "/refresh-token", {"refreshToken": "junk"})
        await here.ask("GET", "/healthz")
        here.break_down(ValueError("a bug"))
        await here.ask("POST", "/login", {"username": "ada", "password": "x"})

    assert notes.codes == ["not_found", "refresh_token_invalid", "unavailable"]


async def test_hashing_is_told_and_so_is_a_full_queue(notes: Notes) -> None:
    """F9: how much is done, how much waits, and what was turned away."""
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait()

    pool = WorkPool(width=1, queue=1, patience=60, observer=notes)
    running = [asyncio.create_task(pool.run(work)) for _ in range(2)]
    await begun.wait()
    with pytest.raises(Unavailable):
        await pool.run(work)
    meanwhile = (pool.running, pool.waiting, notes.hashes)
    go_on.set()
    await asyncio.gather(*running)
    pool.close()

    assert meanwhile == (1, 1, 0)
    assert (pool.running, pool.waiting, notes.hashes) == (0, 0, 2)
    assert notes.hash_refusals == 1
    assert min(notes.seconds) >= 0


def test_several_are_told_the_same() -> None:
    """Everything that there is to tell."""
    told: list[tuple[int, str]] = []

    class Names(Observer):
        def __init__(self, number: int) -> None:
            self.number = number

        def __getattribute__(self, name: str) -> Any:
            if name == "number":
                return object.__getattribute__(self, name)
            return lambda *_, **__: told.append((self.number, name))

    both = Observers(Names(1), Names(2))
    both.exchanged(Verdict.ECHO, 0.1)
    both.begun()
    both.ended(EndReason.IDLE, 1)
    both.refused("not_found")
    both.called_store("get", 1, 0.1, failed=False)
    both.hashed(0.1, 0.1)
    both.refused_to_hash()
    both.tried_hook("mail", "told", 0.1)

    kinds = [name for name in vars(Observer) if not name.startswith("_")]
    assert told == [(number, name) for name in kinds for number in (1, 2)]


def test_who_derives_from_it_need_not_want_to_know_everything() -> None:
    """The rest does nothing, also what a later release tells."""
    assert [
        Observer().exchanged(Verdict.ECHO, 0.1),  # type: ignore[func-returns-value]
        Observer().begun(),  # type: ignore[func-returns-value]
        Observer().hashed(0.1, 0.1),  # type: ignore[func-returns-value]
    ] == [None] * 3


class Clumsy(Observer):
    def begun(self) -> None:
        raise ZeroDivisionError

    def exchanged(self, verdict: Verdict, seconds: float) -> None:
        raise ZeroDivisionError


async def test_an_observer_that_raises_takes_away_no_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What was done is done, and told to the user; the log says what went wrong."""
    async with loaded(MemoryStore(), Clock(), observer=Clumsy()) as sessions:
        tokens = await sessions.create("ada")
        await sessions.refresh(tokens.refresh_token)

    assert [record.message for record in caplog.records] == ["an observer failed"] * 2
    assert caplog.records[0].exc_info


class Hanging:
    async def check(self) -> None:
        await asyncio.Event().wait()

    def __getattr__(self, name: str) -> Any:
        return self.check


async def test_a_call_that_was_cancelled_has_failed() -> None:
    """Who asked has waited in vain."""
    notes = Notes()
    store = observed(cast("Store", Hanging()), Store, notes, lambda: 0.0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await store.check()

    assert notes.calls == [("check", 1, True)]


def test_users_are_opened_on_a_store_that_is_observed() -> None:
    """As hooks are."""
    users = open_users(observed(MemoryStore(), Store, Observer(), lambda: 0.0))

    assert isinstance(users, MemoryUsers)
