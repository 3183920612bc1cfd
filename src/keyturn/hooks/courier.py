"""``Hooks``: tells functions of the application of every event."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, Self, TypeAlias

from keyturn.complaints import Complaints
from keyturn.core.errors import ConfigurationError
from keyturn.observing import HookOutcome, Observer, guarded
from keyturn.stores import Store
from keyturn.stores.base import Delivery

from .outbox import open_outbox

__all__ = ["Hook", "Hooks", "Undeliverable"]

log = logging.getLogger("keyturn")

Hook: TypeAlias = Callable[[Delivery], Awaitable[None]]
"""Is told of an event when it is awaited; what it raises means that it could not be told."""

_HOUR: Final = 3600
_DELAYS: Final = (5, 30, 120, 600, _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR, 24 * _HOUR)
"""Seconds before each further try; two days in all. Then a delivery is given up."""
_LATEST: Final = _DELAYS[-1] + _HOUR
"""Nobody whose clock is right puts off for so long."""
_LONGEST_CALL_SECONDS: Final = 30.0
_TAKEN_SECONDS: Final = 120
"""As long as one process has a delivery to itself: a call, and what clocks may be apart."""
_POLL_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 60.0
_SUBSCRIBE_SECONDS: Final = 60
_GRACE_SECONDS: Final = 5.0
_LAST_GRACE_SECONDS: Final = 1.0
_LONGEST_ERROR: Final = 300


class Undeliverable(Exception):
    """A hook raises this where another try would be in vain: the delivery is given up at once."""


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
            leave it out everywhere, then unsubscribe it (``open_outbox``): else its events are kept
            for it.
        clock: Unix time in seconds.
        steady_clock: seconds that never jump.
        observer: is told what came of each try.

    Raises:
        ConfigurationError: the store can have no hooks, or a name is impossible.
    """

    def __init__(
        self,
        store: Store,
        hooks: Mapping[str, Hook],
        *,
        clock: Callable[[], float] = time.time,
        steady_clock: Callable[[], float] = time.monotonic,
        observer: Observer | None = None,
    ) -> None:
        for name in hooks:
            if not (1 <= len(name) <= 64 and name.isprintable()):
                raise ConfigurationError("hooks", "have names of 1 to 64 printable characters")
        self._outbox = open_outbox(store)
        self._hooks = dict(hooks)
        self._clock = clock
        self._steady_clock = steady_clock
        self._observer = guarded(observer)
        self._complaints = Complaints(steady_clock)
        self._leaving = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        for name in self._hooks:
            await self._outbox.subscribe(name)
        self._leaving = asyncio.Event()
        self._tasks = {
            asyncio.create_task(self._tell_for_ever(name, self._leaving)) for name in self._hooks
        }
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
            if late:
                await asyncio.wait(late, timeout=_LAST_GRACE_SECONDS)

    async def tell_due(self, name: str) -> bool | None:
        """Tell hook ``name`` of the next delivery. Returns whether that went well; None if none is
        due.

        Raises:
            StoreUnavailable: it may have been told, and will be told again.
        """
        now = int(self._clock())
        delivery = await self._outbox.take(
            name, now=now, until=now + _TAKEN_SECONDS, latest=now + _LATEST
        )
        if delivery is None:
            return None
        failure = await _failure_of(self._hooks[name], delivery)
        outcome: HookOutcome = "told"
        if failure is None:
            await self._outbox.drop(delivery)
        else:
            outcome = await self._put_off(delivery, failure)
        self._observer.tried_hook(name, outcome, max(0, self._clock() - delivery.event.at))
        return failure is None

    async def _put_off(self, delivery: Delivery, failure: BaseException) -> HookOutcome:
        """For a while, or for ever."""
        reason = _in_words(failure)
        if delivery.attempts < len(_DELAYS) and not isinstance(failure, Undeliverable):
            delay = _DELAYS[delivery.attempts]
            due_at, sequel = int(self._clock()) + delay, f"tried again in {delay} s"
        else:
            due_at, sequel = None, "given up"
        told = f"hook {delivery.hook} was not told of {delivery.id}: {sequel}"
        log.warning(told, extra={"reason": reason})
        await self._outbox.put_off(delivery, due_at=due_at, error=reason)
        return "given_up" if due_at is None else "put_off"

    async def _tell_for_ever(self, name: str, leaving: asyncio.Event) -> None:
        """Where one fails, the next may well fail too: the pause grows until one does not. A
        subscription can be lost with the last commits of a database, or by a restore.
        """
        pause, subscribe_at = _POLL_SECONDS, self._steady_clock() + _SUBSCRIBE_SECONDS
        while not leaving.is_set():
            try:
                if self._steady_clock() >= subscribe_at:
                    await self._outbox.subscribe(name)
                    subscribe_at = self._steady_clock() + _SUBSCRIBE_SECONDS
                told = await self.tell_due(name)
            except Exception as error:  # noqa: BLE001  whatever it was, telling goes on
                self._complaints.report(f"cannot tell hook {name}", error)
                told = False
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS) if told is False else _POLL_SECONDS
            if not told:
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await leaving.wait()


async def _failure_of(hook: Hook, delivery: Delivery) -> BaseException | None:
    """Why it could not be told. To cancel something of its own is a failure of the hook; to cancel
    the task that tells it is not.
    """
    try:
        async with asyncio.timeout(_LONGEST_CALL_SECONDS):
            await hook(delivery)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return error
    except Exception as error:  # noqa: BLE001  whatever it was, others are told all the same
        return error
    return None


def _in_words(failure: BaseException) -> str:
    """Of a length, and of characters, that every database holds."""
    try:
        text = f"{type(failure).__name__}: {failure}".removesuffix(": ")
    except Exception:  # noqa: BLE001  it cannot even say what it is
        text = type(failure).__name__
    return "".join(c if c.isprintable() else "?" for c in text[:_LONGEST_ERROR])
