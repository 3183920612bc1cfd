"""The store in a PostgreSQL database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Self

from keyturn.core.model import Claims, Cutoff, Event, SealedKey, Session
from keyturn.stores.base import Ending, Swap, SweepBounds

from . import gathered, sharded, statements
from .connecting import Connector
from .engine import BESIDE_EXCHANGES, Engine
from .layouts import Layout
from .listening import Listener
from .opening import prepared

__all__ = ["PostgresStore", "connections_of_process"]

_POLL_SECONDS: Final = 0.5
"""A wait for cutoffs ends after this in any case, as a notification may never come."""
_LANES: Final = 2
"""So that while one call waits for its commit, or for a lock, the other goes on."""
_SHARDED_LANES: Final = 8
"""Each call is of one session, and takes a millisecond or two with the way to its node and back:
together they carry some thousands a second, about what a process can ask for.
"""


def connections_of_process(connector: Connector) -> int:
    """How many connections a process holds at most: in each lane of exchanges one that reads and
    one that writes, those of all else, and one that listens where that is possible.
    """
    lanes = _SHARDED_LANES if connector.sharded else _LANES
    return 2 * lanes + BESIDE_EXCHANGES + connector.direct


class PostgresStore:
    """Keeps sessions in a database, as ``keyturn.stores.base.Store`` says. Each call is a
    transaction and a commit of its own, so gather many sessions in one where there are many; but
    where an engine shards them, those of one commit would be on many nodes.
    """

    def __init__(self, connector: Connector) -> None:
        self.layout: Layout = sharded if connector.sharded else gathered
        self.batch = 1 if connector.sharded else 64
        self.lanes = _SHARDED_LANES if connector.sharded else _LANES
        self.engine = Engine(connector, exchanges=2 * self.lanes)  # of get, and of swap
        self._listener = Listener(connector)
        self._server: datetime | None = None

    @classmethod
    async def open(cls, url: str, *, create: bool = False, sharded: bool = False) -> Self:
        """Open the database that ``url`` names; ``create`` makes its tables, or brings them up to
        date. The database itself must exist.

        ``sharded`` sees that its tables are laid out for an engine that shards them: with
        ``create`` those that there are, too, and with Citus they are distributed. It is recorded
        there, so whoever opens the database later need not say it.

        Raises:
            ConfigurationError: the URL cannot be read, is refused by the server, or names a
                database that is foreign, of another release, or without tables that were not to be
                made, or not sharded when it was not to be changed. Nothing was changed.
            StoreUnavailable: the server does not answer, or cannot be written.
        """
        return cls(await prepared(url, create=create, sharded=sharded))

    async def add(
        self, session: Session, *, limit: int, replaces: str | None, epoch: int, tokens_until: int
    ) -> list[Cutoff] | None:
        return await self.engine.transact(
            lambda connection: statements.add(
                connection,
                self.layout,
                session,
                limit=limit,
                replaces=replaces,
                epoch=epoch,
                tokens_until=tokens_until,
            )
        )

    async def user_epoch(self, user_id: str) -> int:
        return await self.engine.run(lambda connection: statements.user_epoch(connection, user_id))

    async def get(self, sids: Sequence[str]) -> dict[str, Session]:
        return await self.engine.run_batch(lambda connection: self.layout.get(connection, sids))

    async def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        if not swaps:
            return []
        run = self.engine.run_batch if self.layout.is_one_statement(swaps) else self.engine.transact
        return await run(lambda connection: self.layout.swap(connection, swaps))

    async def list_sessions(self, user_id: str) -> list[Session]:
        return await self.engine.run(
            lambda connection: statements.list_sessions(connection, user_id)
        )

    async def living(self, *, since: int, after: str, limit: int) -> tuple[list[str], str]:
        return await self.engine.run(
            lambda connection: statements.living(connection, since=since, after=after, limit=limit)
        )

    async def end(
        self, sids: Sequence[str], ending: Ending, *, generation: int | None = None
    ) -> list[Cutoff]:
        return await self.engine.transact(
            lambda connection: statements.end(
                connection, self.layout, sids, ending, generation=generation
            )
        )

    async def end_user(self, user_id: str, keep: str | None, ending: Ending) -> list[Cutoff]:
        return await self.engine.transact(
            lambda connection: statements.end_user(connection, self.layout, user_id, keep, ending)
        )

    async def set_claims(
        self, user_id: str, claims: Claims, *, at: int, least_version: int, tokens_until: int
    ) -> list[Cutoff]:
        return await self.engine.transact(
            lambda connection: statements.set_claims(
                connection,
                self.layout,
                user_id,
                claims,
                at=at,
                least_version=least_version,
                tokens_until=tokens_until,
            )
        )

    async def raise_version(self, sid: str, above: int) -> int | None:
        return await self.engine.run(
            lambda connection: statements.raise_version(connection, sid, above)
        )

    async def void_all(self, issued_until: int, tokens_until: int) -> Cutoff:
        return await self.engine.run(
            lambda connection: statements.void_all(connection, issued_until, tokens_until)
        )

    async def longest_access_ttl(self, at_least: int) -> int:
        """Written only where it rises, as every process asks once a minute."""
        recorded = await self.engine.follow(statements.longest_access_ttl)
        if recorded >= at_least:
            return recorded
        return await self.engine.run(
            lambda connection: statements.raise_access_ttl(connection, at_least)
        )

    async def cutoffs(self, cursor: int | None, now: int) -> tuple[int, list[Cutoff]]:
        """After a failover or a restore the numbers of transactions begin anew somewhere lower, so
        from a server that was started since the last call all cutoffs are told.
        """
        server, next_cursor, news = await self._cutoffs(cursor or 0, now)
        if server != self._server:
            server, next_cursor, news = await self._cutoffs(0, now)
            self._server = server
        return next_cursor, news

    async def _cutoffs(self, cursor: int, now: int) -> tuple[datetime, int, list[Cutoff]]:
        return await self.engine.follow(
            lambda connection: statements.cutoffs(connection, cursor, now)
        )

    async def wait_for_change(self, seconds: float) -> None:
        """Ends early without news: nothing is known of those whose notification was lost."""
        await self._listener.wait(min(seconds, _POLL_SECONDS))

    async def events(
        self, *, sid: str | None = None, user_id: str | None = None, limit: int
    ) -> list[Event]:
        if sid is not None:
            return await self.engine.run(
                lambda connection: statements.events_of_session(connection, sid, limit)
            )
        if user_id is not None:
            return await self.engine.run(
                lambda connection: statements.events_of_user(connection, user_id, limit)
            )
        return []

    async def signing_keys(self) -> list[SealedKey]:
        return await self.engine.follow(statements.signing_keys)

    async def add_signing_key(self, key: SealedKey, *, after: str | None) -> bool:
        return await self.engine.run(
            lambda connection: statements.add_signing_key(connection, key, after=after)
        )

    async def replace_signing_key(self, old: SealedKey, new: SealedKey) -> bool:
        return await self.engine.run(
            lambda connection: statements.replace_signing_key(connection, old, new)
        )

    async def drop_signing_keys(self, kids: Sequence[str], *, beside: str) -> bool:
        return await self.engine.run(
            lambda connection: statements.drop_signing_keys(connection, kids, beside=beside)
        )

    async def sweep(self, bounds: SweepBounds, *, after: str, limit: int) -> tuple[int, str]:
        return await self.engine.transact(
            lambda connection: statements.sweep(
                connection, self.layout, bounds, after=after, limit=limit
            )
        )

    async def check(self) -> None:
        await self.engine.run(statements.check)

    async def close(self) -> None:
        await self._listener.close()
        await self.engine.close()
