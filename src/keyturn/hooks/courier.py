"""``Hooks``: tells functions of the application of every event."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, Self, TypeAlias

from keyturn.core.errors import ConfigurationError
from keyturn.stores import Store
from keyturn.stores.base import Delivery

from .outbox import open_outbox

__all__ = ["Hook", "Hooks"]

log = logging.getLogger("keyturn")

Hook: TypeAlias = Callable[[Delivery], Awaitable[None]]
"""Is told of an event when it is awaited; what it raises means that it could not be told."""

_HOUR: Final = 3600
_DELAYS: Final = (5, 30, 120, 600, _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR, 24 * _HOUR)
"""Seconds before each further try; two days in all. Then a delivery is given up."""
_LONGEST_CALL_SECONDS: Final = 30.0
_TAKEN_SECONDS: Final = 60
"""Longer than a call takes: as long as one process has a delivery to itself."""
_POLL_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 60.0
_GRACE_SECONDS: Final = 5.0
_LONGEST_ERROR: Final = 300


class Hooks:
    """Tells each hook of every event that is recorded in the database of ``store``, by whichever
    process, from the first time on that somebody enters this with a hook of that name.

    *At least once*: it is kept in the transaction that records the event, and until the hook has
    returned. What may be told twice has the same ``id``. *One after the other* in a process, as
    they happened; where one fails, or several processes tell, later ones may come first. *Each by
    itself*: a hook that raises, or takes more than 30 seconds, is tried again with it later, ten
    times in two days, and disturbs neither the others nor the sessions. Then the delivery is given
    up: it stays to be looked at, for as long as events are kept.

    Enter it as an asynchronous context manager while the store is open.

    Args:
        store: of the events.
        hooks: by a name of 1 to 64 characters, which stays the same for ever. To be told no more,
            unsubscribe it (``open_outbox``): else its events are kept for it.
        clock: Unix time in seconds.

    Raises:
        ConfigurationError: the store can have no hooks, or a name is impossible.
    """

    def __init__(
        self, store: Store, hooks: Mapping[str, Hook], *, clock: Callable[[], float] = time.time
    ) -> None:
        for name in hooks:
            if not (1 <= len(name) <= 64 and name.isprintable()):
                raise ConfigurationError("hooks", "have names of 1 to 64 printable characters")
        self._outbox = open_outbox(store)
        self._hooks = dict(hooks)
        self._clock = clock
        self._leaving = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        for name in self._hooks:
            await self._outbox.subscribe(name)
        self._tasks = {asyncio.create_task(self._tell_for_ever(name)) for name in self._hooks}
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let the hooks that are under way finish, for five seconds; what they were to be told is
        told again by others if they do not.
        """
        self._leaving.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_GRACE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def tell_due(self, name: str) -> bool | None:
        """Tell hook ``name`` of the next delivery. Returns whether that went well; None if none is
        due.

        Raises:
            StoreUnavailable: it may have been told, and will be told again.
        """
        now = int(self._clock())
        delivery = await self._outbox.take(name, now=now, until=now + _TAKEN_SECONDS)
        if delivery is None:
            return None
        try:
            async with asyncio.timeout(_LONGEST_CALL_SECONDS):
                await self._hooks[name](delivery)
        except Exception as error:  # noqa: BLE001  whatever it was, others are told all the same
            await self._put_off(delivery, error)
            return False
        await self._outbox.drop(delivery)
        return True

    async def _put_off(self, delivery: Delivery, error: Exception) -> None:
        told = f"{type(error).__name__}: {error}".removesuffix(": ")[:_LONGEST_ERROR]
        if delivery.attempts > len(_DELAYS):
            due_at, sequel = None, "given up"
        else:
            delay = _DELAYS[delivery.attempts - 1]
            due_at, sequel = int(self._clock()) + delay, f"tried again in {delay} s"
        log.warning(
            "hook %s was not told of %s: %s",
            delivery.hook,
            delivery.id,
            sequel,
            extra={"reason": told},
        )
        await self._outbox.put_off(delivery, due_at=due_at, error=told)

    async def _tell_for_ever(self, name: str) -> None:
        """Where one fails, the next may well fail too: the pause grows until one does not."""
        pause = _POLL_SECONDS
        while not self._leaving.is_set():
            try:
                told = await self.tell_due(name)
            except Exception as error:  # noqa: BLE001  whatever it was, telling goes on
                log.warning("cannot tell hook %s: %s", name, error)
                told = False
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS) if told is False else _POLL_SECONDS
            if not told:
                await self._rest(pause)

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._leaving.wait()
