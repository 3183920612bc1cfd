"""Many waiting operations become one call.

While a call is under way, arrivals gather on the event loop; the next call carries them all. So an
idle store adds no delay, and a busy one pays one commit for many users.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Generic, TypeVar

from .core.errors import RowUnavailable, StoreUnavailable

__all__ = ["Coalescer"]

Item = TypeVar("Item")
Result = TypeVar("Result")
_Batch = dict[Hashable, tuple[Item, asyncio.Future[Result]]]
"""Items with their waiters, by key."""


class Coalescer(Generic[Item, Result]):
    """Hands gathered items to ``call``, which returns a result for each, in their order.

    No two items of one ``key`` are under way at once: the later one waits until the other is
    answered. A call that raises fails all that it carried; but for ``RowUnavailable``, after which
    each is carried alone. A waiter that is cancelled never cancels the call. If the call's own task
    is cancelled, as at a shutdown that cancels all tasks, its waiters get ``StoreUnavailable``.

    Args:
        call: carries a batch.
        key: what makes two items get into each other's way.
        at_most: items in a batch.
        lanes: calls at once.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        key: Callable[[Item], Hashable],
        at_most: int = 64,
        lanes: int = 1,
    ) -> None:
        self._call = call
        self._key = key
        self._at_most = at_most
        self._most_lanes = lanes
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._under_way: set[Hashable] = set()
        self._lanes: set[asyncio.Task[None]] = set()
        self.calls = 0
        self.items = 0

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Have ``item`` carried by the next call. Await the future for its result."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future))
        if len(self._lanes) < self._most_lanes:
            loop.call_soon(self._start_calls)  # soon: the others of this turn come along
        return future

    async def drain(self) -> None:
        """Wait until nothing is waiting or under way."""
        while self._waiting or self._lanes:
            self._start_calls()
            await asyncio.wait(self._lanes)

    def _start_calls(self) -> None:
        while len(self._lanes) < self._most_lanes and (batch := self._next_batch()):
            lane = asyncio.get_running_loop().create_task(self._run_call(batch))
            self._lanes.add(lane)
            lane.add_done_callback(partial(self._end_call, batch))

    def _end_call(self, batch: _Batch[Item, Result], lane: asyncio.Task[None]) -> None:
        """A call-back, as a task that is cancelled before it began runs nothing of its own."""
        self._lanes.discard(lane)
        self._under_way.difference_update(batch)
        for _, future in batch.values():
            if not future.done():
                future.set_exception(StoreUnavailable("The call to the store was cancelled"))
        self._start_calls()

    def _next_batch(self) -> _Batch[Item, Result]:
        batch: _Batch[Item, Result] = {}
        put_off = []
        while self._waiting and len(batch) < self._at_most:
            waiter = self._waiting.popleft()
            key = self._key(waiter[0])
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
            results = await self._call([item for item, _ in waiters])
            for (_, future), result in zip(waiters, results, strict=True):
                if not future.done():
                    future.set_result(result)
        except Exception as error:  # noqa: BLE001  whatever it was, each waiter is told
            if isinstance(error, RowUnavailable) and len(batch) > 1:
                await self._run_alone(batch)
                return
            for _, future in waiters:
                if not future.done():
                    future.set_exception(error)

    async def _run_alone(self, batch: _Batch[Item, Result]) -> None:
        """Each by a call of its own, as one of them would fail them all again."""
        alone = (self._run_call({key: waiter}) for key, waiter in batch.items())
        await asyncio.gather(*alone)
