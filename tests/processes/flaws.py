"""Stores with a mistake each, which the tests of this folder must notice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import apsw
from msgspec.structs import replace

from keyturn.core.model import Claims, Cutoff, Session
from keyturn.stores.base import Ending, Swap
from keyturn.stores.sqlite import SQLiteStore

__all__ = ["FLAWS"]


class BlindSwap(SQLiteStore):
    """Whoever writes last wins, whatever the row has become since it was read."""

    async def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        return await self.engine.write(lambda connection: _overwrite(connection, swaps))


def _overwrite(connection: apsw.Connection, swaps: Sequence[Swap]) -> list[bool]:
    for swap in swaps:
        new = swap.new
        connection.execute(
            "UPDATE session SET generation = ?, parent = ?, first_child = ?, previous_parent = ?,"
            " turned_at = ? WHERE sid = ?",
            (
                new.generation,
                new.parent,
                new.first_child,
                new.previous_parent,
                new.turned_at,
                new.sid,
            ),
        )
    return [True] * len(swaps)


class NoEpochCheck(SQLiteStore):
    """A sign-in is never refused for a change that happened meanwhile."""

    async def add(self, session: Session, *, epoch: int, **others: Any) -> list[Cutoff] | None:
        epoch = await self.user_epoch(session.user_id)
        return await super().add(session, epoch=epoch, **others)


class SilentEnd(SQLiteStore):
    """No other process learns of an end."""

    async def end(
        self, sids: Sequence[str], ending: Ending, *, generation: int | None = None
    ) -> list[Cutoff]:
        silent = replace(ending, cutoffs_until=0)
        return await super().end(sids, silent, generation=generation)


class SilentClaims(SQLiteStore):
    """No other process learns that claims changed."""

    async def set_claims(self, user_id: str, claims: Claims, **others: Any) -> list[Cutoff]:
        return await super().set_claims(user_id, claims, **{**others, "cutoffs_until": 0})


FLAWS: Final = {flaw.__name__: flaw for flaw in (BlindSwap, NoEpochCheck, SilentEnd, SilentClaims)}
