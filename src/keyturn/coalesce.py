"""Many waiting operations become one call.

While a call is under way, arrivals gather on the event loop; the next call carries them all. So an
idle store adds no delay, and a busy one pays one commit for many users.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

__all__ = ["Coalescer"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Coalescer(Generic[Item, Result]):
    """Hands gathered items to ``call``, which returns a result for each, in their order.

    No two items of one ``key`` share a call: the later one waits for the next. A call that raises
    fails all that it carried. A waiter that is cancelled never cancels the call.
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
        self._free_lanes = lanes
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self.calls = 0
        self.items = 0

    def submit(self, item: Item) -> asyncio.Future[Result]:
        """Have ``item`` carried by the next call. Await the future for its result."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future))
        # The first arrival lets the others of this turn of the loop come along.
        if self._free_lanes and len(self._waiting) == 1:
            loop.call_soon(self._start_call)
        return future

    async def drain(self) -> None:
        """Wait until nothing is waiting or under way."""
        while self._waiting or self._calls:
            await asyncio.gather(*self._calls) if self._calls else await asyncio.sleep(0)

    def _start_call(self) -> None:
        if self._free_lanes and self._waiting:
            self._free_lanes -= 1
            task = asyncio.get_running_loop().create_task(self._run_calls())
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def _run_calls(self) -> None:
        try:
            while batch := self._next_batch():
                await self._run_call(batch)
        finally:
            self._free_lanes += 1

    def _next_batch(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        batch: dict[Hashable, tuple[Item, asyncio.Future[Result]]] = {}
        put_off = []
        while self._waiting and len(batch) < self._at_most:
            waiter = self._waiting.popleft()
            key = self._key(waiter[0])
            if key in batch:
                put_off.append(waiter)
            else:
                batch[key] = waiter
        self._waiting.extendleft(reversed(put_off))
        return list(batch.values())

    async def _run_call(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        self.calls += 1
        self.items += len(batch)
        try:
            results = await self._call([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001  whatever it was, each waiter is told
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
