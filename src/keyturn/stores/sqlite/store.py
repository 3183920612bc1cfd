"""The store in one SQLite file."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Self

import apsw

from keyturn.core.model import Claims, Cutoff, Event, SealedKey, Session
from keyturn.stores.base import Ending, Swap, SweepBounds

from . import statements
from .engine import Engine

__all__ = ["SQLiteStore"]

_POLL_SECONDS: Final = 0.1


class SQLiteStore:
    """Keeps sessions in a file, as ``keyturn.stores.base.Store`` says. Each call is a transaction
    and a commit of its own, so gather many sessions in one where there are many.
    """

    lanes = 1  # as one writes at a time
    batch = 64

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._seen_version: int | None = None

    @classmethod
    async def open(cls, path: str, *, create: bool = False) -> Self:
        """Open the file at ``path``, or make it if it is absent and ``create`` says so.

        Raises:
            ConfigurationError: it is absent, foreign, damaged, cannot be written, or of another
                release. Nothing was changed.
            StoreUnavailable: the disk failed, or another process kept the file locked.
        """
        return cls(await Engine.open(path, create=create))

    async def add(
        self, session: Session, *, limit: int, replaces: str | None, epoch: int, tokens_until: int
    ) -> list[Cutoff] | None:
        return await self.engine.write(
            lambda connection: statements.add(
                connection,
                session,
                limit=limit,
                replaces=replaces,
                epoch=epoch,
                tokens_until=tokens_until,
            )
        )

    async def user_epoch(self, user_id: str) -> int:
        return await self.engine.read(lambda connection: statements.user_epoch(connection, user_id))

    async def get(self, sids: Sequence[str]) -> dict[str, Session]:
        return await self.engine.read_batch(lambda connection: statements.get(connection, sids))

    async def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        return await self.engine.write(lambda connection: statements.swap(connection, swaps))

    async def list_sessions(self, user_id: str) -> list[Session]:
        return await self.engine.read(
            lambda connection: statements.list_sessions(connection, user_id)
        )

    async def living(self, *, since: int, after: str, limit: int) -> tuple[list[str], str]:
        return await self.engine.read(
            lambda connection: statements.living(connection, since=since, after=after, limit=limit)
        )

    async def end(
        self, sids: Sequence[str], ending: Ending, *, generation: int | None = None
    ) -> list[Cutoff]:
        return await self.engine.write(
            lambda connection: statements.end(connection, sids, ending, generation=generation)
        )

    async def end_user(self, user_id: str, keep: str | None, ending: Ending) -> list[Cutoff]:
        return await self.engine.write(
            lambda connection: statements.end_user(connection, user_id, keep, ending)
        )

    async def set_claims(
        self, user_id: str, claims: Claims, *, at: int, least_version: int, tokens_until: int
    ) -> list[Cutoff]:
        return await self.engine.write(
            lambda connection: statements.set_claims(
                connection,
                user_id,
                claims,
                at=at,
                least_version=least_version,
                tokens_until=tokens_until,
            )
        )

    async def raise_version(self, sid: str, above: int) -> int | None:
        return await self.engine.write(
            lambda connection: statements.raise_version(connection, sid, above)
        )

    async def void_all(self, issued_until: int, tokens_until: int) -> Cutoff:
        return await self.engine.write(
            lambda connection: statements.void_all(connection, issued_until, tokens_until)
        )

    async def longest_access_ttl(self, at_least: int) -> int:
        """Written only where it rises, as every process asks once a minute."""
        recorded = await self.engine.follow(statements.longest_access_ttl)
        if recorded >= at_least:
            return recorded
        return await self.engine.write(
            lambda connection: statements.raise_access_ttl(connection, at_least)
        )

    async def cutoffs(self, cursor: int | None, now: int) -> tuple[int, list[Cutoff]]:
        return await self.engine.follow(
            lambda connection: statements.cutoffs(connection, cursor, now)
        )

    async def wait_for_change(self, seconds: float) -> None:
        """Any commit counts as a change, as SQLite does not tell which tables it was about."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (version := await self.engine.data_version()) == self._seen_version:
            if (left := until - loop.time()) <= 0:
                return
            await asyncio.sleep(min(_POLL_SECONDS, left))
        self._seen_version = version

    async def events(
        self, *, sid: str | None = None, user_id: str | None = None, limit: int
    ) -> list[Event]:
        if sid is not None:
            return await self.engine.read(
                lambda connection: statements.events_of_session(connection, sid, limit)
            )
        if user_id is not None:
            return await self.engine.read(
                lambda connection: statements.events_of_user(connection, user_id, limit)
            )
        return []

    async def signing_keys(self) -> list[SealedKey]:
        return await self.engine.follow(statements.signing_keys)

    async def add_signing_key(self, key: SealedKey, *, after: str | None) -> bool:
        return await self.engine.write(
            lambda connection: statements.add_signing_key(connection, key, after=after)
        )

    async def replace_signing_key(self, old: SealedKey, new: SealedKey) -> bool:
        return await self.engine.write(
            lambda connection: statements.replace_signing_key(connection, old, new)
        )

    async def drop_signing_keys(self, kids: Sequence[str], *, beside: str) -> bool:
        return await self.engine.write(
            lambda connection: statements.drop_signing_keys(connection, kids, beside=beside)
        )

    async def sweep(self, bounds: SweepBounds, *, after: str, limit: int) -> tuple[int, str]:
        return await self.engine.write(
            lambda connection: statements.sweep(connection, bounds, after=after, limit=limit)
        )

    async def check(self) -> None:
        await self.engine.look()
        await self.engine.write(_write_header)

    async def close(self) -> None:
        await self.engine.close()


def _write_header(connection: apsw.Connection) -> None:
    """A real commit that changes nothing: the version number that we leave at 0."""
    connection.pragma("user_version", 0)
