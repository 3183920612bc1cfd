"""Hashing, and the bounds on how much of it is done."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable
from unittest.mock import Mock

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import HashingError, VerificationError

from keyturn.accounts.argon2id import Argon2id
from keyturn.accounts.hashing import PasswordHashing, WorkPool
from keyturn.core.errors import Unavailable
from tests.accounts.support import InstantHasher

PATIENT = 60.0


class Gate:
    """Work that begins, says so, and ends when it is told to."""

    def __init__(self) -> None:
        self._begun = threading.Semaphore(0)
        self._open = threading.Event()
        self.count = 0

    def work(self) -> str:
        self.count += 1
        self._begun.release()
        self._open.wait()
        return "done"

    async def begun(self) -> None:
        await asyncio.to_thread(self._begun.acquire)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


async def let_others_run() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_work_is_done_off_the_event_loop(gate: Gate) -> None:
    """F9: the loop goes on while a thread works."""
    pool = WorkPool(width=1, queue=0, patience=PATIENT)

    running = asyncio.create_task(pool.run(gate.work))
    await gate.begun()
    gate.open()

    assert await running == "done"
    pool.close()


async def test_no_more_is_done_at_once_than_the_width(gate: Gate) -> None:
    """F9: what is beyond the width waits, and is done in its turn."""
    pool = WorkPool(width=2, queue=3, patience=PATIENT)

    running = [asyncio.create_task(pool.run(gate.work)) for _ in range(5)]
    await gate.begun()
    await gate.begun()
    await let_others_run()

    assert gate.count == 2
    gate.open()
    assert await asyncio.gather(*running) == ["done"] * 5
    pool.close()


async def test_beyond_the_queue_callers_are_told_at_once(gate: Gate) -> None:
    """F9: with one at work and one waiting, a third is refused, to be tried again in a second."""
    pool = WorkPool(width=1, queue=1, patience=PATIENT)
    running = [asyncio.create_task(pool.run(gate.work)) for _ in range(2)]
    await gate.begun()

    with pytest.raises(Unavailable) as refused:
        await pool.run(gate.work)

    assert refused.value.retry_after == 1
    gate.open()
    assert await asyncio.gather(*running) == ["done"] * 2
    pool.close()


async def test_whoever_waits_too_long_is_told_and_leaves_the_queue(gate: Gate) -> None:
    """F9: patience runs out, the work is never begun, and its place is free for another."""
    pool = WorkPool(width=1, queue=1, patience=0)
    running = asyncio.create_task(pool.run(gate.work))
    await gate.begun()

    for _ in range(3):
        with pytest.raises(Unavailable):
            await pool.run(gate.work)

    gate.open()
    assert await running == "done"
    assert await pool.run(gate.work) == "done"
    assert gate.count == 2
    pool.close()


async def test_a_cancelled_caller_keeps_its_thread_until_the_work_is_done(gate: Gate) -> None:
    """F9: the bound is on work, so who hangs up makes no room for more."""
    pool = WorkPool(width=1, queue=1, patience=PATIENT)
    gone = asyncio.create_task(pool.run(gate.work))
    await gate.begun()
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)

    next_one = asyncio.create_task(pool.run(gate.work))
    await let_others_run()

    with pytest.raises(Unavailable):
        await pool.run(gate.work)
    assert gate.count == 1
    gate.open()
    assert await next_one == "done"
    pool.close()


async def test_a_cancelled_waiter_makes_room(gate: Gate) -> None:
    """F9: whoever hangs up before their turn takes no place in the queue."""
    pool = WorkPool(width=1, queue=1, patience=PATIENT)
    running = asyncio.create_task(pool.run(gate.work))
    await gate.begun()
    waiting = asyncio.create_task(pool.run(gate.work))
    await let_others_run()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    next_one = asyncio.create_task(pool.run(gate.work))
    await let_others_run()

    gate.open()
    assert await asyncio.gather(*[running, next_one]) == ["done"] * 2
    assert gate.count == 2
    pool.close()


async def test_who_asks_for_much_keeps_nobody_else_waiting(gate: Gate) -> None:
    """F9: askers take turns, and of each the first to come is the first."""
    pool = WorkPool(width=1, queue=9, patience=PATIENT)
    done: list[str] = []
    held = asyncio.create_task(pool.run(gate.work))
    await gate.begun()
    waiting = [
        asyncio.create_task(pool.run(done.append, name, asker=name[0]))
        for name in ("a1", "a2", "a3", "b1", "c1", "b2")
    ]
    await let_others_run()
    gate.open()
    await asyncio.gather(held, *waiting)

    assert done == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert pool.waiting == pool.running == 0
    pool.close()


async def test_who_fills_the_queue_makes_room_for_others(gate: Gate) -> None:
    """F9: the last of whoever has the most to wait for is refused in place of a newcomer."""
    pool = WorkPool(width=1, queue=3, patience=PATIENT)
    held = asyncio.create_task(pool.run(gate.work))
    await gate.begun()
    greedy = [asyncio.create_task(pool.run(str, number, asker="greedy")) for number in range(3)]
    await let_others_run()
    modest = asyncio.create_task(pool.run(str, "modest", asker="modest"))
    await let_others_run()
    refused = [await outcome(pool.run(str, asker=asker)) for asker in ("greedy", "modest")]
    gate.open()

    assert await asyncio.gather(*map(outcome, greedy)) == ["0", "1", "refused"]
    assert refused == ["refused", "refused"]
    assert await modest == "modest"
    assert await held == "done"
    pool.close()


async def outcome(running: Awaitable[str]) -> str:
    try:
        return await running
    except Unavailable:
        return "refused"


async def test_who_gives_up_as_they_are_called_passes_it_on(gate: Gate) -> None:
    """F9: else a thread would be idle for ever."""
    pool = WorkPool(width=1, queue=2, patience=PATIENT)
    held = asyncio.create_task(pool.run(gate.work))
    await gate.begun()
    called = asyncio.create_task(pool.run(str, "called"))
    await let_others_run()
    pool._pass_on()  # as if another thread were idle
    called.cancel()  # its turn has come, and it does not know yet
    await asyncio.gather(called, return_exceptions=True)

    assert pool._free == 1
    gate.open()
    assert await held == "done"
    pool.close()


async def test_a_thread_that_cannot_be_had_costs_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """F9: memory or processes may run short for a moment."""
    pool = WorkPool(width=1, queue=0, patience=PATIENT)
    with monkeypatch.context() as short:
        short.setattr(threading.Thread, "start", Mock(side_effect=RuntimeError("no new thread")))
        for _ in range(3):
            with pytest.raises(Unavailable):
                await pool.run(str)

    assert await pool.run(str, "later") == "later"
    pool.close()


async def test_work_that_fails_fails_its_caller_alone() -> None:
    """F9: the thread and the place of failed work are free again."""
    pool = WorkPool(width=1, queue=0, patience=PATIENT)

    with pytest.raises(ZeroDivisionError):
        await pool.run(lambda: 1 // 0)

    assert await pool.run(lambda: "next") == "next"
    pool.close()


async def test_hashing_yields_to_everything_else() -> None:
    """F9: threads of the pool have a lower priority than the loop, where each can have its own."""
    pool = WorkPool(width=1, queue=0, patience=PATIENT)
    before = os.getpriority(os.PRIO_PROCESS, 0)

    theirs = await pool.run(os.getpriority, os.PRIO_PROCESS, 0)

    assert theirs == (min(before + 10, 19) if sys.platform == "linux" else before)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
    pool.close()


async def test_without_a_hash_the_work_is_the_same() -> None:
    """F7: an unknown user costs one verification, as a known one does, and never passes."""
    hasher = InstantHasher()
    hashing = PasswordHashing(hasher)

    assert await hashing.verify("1.0.0." + b"known".hex(), "known")
    assert not await hashing.verify(None, "known")

    assert hasher.checked == ["1.0.0." + b"known".hex(), hasher.nobody]
    hashing.close()


async def test_a_hash_that_takes_less_work_is_padded_with_that_of_nobody() -> None:
    """F7: until it is renewed, its user answers no faster than an unknown one."""
    hasher = InstantHasher(strength=2)
    hashing = PasswordHashing(hasher)
    weak = "1.0.0." + b"known".hex()

    for password in ("known", "wrong"):
        assert await hashing.verify(weak, password) is (password == "known")
    better = await hashing.rehash(weak, "known")
    await hashing.verify(better, "known")

    assert hasher.checked == [hasher.nobody, weak] * 2 + [better]
    hashing.close()


@pytest.mark.parametrize("password", ["a" * 1025, "\ud800", "\u0301" * 60_000, "\u0301" * 31])
async def test_a_password_that_can_be_nobodys_costs_the_same(password: str) -> None:
    """F7: it is refused after a verification, of nothing, and that is no match for anything."""
    hasher = InstantHasher()
    hashing = PasswordHashing(hasher)

    assert not await hashing.verify("1.0.0.", password)

    assert hasher.checked == ["1.0.0."]
    hashing.close()


async def test_a_row_of_marks_is_wrong_after_the_same_work_for_an_old_hash() -> None:
    """F7: as for any other wrong password, for whatever hash came from elsewhere."""
    hasher = InstantHasher(strength=2)
    hashing = PasswordHashing(hasher)
    marks = "\u0301\u0323" * 16
    weak = "1.0.0." + marks.encode().hex()

    assert not await hashing.verify(weak, marks)

    assert hasher.checked == [hasher.nobody, weak]
    hashing.close()


async def test_a_password_is_known_in_every_normal_form() -> None:
    """F4: a phone composes what a laptop does not; both type the same password."""
    hashing = PasswordHashing(InstantHasher())

    composed = await hashing.hash("caf\u00e9 at midnight")

    assert await hashing.verify(composed, "cafe\u0301 at midnight")
    assert not await hashing.verify(composed, "cafe at midnight")
    hashing.close()


async def test_a_hash_is_renewed_only_if_it_is_weaker_than_a_new_one() -> None:
    """F5: when parameters rise, and not when they are as they were."""
    hasher = InstantHasher(strength=1)
    hashing = PasswordHashing(hasher)
    weak = await hashing.hash("quixotic-otters")

    kept = await hashing.rehash(weak, "quixotic-otters")
    hasher.strength = 2
    renewed = await hashing.rehash(weak, "quixotic-otters")

    assert kept is None
    assert renewed is not None
    assert not hasher.outdated(renewed)
    hashing.close()


async def test_a_hash_is_not_renewed_when_there_is_no_time(gate: Gate) -> None:
    """F5, F9: a busy server puts it off instead of refusing a sign-in that is good."""

    class Busy(InstantHasher):
        def hash(self, password: bytes) -> str:
            return gate.work()

    hashing = PasswordHashing(Busy(strength=2), width=1, queue=0)
    running = asyncio.create_task(hashing.hash("another's"))
    await gate.begun()

    assert await hashing.rehash("1.0.0.00", "quixotic-otters") is None
    gate.open()
    await running
    hashing.close()


WEAK = Argon2id(memory=64, passes=1)


def test_the_scheme_is_argon2id_with_the_work_that_owasp_asks_for() -> None:
    """F5: 19 MiB, two passes, one lane; of the user that nobody is, too."""
    hasher = Argon2id()

    for password_hash in (hasher.hash(b"quixotic-otters"), hasher.nobody):
        assert password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        assert not hasher.verify(password_hash, b"verdant-anvils")
        assert not hasher.outdated(password_hash)


def test_the_hash_of_nobody_is_of_the_same_shape() -> None:
    """F7: salt and hash are as long as those of somebody."""
    assert extract_parameters(WEAK.nobody) == extract_parameters(WEAK.hash(b"quixotic-otters"))


@pytest.mark.parametrize(
    ("password", "other"),
    [
        (b"a" * 72 + b"x", b"a" * 72 + b"y"),
        (b"a" * 4095 + b"x", b"a" * 4095 + b"y"),
        (b"before\0after", b"before\0other"),
        (b"before\0after", b"before"),
        (b"Quixotic", b"quixotic"),
        (b"trailing ", b"trailing"),
    ],
)
def test_a_password_is_verified_in_full(password: bytes, other: bytes) -> None:
    """F4: not cut at 72 bytes, nor at a NUL, nor at white space, and its case counts."""
    password_hash = WEAK.hash(password)

    assert WEAK.verify(password_hash, password)
    assert not WEAK.verify(password_hash, other)


@pytest.mark.parametrize(
    ("memory", "passes", "outdated"), [(64, 1, False), (65, 1, True), (64, 2, True), (32, 1, False)]
)
def test_a_hash_is_outdated_when_parameters_rise(
    memory: int, passes: int, *, outdated: bool
) -> None:
    """F5: and never when they fall."""
    assert Argon2id(memory=memory, passes=passes).outdated(WEAK.hash(b"x")) is outdated


@pytest.mark.parametrize("damaged", ["", "plain", "$argon2id$v=19$m=64"])
def test_a_damaged_hash_is_our_fault(damaged: str) -> None:
    """A row that cannot be read never passes for a wrong password."""
    with pytest.raises(Unavailable):
        WEAK.verify(damaged, b"quixotic-otters")
    with pytest.raises(Unavailable):
        WEAK.outdated(damaged)


def test_memory_that_cannot_be_had_is_our_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """F9: hashing that fails for want of memory refuses nobody for good."""

    def fail(self: PasswordHasher, *passwords: bytes) -> None:
        raise HashingError if len(passwords) == 1 else VerificationError

    monkeypatch.setattr(PasswordHasher, "hash", fail)
    monkeypatch.setattr(PasswordHasher, "verify", fail)

    with pytest.raises(Unavailable):
        WEAK.hash(b"quixotic-otters")
    with pytest.raises(Unavailable):
        WEAK.verify(WEAK.nobody, b"quixotic-otters")
