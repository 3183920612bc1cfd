"""What tests of several rooms need: a clock that stands still, an engine on it, a strange store."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from keyturn.core.model import Policy
from keyturn.sessions import Sessions
from keyturn.stores.base import Store
from keyturn.stores.memory import MemoryStore

SECRET = bytes(range(32))
OTHER_SECRET = bytes(range(1, 33))
ISSUER = "https://example.com"
START = 1_800_000_000


class Clock:
    """Unix time that passes only when it is told to."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    async def sleeping(self, seconds: float) -> None:
        """For an engine that waits."""
        self.sleep(seconds)


def engine(store: Store, clock: Clock, *, policy: Policy | None = None, **options: Any) -> Sessions:
    """Sessions on ``store`` at the clock's time. To be loaded, or entered, by the test."""
    options.setdefault("secrets", [SECRET])
    options.setdefault("issuer", ISSUER)
    options.setdefault("steady_clock", clock)
    options.setdefault("sleep", clock.sleeping)
    return Sessions(store, clock=clock, policy=policy, **options)


@asynccontextmanager
async def loaded(store: Store, clock: Clock, **options: Any) -> AsyncIterator[Sessions]:
    """Sessions with keys and cutoffs read, and nothing running in the background."""
    sessions = engine(store, clock, **options)
    try:
        await sessions.load()
        yield sessions
    finally:
        await sessions.close()


def state_of(store: MemoryStore) -> dict[str, Any]:
    """A backup of the store."""
    return copy.deepcopy({name: value for name, value in vars(store).items() if name != "_changed"})


def restore(store: MemoryStore, backup: dict[str, Any]) -> None:
    """What was done since the backup is lost."""
    vars(store).update(copy.deepcopy(backup))


class Altered:
    """A store that does what another one does, but for the methods of whoever derives from this."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


class Meddling:
    """A store on which things happen right before or after a method, once for each ``before`` or
    ``after`` given.
    """

    lanes = 1
    batch = 64

    def __init__(self, store: Store) -> None:
        self._store = store
        self._before: dict[str, list[Callable[[], Awaitable[object]]]] = {}
        self._after: dict[str, list[Callable[[], Awaitable[object]]]] = {}
        self.calls: list[str] = []

    def before(self, method: str, meddle: Callable[[], Awaitable[object]]) -> None:
        self._before.setdefault(method, []).append(meddle)

    def after(self, method: str, meddle: Callable[[], Awaitable[object]]) -> None:
        self._after.setdefault(method, []).append(meddle)

    def __getattr__(self, method: str) -> Any:
        async def call(*arguments: Any, **named: Any) -> Any:
            self.calls.append(method)
            if self._before.get(method):
                await self._before[method].pop(0)()
            result = await getattr(self._store, method)(*arguments, **named)
            if self._after.get(method):
                await self._after[method].pop(0)()
            return result

        return call
