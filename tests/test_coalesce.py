"""Many waiting operations become one call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
import uvloop

from keyturn.coalesce import HANDED_ON, Coalescer
from keyturn.core.errors import RowUnavailable, StoreUnavailable

PATIENCE = 20


class Calls:
    """Calls that are under way until they are let go, each in its turn."""

    def __init__(self) -> None:
        self.carried: list[list[str]] = []
        self._gates: list[asyncio.Future[None]] = []

    async def __call__(self, items: Sequence[str]) -> list[str]:
        self.carried.append(list(items))
        gate = asyncio.get_running_loop().create_future()
        self._gates.append(gate)
        await gate
        return [item.upper() for item in items]

    async def let_go(self, call: int, error: Exception | None = None) -> None:
        """End a call, and let whatever follows from that happen."""
        self.end(call, error)
        await settle()

    def end(self, call: int, error: Exception | None = None) -> None:
        if error is None:
            self._gates[call].set_result(None)
        else:
            self._gates[call].set_exception(error)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def come_turn_after_turn(coalescer: Coalescer[str, str], *items: str) -> None:
    """Two at once, and then the others."""
    for item in items[:2]:
        coalescer.submit(item)
    if items[2:]:
        asyncio.get_running_loop().call_soon(come_turn_after_turn, coalescer, *items[2:])


def cancel_once_made(coalescer: Coalescer[str, str]) -> None:
    """Its call, before that has done anything."""
    if not coalescer._lanes:
        asyncio.get_running_loop().call_soon(cancel_once_made, coalescer)
    for lane in coalescer._lanes:
        lane.cancel()


def first_letter(item: str) -> str:
    return item[0]


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.mark.parametrize("items", ["a", "ab"])
async def test_who_is_alone_or_enough_goes_at_once(calls: Calls, items: str) -> None:
    """Neither an idle store nor a full batch adds a delay."""
    coalescer = Coalescer(calls, key=first_letter, at_most=2)
    answers = [coalescer.submit(item) for item in items]
    for _ in ("a look at how many there are", "the call"):
        await asyncio.sleep(0)
    at_once = list(calls.carried)
    await calls.let_go(0)

    assert at_once == calls.carried == [[*items]]
    assert [answer.result() for answer in answers] == [*items.upper()]


async def test_arrivals_of_one_turn_share_a_call(calls: Calls) -> None:
    """Each gets its own result, in any order of waiting."""
    coalescer = Coalescer(calls, key=first_letter)
    answers = [coalescer.submit(item) for item in "abc"]
    await settle()
    await calls.let_go(0)

    assert (calls.carried, [answer.result() for answer in answers]) == ([["a", "b", "c"]], [*"ABC"])


async def test_arrivals_of_turns_that_follow_each_other_share_a_call(calls: Calls) -> None:
    """As long as none of them is without any."""
    come_turn_after_turn(Coalescer(calls, key=first_letter), "a", "b", "c", "d", "e")
    await settle()

    assert calls.carried == [["a", "b", "c", "d", "e"]]


async def test_arrivals_of_many_turns_wait_no_longer_than_the_pause(calls: Calls) -> None:
    """Else a loop that is busy with other things could keep them for long."""
    come_turn_after_turn(Coalescer(calls, key=first_letter, pause=0), "a", "b", "c", "d", "e")
    await settle()

    assert calls.carried == [["a", "b"]]


async def test_who_is_answered_together_asks_together(calls: Calls) -> None:
    """And with whoever waits by then, although they come a moment after the call has ended."""
    coalescer = Coalescer(calls, key=first_letter)

    async def ask_twice(item: str) -> None:
        for time in "12":
            await asyncio.shield(coalescer.submit(item + time))

    asking = [asyncio.create_task(ask_twice(item)) for item in "abc"]
    await settle()
    coalescer.submit("x")
    await calls.let_go(0)
    for each in asking:
        each.cancel()

    assert calls.carried == [["a1", "b1", "c1"], ["x", "a2", "b2", "c2"]]


async def test_arrivals_gather_while_a_call_is_under_way(calls: Calls) -> None:
    """The next call carries them all, and is made without anybody's asking."""
    coalescer = Coalescer(calls, key=first_letter)
    coalescer.submit("a")
    await settle()
    for item in "bcd":
        coalescer.submit(item)
        await settle()
    before = list(calls.carried)
    await calls.let_go(0)

    assert (before, calls.carried) == ([["a"]], [["a"], ["b", "c", "d"]])
    assert (coalescer.calls, coalescer.items) == (2, 4)


async def test_a_call_carries_so_many_at_most(calls: Calls) -> None:
    """The others go by the next ones, first come first served."""
    coalescer = Coalescer(calls, key=first_letter, at_most=2)
    for item in "abcde":
        coalescer.submit(item)
    await settle()
    await calls.let_go(0)
    await calls.let_go(1)

    assert calls.carried == [["a", "b"], ["c", "d"], ["e"]]


async def test_no_two_of_one_key_share_a_call(calls: Calls) -> None:
    """The later one waits for the next, and they keep their order."""
    coalescer = Coalescer(calls, key=first_letter, at_most=2)
    for item in ("a1", "a2", "b1", "a3", "b2"):
        coalescer.submit(item)
    await settle()
    await calls.let_go(0)
    await calls.let_go(1)

    assert calls.carried == [["a1", "b1"], ["a2", "b2"], ["a3"]]


async def test_a_failing_call_fails_its_own(calls: Calls) -> None:
    """Each that it carried is told, and the next call goes on."""
    coalescer = Coalescer(calls, key=first_letter)
    failed = [coalescer.submit(item) for item in "ab"]
    await settle()
    later = coalescer.submit("c")
    await calls.let_go(0, OSError("disk"))
    await calls.let_go(1)

    assert [str(answer.exception()) for answer in failed] == ["disk", "disk"]
    assert later.result() == "C"


async def test_one_row_at_fault_fails_alone(calls: Calls) -> None:
    """The others of its call are carried again, each by itself and one after the other."""
    coalescer = Coalescer(calls, key=first_letter)
    answers = [coalescer.submit(item) for item in "abc"]
    await settle()
    await calls.let_go(0, RowUnavailable("locked"))
    one_after_the_other = list(calls.carried)
    await calls.let_go(1)
    await calls.let_go(2, RowUnavailable("locked"))
    await calls.let_go(3)

    assert one_after_the_other == [["a", "b", "c"], ["a"]]
    assert calls.carried == [["a", "b", "c"], ["a"], ["b"], ["c"]]
    assert isinstance(answers[1].exception(), RowUnavailable)
    assert [answers[0].result(), answers[2].result()] == ["A", "C"]


async def test_many_rows_at_fault_are_not_all_tried(calls: Calls) -> None:
    """One after the other, and after a while no more."""
    coalescer = Coalescer(calls, key=first_letter, patience=0)
    answers = [coalescer.submit(item) for item in "abc"]
    await settle()
    await calls.let_go(0, RowUnavailable("locked"))

    assert calls.carried == [["a", "b", "c"]]
    assert [str(answer.exception()) for answer in answers] == ["locked"] * 3


async def test_a_call_that_answers_too_little_fails() -> None:
    """Nobody waits for ever."""

    async def forgetful(items: Sequence[str]) -> list[str]:
        return list(items)[:1]

    coalescer = Coalescer(forgetful, key=first_letter)
    answers = [coalescer.submit(item) for item in "ab"]
    await settle()

    assert isinstance(answers[1].exception(), ValueError)
    assert answers[0].result() == "a"


async def test_a_cancelled_waiter_does_not_cancel_the_call(calls: Calls) -> None:
    """Neither while it waits for its call nor while that is under way: others are on board."""
    coalescer = Coalescer(calls, key=first_letter)
    under_way = [coalescer.submit(item) for item in "ab"]
    await settle()
    waiting = [coalescer.submit(item) for item in "cd"]
    under_way[0].cancel()
    waiting[0].cancel()
    await calls.let_go(0)
    await calls.let_go(1)

    assert (under_way[1].result(), waiting[1].result()) == ("B", "D")
    assert calls.carried == [["a", "b"], ["c", "d"]]


async def test_drain_waits_for_everything(calls: Calls) -> None:
    """What is under way, what is waiting, and what was submitted this moment."""
    coalescer = Coalescer(calls, key=first_letter, at_most=1)
    answers = [coalescer.submit(item) for item in "ab"]
    draining = asyncio.create_task(coalescer.drain())
    done = []
    for call in range(2):
        await settle()
        done.append(draining.done())
        await calls.let_go(call)
    await draining

    assert (done, [answer.result() for answer in answers]) == ([False, False], ["A", "B"])


async def test_draining_nothing_ends_at_once(calls: Calls) -> None:
    """There is nothing to wait for."""
    await Coalescer(calls, key=first_letter).drain()

    assert calls.carried == []


async def test_a_drain_given_up_does_not_cancel_the_call(calls: Calls) -> None:
    """Whoever waits to close may lose patience; the call goes on."""
    coalescer = Coalescer(calls, key=first_letter)
    answer = coalescer.submit("a")
    await settle()
    draining = asyncio.create_task(coalescer.drain())
    await settle()
    draining.cancel()
    await settle()
    await calls.let_go(0)

    assert answer.result() == "A"


@pytest.mark.parametrize("begun", [True, False])
async def test_a_cancelled_call_leaves_nobody_waiting(calls: Calls, *, begun: bool) -> None:
    """A shutdown that cancels all tasks, ours too: waiters are told, later ones are carried."""
    coalescer = Coalescer(calls, key=first_letter)
    answer = coalescer.submit("a1")
    await settle()
    if not begun:
        await calls.let_go(0)
        answer = coalescer.submit("a1")
        cancel_once_made(coalescer)
    later = coalescer.submit("a2")
    for lane in coalescer._lanes:
        lane.cancel()
    await settle()
    await calls.let_go(-1)
    await coalescer.drain()

    assert isinstance(answer.exception(), StoreUnavailable)
    assert later.result() == "A2"
    assert calls.carried == [["a1"], ["a2"]]


async def test_who_waits_for_company_is_not_refused(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose patience ends while a lane is free is carried."""
    times = [0.0]
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: times[-1])
    coalescer = Coalescer(calls, key=first_letter, patience=PATIENCE, pause=2)
    coalescer.submit("a")
    await settle()
    late = [coalescer.submit(item) for item in "bc"]
    times.append(PATIENCE - 1)
    calls.end(0)
    for _ in ("the call", "what follows from its end"):
        await asyncio.sleep(0)
    times.append(PATIENCE)
    come_turn_after_turn(coalescer, *"defghi")
    await settle()
    await calls.let_go(1)

    assert [answer.result() for answer in late] == ["B", "C"]


async def test_who_waits_too_long_is_refused(calls: Calls) -> None:
    """Behind a store that hangs nothing piles up, neither behind an item of the same key nor where
    all lanes are taken; and what was refused is not done later.
    """
    coalescer = Coalescer(calls, key=first_letter, lanes=2, patience=0, pause=0)
    under_way = [coalescer.submit("a1")]
    await settle()
    late = [coalescer.submit("a2")]
    under_way.append(coalescer.submit("b1"))
    await settle()
    refused_beside_a_free_lane = late[0].done()
    late.append(coalescer.submit("c1"))
    await settle()
    await calls.let_go(0)
    await calls.let_go(1)

    assert refused_beside_a_free_lane
    assert [answer.result() for answer in under_way] == ["A1", "B1"]
    assert {type(answer.exception()) for answer in late} == {StoreUnavailable}
    assert calls.carried == [["a1"], ["b1"]]


async def test_lanes_carry_calls_at_once(calls: Calls) -> None:
    """What does not fit into one goes by another that is free, whenever it came."""
    coalescer = Coalescer(calls, key=first_letter, at_most=2, lanes=2, pause=0)
    for item in "abc":
        coalescer.submit(item)
    await settle()
    coalescer.submit("d")
    await settle()
    both_busy = list(calls.carried)
    await calls.let_go(1)

    assert (both_busy, calls.carried[2:]) == ([["a", "b"], ["c"]], [["d"]])


async def test_a_free_lane_waits_for_more_to_carry(calls: Calls) -> None:
    """For as much as one call takes, or until the other lane is free."""
    coalescer = Coalescer(calls, key=first_letter, at_most=2, lanes=2, pause=60)
    coalescer.submit("a")
    await settle()
    coalescer.submit("b")
    await settle()
    with_one_waiting = list(calls.carried)
    coalescer.submit("c")
    await settle()
    with_two_waiting = list(calls.carried)
    coalescer.submit("d")
    await calls.let_go(0)

    assert (with_one_waiting, with_two_waiting) == ([["a"]], [["a"], ["b", "c"]])
    assert calls.carried[2:] == [["d"]]


def test_a_full_call_does_not_wait_on_uvloop(calls: Calls) -> None:
    """Whose timers are of a kind of their own."""

    async def fill() -> list[list[str]]:
        coalescer = Coalescer(calls, key=first_letter, at_most=2, lanes=2, pause=60)
        for item in "abc":
            coalescer.submit(item)
            await settle()
        carried = list(calls.carried)  # before the loop ends what is under way
        for call in range(len(carried)):
            await calls.let_go(call)
        await coalescer.drain()
        return carried

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        carried = runner.run(asyncio.wait_for(fill(), PATIENCE))

    assert carried == [["a"], ["b", "c"]]


async def test_an_outcome_may_be_an_error(calls: Calls) -> None:
    """Of one item alone; the others have their results."""

    async def call(items: Sequence[str]) -> list[str | OSError]:
        return [OSError(item) if item == "b" else item for item in items]

    coalescer: Coalescer[str, str | OSError] = Coalescer(call, key=first_letter)
    answers = [coalescer.submit(item) for item in "abc"]
    await settle()

    assert [answers[0].result(), answers[2].result()] == ["a", "c"]
    assert str(answers[1].exception()) == "b"


async def test_an_outcome_may_have_yet_to_be_found_out() -> None:
    """It is by itself: neither the others wait for it nor the next call. A drain does."""
    gate = asyncio.get_running_loop().create_future()

    async def find_out(item: str) -> str:
        await gate
        if item == "c":
            raise OSError("found out")
        return item.upper()

    async def call(items: Sequence[str]) -> list[Any]:
        return [item if item == "a" else find_out(item) for item in items]

    coalescer: Coalescer[str, Any] = Coalescer(call, key=first_letter)
    answers = [coalescer.submit(item) for item in "abc"]
    draining = asyncio.create_task(coalescer.drain())
    await settle()
    before = [answer.done() for answer in (*answers, draining)]
    gate.set_result(None)
    await draining

    assert before == [True, False, False, False]
    assert answers[1].result() == "B"
    assert str(answers[2].exception()) == "found out"


async def test_what_was_left_to_do_may_be_cancelled(calls: Calls) -> None:
    """By a shutdown that cancels all tasks: who waits is told."""

    async def call(items: Sequence[str]) -> list[Any]:
        return [asyncio.sleep(60) for _ in items]

    coalescer: Coalescer[str, Any] = Coalescer(call, key=first_letter)
    answer = coalescer.submit("a")
    await settle()
    for task in coalescer._left_to_do:
        task.cancel()
    await settle()

    assert isinstance(answer.exception(), StoreUnavailable)


async def test_an_item_may_be_handed_on(calls: Calls) -> None:
    """To another coalescer, which tells the one recipient that there is."""
    later = Coalescer(calls, key=first_letter)
    recipient: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def hand_on(items: Sequence[str]) -> list[object]:
        for item in items:
            later.carry(f"{item}2", recipient, copy_context())
        return [HANDED_ON for _ in items]

    first: Coalescer[str, Any] = Coalescer(hand_on, key=first_letter)
    first.carry("a", recipient, copy_context())
    await settle()
    await first.drain()
    before = recipient.done()
    await calls.let_go(0)

    assert not before
    assert recipient.result() == "A2"


async def test_no_two_of_one_key_are_in_two_lanes(calls: Calls) -> None:
    """They would race each other; the free lane carries what else there is."""
    coalescer = Coalescer(calls, key=first_letter, lanes=2, pause=0)
    coalescer.submit("a1")
    await settle()
    for item in ("a2", "b1"):
        coalescer.submit(item)
    await settle()
    while_a_is_under_way = list(calls.carried)
    await calls.let_go(0)

    assert (while_a_is_under_way, calls.carried[2:]) == ([["a1"], ["b1"]], [["a2"]])


async def test_a_call_is_made_in_the_context_of_the_first_whom_it_serves() -> None:
    """What is logged or traced in it is of a request that waits, not of one that went long ago."""
    request: ContextVar[str] = ContextVar("request")
    seen = []

    async def call(items: Sequence[str]) -> Sequence[str]:
        seen.append((request.get(), list(items)))
        await settle()
        return items

    async def ask(item: str) -> None:
        request.set(f"of {item}")
        await coalescer.submit(item)

    coalescer = Coalescer(call, key=first_letter)
    await asyncio.gather(ask("a"), ask("b"))
    first = asyncio.create_task(ask("c"))
    await settle()
    await asyncio.gather(first, ask("d"), ask("e"))

    assert seen == [("of a", ["a", "b"]), ("of c", ["c"]), ("of d", ["d", "e"])]


async def test_a_context_that_is_in_use_elsewhere_is_no_obstacle() -> None:
    """Neither to a call nor to what is left to do of it: both run in copies."""
    context = copy_context()

    async def find_out(item: str) -> str:
        return context.run(str.upper, item)

    async def call(items: Sequence[str]) -> list[Any]:
        return [find_out(context.run(str, item)) for item in items]

    coalescer: Coalescer[str, Any] = Coalescer(call, key=first_letter)
    recipient: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    coalescer.carry("a", recipient, context)
    await coalescer.drain()
    await settle()

    assert recipient.result() == "A"
