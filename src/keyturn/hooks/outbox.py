"""What hooks are still to be told, in the database of the events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from keyturn.core.errors import ConfigurationError
from keyturn.observing import unobserved
from keyturn.stores import Store, is_postgres, is_sqlite
from keyturn.stores.base import Delivery

__all__ = ["Outbox", "open_outbox"]


class Outbox(Protocol):
    """Deliveries of events to hooks. One is made in the transaction that records the event, for
    each hook there is, so none is missed; it stays until somebody says that it was told.

    As with a ``Store``, a method is one transaction, reads no clock, and raises
    ``StoreUnavailable`` where trying again may help.
    """

    async def subscribe(self, hook: str) -> None:
        """Keep every event that is recorded from now on for ``hook``.

        Raises:
            ConfigurationError: the database can have no hooks.
        """
        ...

    async def unsubscribe(self, hook: str) -> None:
        """Keep nothing for ``hook`` any more, and drop what was kept, in bounded batches. What was
        under way meanwhile is swept.
        """
        ...

    async def subscribed(self) -> list[str]:
        """Every hook that events are kept for, by name."""
        ...

    async def take(self, hook: str, *, now: int, until: int, latest: int) -> Delivery | None:
        """The delivery that has been due for longest, if any is. Nobody else is given it before
        ``until``; then it is due again. What is due after ``latest`` only was put off by a clock
        that was wrong, and is due now.
        """
        ...

    async def drop(self, delivery: Delivery) -> None:
        """It was told."""
        ...

    async def put_off(self, delivery: Delivery, *, due_at: int | None, error: str) -> None:
        """It could not be told once more, and is due again later; with None it is given up. Does
        nothing if somebody else has taken it meanwhile.
        """
        ...

    async def count(self, hook: str) -> tuple[int, int]:
        """How many deliveries are to be told, and how many were given up."""
        ...

    async def oldest(self, hook: str, *, given_up: bool, limit: int) -> list[Delivery]:
        """The oldest of those to be told, or of those given up."""
        ...

    async def retry(self, hook: str, ids: Sequence[str] | None) -> int:
        """Have deliveries that were given up told after all: these, or all. Returns how many."""
        ...

    async def discard(self, hook: str, ids: Sequence[str] | None) -> int:
        """Drop deliveries that were given up: these, or all. Returns how many."""
        ...


def open_outbox(store: Store) -> Outbox:
    """The deliveries in the database of ``store``, which closes them with it.

    Raises:
        ConfigurationError: that kind of store keeps none.
    """
    store = unobserved(store)
    from keyturn.stores.memory import MemoryStore

    if isinstance(store, MemoryStore):
        from .memory import MemoryOutbox

        return MemoryOutbox(store)
    if is_sqlite(store):
        from .sqlite import SQLiteOutbox

        return SQLiteOutbox(store.engine)
    if is_postgres(store):
        from .postgres import PostgresOutbox

        return PostgresOutbox(store.engine)
    raise ConfigurationError("store", "is of a kind that has no hooks")
