"""Stores with a mistake each, which the tests of this folder must notice. They are made of a sound
one, of whichever kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from keyturn.core.model import Claims, Cutoff, EndReason, Session
from keyturn.stores.base import Ending, Swap
from tests.support import Altered

__all__ = ["FLAWS"]


class BlindSwap(Altered):
    """Whoever writes last wins, whatever the row has become since it was read."""

    async def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        rows = await self.store.get([swap.old.sid for swap in swaps])
        await self.store.swap([replace(swap, old=rows[swap.old.sid]) for swap in swaps])
        return [True] * len(swaps)


class NoEpochCheck(Altered):
    """A sign-in is never refused for a change that happened meanwhile."""

    async def add(self, session: Session, *, epoch: int, **others: Any) -> list[Cutoff] | None:
        epoch = await self.store.user_epoch(session.user_id)
        return await self.store.add(session, epoch=epoch, **others)


class LateEviction(Altered):
    """Who is beyond the limit is looked up before the sign-in, not in its transaction."""

    async def add(
        self, session: Session, *, limit: int, tokens_until: int, **others: Any
    ) -> list[Cutoff] | None:
        newest_first = await self.store.list_sessions(session.user_id)
        added = await self.store.add(session, limit=1000, tokens_until=tokens_until, **others)
        beyond = [each.sid for each in newest_first[limit - 1 :]]
        evicted = Ending(EndReason.EVICTED, session.created_at, tokens_until)
        return added and added + await self.store.end(beyond, evicted)


class SilentEnd(Altered):
    """No other process learns of an end."""

    async def end(
        self, sids: Sequence[str], ending: Ending, *, generation: int | None = None
    ) -> list[Cutoff]:
        silent = replace(ending, tokens_until=0)
        return await self.store.end(sids, silent, generation=generation)


class SilentClaims(Altered):
    """No other process learns that claims changed."""

    async def set_claims(self, user_id: str, claims: Claims, **others: Any) -> list[Cutoff]:
        return await self.store.set_claims(user_id, claims, **{**others, "tokens_until": 0})


FLAWS: Final = {
    flaw.__name__: flaw for flaw in (BlindSwap, NoEpochCheck, LateEviction, SilentEnd, SilentClaims)
}
