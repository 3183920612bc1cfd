"""What differs between the two layouts of the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from keyturn.core.model import Claims, Cutoff, EndReason, Event, Session
from keyturn.stores.base import Swap, SweepBounds

from .connecting import Connection

__all__ = ["Layout"]


class Layout(Protocol):
    """What is asked of PostgreSQL in another way where an engine shards the tables. Two modules are
    one: ``gathered``, which asks for many rows at once, and ``sharded``, which asks for each alone.

    All but ``get`` and ``swap`` are for within a transaction.
    """

    async def get(self, connection: Connection, sids: Sequence[str], /) -> dict[str, Session]:
        """As ``Store.get``."""
        ...

    async def swap(self, connection: Connection, swaps: Sequence[Swap], /) -> list[bool]:
        """As ``Store.swap``. In a transaction, unless it ``is_one_statement``."""
        ...

    def is_one_statement(self, swaps: Sequence[Swap], /) -> bool:
        """Whether ``swap`` makes a single statement of them."""
        ...

    async def add_session(
        self, connection: Connection, session: Session, /, *, limit: int, replaces: str | None
    ) -> list[str]:
        """Add the session, record that it began, and return the ids of the sessions that its user
        has beyond ``limit``, without the one that it ``replaces``. The user is locked.
        """
        ...

    async def end_each(
        self,
        connection: Connection,
        reasons: Mapping[str, EndReason],
        /,
        *,
        at: int,
        tokens_until: int,
        generation: int | None = None,
    ) -> list[Cutoff]:
        """As ``Store.end``, each session for its own reason."""
        ...

    async def change_claims(
        self,
        connection: Connection,
        user_id: str,
        claims: Claims,
        /,
        *,
        least_version: int,
        tokens_until: int,
    ) -> list[Cutoff]:
        """As ``Store.set_claims``, but for the event and the epoch."""
        ...

    async def lock_user(self, connection: Connection, user_id: str, /) -> int:
        """Wait until nobody else changes which sessions the user has, and keep others from it.
        Returns the user's epoch.
        """
        ...

    async def raise_epoch(self, connection: Connection, user_id: str, /) -> None:
        """As ``lock_user``, and raise the epoch."""
        ...

    async def record_event(self, connection: Connection, event: Event, /) -> None:
        """Record that something happened to a session or a user."""
        ...

    async def sweep_sessions(
        self, connection: Connection, page: Sequence[str], bounds: SweepBounds, /
    ) -> int:
        """Delete those of the page that are old. Returns how many."""
        ...

    async def sweep_events(self, connection: Connection, limit: int, before: int, /) -> int:
        """Delete those of the ``limit`` oldest events that are from ``before`` that time. Returns
        how many.
        """
        ...
