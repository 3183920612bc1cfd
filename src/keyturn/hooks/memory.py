"""Deliveries in memory, beside the events of a ``MemoryStore``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from msgspec.structs import replace

from keyturn.stores.base import Delivery
from keyturn.stores.memory import MemoryStore

__all__ = ["MemoryOutbox"]


class MemoryOutbox:
    """An ``Outbox`` that lives as long as its store."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def subscribe(self, hook: str) -> None:
        self._store.hooks[hook] = None

    async def unsubscribe(self, hook: str) -> None:
        self._store.hooks.pop(hook, None)
        for delivery in self._of(hook):
            del self._store.deliveries[delivery.id]

    async def subscribed(self) -> list[str]:
        return sorted(self._store.hooks)

    async def take(self, hook: str, *, now: int, until: int, latest: int) -> Delivery | None:
        waiting = sorted(self._of(hook, given_up=False), key=lambda d: (d.due_at, d.id))
        first = next(
            (d for d in waiting if (d.due_at or 0) <= now or (d.due_at or 0) > latest), None
        )
        if first is None:
            return None
        taken = replace(first, due_at=until)
        self._store.deliveries[taken.id] = taken
        return taken

    async def drop(self, delivery: Delivery) -> None:
        self._store.deliveries.pop(delivery.id, None)

    async def put_off(self, delivery: Delivery, *, due_at: int | None, error: str) -> None:
        held = self._store.deliveries.get(delivery.id)
        if held is not None and held.due_at == delivery.due_at:
            put_off = replace(held, attempts=held.attempts + 1, due_at=due_at, error=error)
            self._store.deliveries[held.id] = put_off

    async def count(self, hook: str) -> tuple[int, int]:
        given_up = len(self._of(hook, given_up=True))
        return len(self._of(hook)) - given_up, given_up

    async def oldest(self, hook: str, *, given_up: bool, limit: int) -> list[Delivery]:
        return list(islice(self._of(hook, given_up=given_up), limit))

    async def retry(self, hook: str, ids: Sequence[str] | None) -> int:
        chosen = self._given_up(hook, ids)
        for delivery in chosen:
            self._store.deliveries[delivery.id] = replace(delivery, attempts=0, due_at=0)
        return len(chosen)

    async def discard(self, hook: str, ids: Sequence[str] | None) -> int:
        chosen = self._given_up(hook, ids)
        for delivery in chosen:
            del self._store.deliveries[delivery.id]
        return len(chosen)

    def _given_up(self, hook: str, ids: Sequence[str] | None) -> Sequence[Delivery]:
        return [d for d in self._of(hook, given_up=True) if ids is None or d.id in ids]

    def _of(self, hook: str, *, given_up: bool | None = None) -> Sequence[Delivery]:
        """In the order in which they were made."""
        return [
            delivery
            for delivery in self._store.deliveries.values()
            if delivery.hook == hook and given_up in (None, delivery.due_at is None)
        ]
