"""Many waiting operations become one call.

While a call is under way, arrivals gather on the event loop; the next call carries them all. So who
comes to an idle store alone is not delayed, and a busy one pays one commit for many users.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from contextvars import Context, copy_context
from enum import Enum
from functools import partial
from types import CoroutineType
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from .core.errors import RowUnavailable, StoreUnavailable

__all__ = ["HANDED_ON", "Coalescer", "HandedOn", "Recipient"]

Item = TypeVar("Item")
Result = TypeVar("Result")
_Told_contra = TypeVar("_Told_contra", contravariant=True)
_Returned = TypeVar("_Returned")
_PATIENCE_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = 0.005
"""Longer than most calls take; and behind one that waits for a lock nobody waits longer."""


class HandedOn(Enum):
    """That an item's recipient is told by others."""

    HANDED_ON = "handed on"


HANDED_ON: Final = HandedOn.HANDED_ON


class Recipient(Protocol[_Told_contra]):
    """Whom the result of an item is for; a future is one."""

    def done(self) -> bool:
        """Whether nothing is expected any more."""
        ...

    def set_result(self, result: _Told_contra, /) -> None:
        """What came of the item."""
        ...

    def set_exception(self, error: Exception, /) -> None:
        """Why nothing came of it."""
        ...


class _Waiter(msgspec.Struct, Generic[Item, Result], frozen=True):
    """An item that waits, for whom, until when it may begin, and where it is asked from."""

    item: Item
    recipient: Recipient[Result]
    deadline: float
    context: Context


_Batch = dict[Hashable, _Waiter[Item, Result]]
"""Waiters by key."""


class Coalescer(Generic[Item, Result]):
    """Hands gathered items to ``call``, which returns an outcome for each, in their order: its
    result, the error that it met, a coroutine that has yet to find out and then runs by itself, or
    ``HANDED_ON`` where another coalescer now carries what is left to do; a call that has handed on
    does not raise, as its recipients would be told of that while it is being done.

    No call carries an item while another carries one of the same ``key``: the later one waits. A
    call that raises fails all that it carried; but for ``RowUnavailable``, after which each is
    carried alone, as far as that does not take too long. A waiter that is cancelled never cancels
    the call. If the call's own task is cancelled, as at a shutdown that cancels all tasks, its
    waiters get ``StoreUnavailable``. So does, with nothing done, who has waited too long for a
    call: behind a store that hangs they would be more and more.

    Args:
        call: carries a batch.
        key: what makes two items get into each other's way.
        at_most: items in a batch.
        lanes: calls at once.
        patience: seconds that an item waits for the call that carries it, and that one call's items
            are carried alone.
        pause: seconds that items wait at most for more to carry, as two small calls cost more than
            a large one: beside a call that is under way, and where they come turn after turn of the
            event loop.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        key: Callable[[Item], Hashable],
        at_most: int = 64,
        lanes: int = 1,
        patience: float = _PATIENCE_SECONDS,
        pause: float = _PAUSE_SECONDS,
    ) -> None:
        self._call = call
        self._key = key
        self._at_most = at_most
        self._most_lanes = lanes
        self._patience = patience
        self._pause = pause
        self._waiting: deque[_Waiter[Item, Result]] = deque()
        self._starting: asyncio.Handle | None = None
        self._pausing = False
        self._watching: asyncio.TimerHandle | None = None
        self._under_way: set[Hashable] = set()
        self._lanes: set[asyncio.Task[None]] = set()
        self._left_to_do: set[asyncio.Task[Result]] = set()
        self.calls = 0
        self.items = 0

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Have ``item`` carried by the next call. Await the future for its result."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.carry(item, future, copy_context())
        return future

    def carry(self, item: Item, recipient: Recipient[Result], context: Context) -> None:
        """Have ``item`` carried by the next call, and ``recipient`` told. The call, if the item is
        its first, and what is left to do for it, run in copies of ``context``.
        """
        loop = asyncio.get_running_loop()
        self._waiting.append(_Waiter(item, recipient, loop.time() + self._patience, context))
        if len(self._lanes) == self._most_lanes:
            if self._watching is None:
                self._watch()
        elif self._lanes and len(self._waiting) < self._at_most:
            self._start_after_pause(loop)
        else:
            self._start_soon(loop)

    def _start_after_pause(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._starting is None:
            self._pausing = True
            self._starting = loop.call_later(self._pause, self._start_calls)

    def _start_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """So that the others of this turn of the loop come along, and those of the next ones as
        long as there are any: who was answered together asks together. Who is alone waits for
        nobody.
        """
        if self._starting is None or self._pausing:
            self._cancel_start()
            until = loop.time() + self._pause
            self._starting = loop.call_soon(self._start_unless_more_come, loop, 1, until)

    def _start_unless_more_come(
        self, loop: asyncio.AbstractEventLoop, before: int, until: float
    ) -> None:
        now = len(self._waiting)
        if before < now < self._at_most and loop.time() < until:
            self._starting = loop.call_soon(self._start_unless_more_come, loop, now, until)
        else:
            self._start_calls()

    def _cancel_start(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            self._starting, self._pausing = None, False

    async def drain(self) -> None:
        """Wait until nothing is waiting or under way."""
        while self._waiting or self._lanes or self._left_to_do:
            self._start_calls()
            await asyncio.wait(self._lanes | self._left_to_do)

    def _start_calls(self) -> None:
        self._cancel_start()
        while len(self._lanes) < self._most_lanes and (batch := self._next_batch()):
            first = next(iter(batch.values()))
            lane = _task_of(first, self._run_call(batch))
            self._lanes.add(lane)
            lane.add_done_callback(partial(self._end_call, batch))
        self._watch()

    def _watch(self) -> None:
        if self._waiting and self._watching is None:
            loop = asyncio.get_running_loop()
            self._watching = loop.call_at(self._waiting[0].deadline, self._refuse_the_late)

    def _refuse_the_late(self) -> None:
        self._watching = None
        if len(self._lanes) < self._most_lanes:
            self._start_calls()  # of what only waits for company
        now = asyncio.get_running_loop().time()
        while self._waiting and self._waiting[0].deadline <= now:
            _fail(self._waiting.popleft(), StoreUnavailable("Too much is waiting for the database"))
        self._watch()

    def _end_call(self, batch: _Batch[Item, Result], lane: asyncio.Task[None]) -> None:
        """A call-back, as a task that is cancelled before it began runs nothing of its own."""
        self._lanes.discard(lane)
        self._under_way.difference_update(batch)
        if lane.cancelled():
            for waiter in batch.values():
                _fail(waiter, StoreUnavailable("The call to the store was cancelled"))
        if len(self._waiting) >= self._at_most:
            self._start_calls()
        elif self._waiting:
            self._start_soon(lane.get_loop())

    def _next_batch(self) -> _Batch[Item, Result]:
        batch: _Batch[Item, Result] = {}
        put_off = []
        while self._waiting and len(batch) < self._at_most:
            waiter = self._waiting.popleft()
            key = self._key(waiter.item)
            if key in self._under_way:
                put_off.append(waiter)
            else:
                batch[key] = waiter
                self._under_way.add(key)
        self._waiting.extendleft(reversed(put_off))
        return batch

    async def _run_call(self, batch: _Batch[Item, Result]) -> None:
        self.calls += 1
        self.items += len(batch)
        waiters = batch.values()
        try:
            outcomes = await self._call([waiter.item for waiter in waiters])
            for waiter, outcome in zip(waiters, outcomes, strict=True):
                self._settle(waiter, outcome)
        except Exception as error:  # noqa: BLE001  whatever it was, each waiter is told
            if isinstance(error, RowUnavailable) and len(batch) > 1:
                await self._run_alone(batch, error)
                return
            for waiter in waiters:
                _fail(waiter, error)

    def _settle(self, waiter: _Waiter[Item, Result], outcome: Any) -> None:
        if isinstance(outcome, CoroutineType):
            task = _task_of(waiter, outcome)
            self._left_to_do.add(task)
            task.add_done_callback(self._left_to_do.discard)
            task.add_done_callback(partial(_pass_on, waiter))
        elif isinstance(outcome, Exception):
            _fail(waiter, outcome)
        elif outcome is not HANDED_ON and not waiter.recipient.done():
            waiter.recipient.set_result(outcome)

    async def _run_alone(self, batch: _Batch[Item, Result], error: RowUnavailable) -> None:
        """Each by a call of its own, as one of them would fail them all again; one after the other,
        as many of them may be at fault, and all at once would leave no connection to other calls.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        for key, waiter in batch.items():
            if loop.time() >= until:
                _fail(waiter, error)
            else:
                await self._run_call({key: waiter})


def _task_of(
    waiter: _Waiter[Item, Result], work: Coroutine[Any, Any, _Returned]
) -> asyncio.Task[_Returned]:
    """A task in the context of who waits for it: else it would be that of whoever waited for the
    call before. A copy, as one context cannot be entered twice.
    """
    return asyncio.get_running_loop().create_task(work, context=waiter.context.copy())


def _pass_on(waiter: _Waiter[Item, Result], rest: asyncio.Future[Result]) -> None:
    if rest.cancelled():
        _fail(waiter, StoreUnavailable("What was left to do was cancelled"))
    elif isinstance(error := rest.exception(), Exception):
        _fail(waiter, error)
    elif not waiter.recipient.done():
        waiter.recipient.set_result(rest.result())


def _fail(waiter: _Waiter[Item, Result], error: Exception) -> None:
    if not waiter.recipient.done():
        waiter.recipient.set_exception(error)
