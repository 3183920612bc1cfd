"""The stores of this package keep the laws, and the kit that says so catches who breaks one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from keyturn.core.model import Claims, Cutoff, Event, SealedKey, Session
from keyturn.stores.base import PAST_ALL, Ending, Store, Swap, SweepBounds
from keyturn.stores.conformance import StoreConformance
from keyturn.stores.memory import MemoryStore
from keyturn.stores.sqlite import SQLiteStore


class TestMemoryStore(StoreConformance):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


class TestSQLiteStore(StoreConformance):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[Store]:
        store = await SQLiteStore.open(str(tmp_path / "keyturn.db"), create=True)
        yield store
        await store.close()


class ForgetsTheLimit(MemoryStore):
    async def add(self, session: Session, *, limit: int, **rest: Any) -> list[Cutoff] | None:
        return await super().add(session, limit=limit + 1, **rest)


class EvictsByAgeAlone(MemoryStore):
    def _beyond_limit(self, session: Session, limit: int) -> list[str]:
        others = [other for other in self._living_of(session.user_id) if other.sid != session.sid]
        others.sort(key=lambda other: other.created_at)
        return [other.sid for other in others[: max(0, len(others) - limit + 1)]]


class MayEvictTheNewSession(MemoryStore):
    def _beyond_limit(self, session: Session, limit: int) -> list[str]:
        everyone = sorted(self._living_of(session.user_id), key=lambda other: other.last_used_at)
        return [other.sid for other in everyone[: max(0, len(everyone) - limit)]]


class CountsBeforeItWaits(MemoryStore):
    """Not atomic: what it counted is old by the time it acts."""

    def __init__(self) -> None:
        super().__init__()
        self._counted: dict[str, list[str]] = {}

    async def add(self, session: Session, *, limit: int, **rest: Any) -> list[Cutoff] | None:
        self._counted[session.sid] = super()._beyond_limit(session, limit)
        await asyncio.sleep(0)
        return await super().add(session, limit=limit, **rest)

    def _beyond_limit(self, session: Session, limit: int) -> list[str]:
        return self._counted[session.sid]


class IgnoresTheEpoch(MemoryStore):
    async def add(self, session: Session, *, epoch: int, **rest: Any) -> list[Cutoff] | None:
        return await super().add(session, epoch=self._epochs[session.user_id], **rest)


class LooksAtTheEpochTooEarly(MemoryStore):
    async def add(self, session: Session, *, epoch: int, **rest: Any) -> list[Cutoff] | None:
        if self._epochs[session.user_id] != epoch:
            return None
        await asyncio.sleep(0)
        return await super().add(session, epoch=self._epochs[session.user_id], **rest)


class ReplacesOwnSessionsOnly(MemoryStore):
    async def add(
        self, session: Session, *, replaces: str | None, **rest: Any
    ) -> list[Cutoff] | None:
        older = self._sessions.get(replaces or "")
        if older is not None and older.user_id != session.user_id:
            replaces = None
        return await super().add(session, replaces=replaces, **rest)


class TellsNoSignIn(MemoryStore):
    async def add(self, session: Session, **rest: Any) -> list[Cutoff] | None:
        told = len(self._events)
        cutoffs = await super().add(session, **rest)
        del self._events[told : told + 1]
        return cutoffs


class HidesEndedRows(MemoryStore):
    async def get(self, sids: Sequence[str]) -> dict[str, Session]:
        rows = await super().get(sids)
        return {sid: row for sid, row in rows.items() if row.ended_at is None}


class FoldsUserIds(MemoryStore):
    async def list_sessions(self, user_id: str) -> list[Session]:
        found = [await super(FoldsUserIds, self).list_sessions(other) for other in self._living]
        return [row for rows in found for row in rows if row.user_id.lower() == user_id.lower()]


class ListsOldestFirst(MemoryStore):
    async def list_sessions(self, user_id: str) -> list[Session]:
        return (await super().list_sessions(user_id))[::-1]


class SwapsWithoutComparing(MemoryStore):
    def _swap(self, swap: Swap) -> bool:
        held = self._sessions.get(swap.old.sid, swap.old)
        return super()._swap(replace(swap, old=replace(swap.old, generation=held.generation)))


class RevivesEndedSessions(MemoryStore):
    def _swap(self, swap: Swap) -> bool:
        held = self._sessions.get(swap.old.sid)
        if held is not None and held.generation == swap.old.generation:
            self._sessions[held.sid] = replace(held, ended_at=None)
        return super()._swap(swap)


class SwapsTheWholeRow(MemoryStore):
    def _swap(self, swap: Swap) -> bool:
        won = super()._swap(swap)
        if won:
            self._sessions[swap.new.sid] = swap.new
        return won


class LosesABatchForOneLoser(MemoryStore):
    async def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        held = await self.get([swap.old.sid for swap in swaps])
        if all(swap.old.sid in held for swap in swaps):
            return await super().swap(swaps)
        return [False] * len(swaps)


class TellsOfLosers(MemoryStore):
    async def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        won = await super().swap([replace(swap, event=None) for swap in swaps])
        self._events += [swap.event for swap in swaps if swap.event is not None]
        return won


class AnswersInAnotherOrder(MemoryStore):
    async def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        return sorted(await super().swap(swaps))


class KeepsTheSecret(MemoryStore):
    def _end(self, sids: Any, ending: Ending) -> list[Cutoff]:
        sids = list(sids)
        secrets = {sid: self._sessions[sid].secret for sid in sids if sid in self._sessions}
        cutoffs = super()._end(sids, ending)
        for sid, secret in secrets.items():
            self._sessions[sid] = replace(self._sessions[sid], secret=secret)
        return cutoffs


class LetsTheLastReasonStand(MemoryStore):
    async def end(self, sids: Sequence[str], ending: Ending, **given: Any) -> list[Cutoff]:
        cutoffs = await super().end(sids, ending, **given)
        for sid in sids:
            if sid in self._sessions:
                self._sessions[sid] = replace(self._sessions[sid], end_reason=ending.reason)
        return cutoffs


class EndsWithoutCutoff(MemoryStore):
    async def end(self, sids: Sequence[str], ending: Ending, **given: Any) -> list[Cutoff]:
        cutoffs = await super().end(sids, ending, **given)
        if cutoffs:
            del self._cutoffs[-len(cutoffs) :]
        return cutoffs


class EndsWithoutEvent(MemoryStore):
    async def end(self, sids: Sequence[str], ending: Ending, **given: Any) -> list[Cutoff]:
        told = len(self._events)
        cutoffs = await super().end(sids, ending, **given)
        del self._events[told:]
        return cutoffs


class EndsTheKeptOne(MemoryStore):
    async def end_user(self, user_id: str, keep: str | None, ending: Ending) -> list[Cutoff]:
        return await super().end_user(user_id, None, ending)


class EndsUsersAtTheirEpoch(MemoryStore):
    async def end_user(self, user_id: str, keep: str | None, ending: Ending) -> list[Cutoff]:
        self._epochs[user_id] -= 1
        return await super().end_user(user_id, keep, ending)


class RaisesNoEpochWithoutSessions(MemoryStore):
    async def end_user(self, user_id: str, keep: str | None, ending: Ending) -> list[Cutoff]:
        self._epochs[user_id] -= not self._living_of(user_id)
        return await super().end_user(user_id, keep, ending)


class SetsTheLeastVersion(MemoryStore):
    async def set_claims(self, user_id: str, claims: Claims, **rest: Any) -> list[Cutoff]:
        cutoffs = await super().set_claims(user_id, claims, **rest)
        for session in self._living_of(user_id):
            lower = replace(session, version=rest["least_version"])
            self._sessions[session.sid] = lower
        return cutoffs


class LowersVersions(MemoryStore):
    async def raise_version(self, sid: str, above: int) -> int | None:
        if await super().raise_version(sid, above) is None:
            return None
        self._sessions[sid] = replace(self._sessions[sid], version=above + 1)
        return above + 1


class ForgetsTheEmergency(MemoryStore):
    async def void_all(self, issued_until: int, tokens_until: int) -> Cutoff:
        return Cutoff(None, issued_until, tokens_until)


class KeepsCutoffsAsLongAsTold(MemoryStore):
    def _record_cutoffs(self, cutoffs: list[Cutoff]) -> list[Cutoff]:
        longest, self._longest_access_ttl = self._longest_access_ttl, 0
        recorded = super()._record_cutoffs(cutoffs)
        self._longest_access_ttl = longest
        return recorded


class TellsExpiredCutoffs(MemoryStore):
    async def cutoffs(self, cursor: int | None, now: int) -> tuple[int, list[Cutoff]]:
        return await super().cutoffs(cursor, 0)


class TellsACursorTooFar(MemoryStore):
    async def cutoffs(self, cursor: int | None, now: int) -> tuple[int, list[Cutoff]]:
        newest, cutoffs = await super().cutoffs(cursor, now)
        return newest + 1, cutoffs


class UsesCutoffIdsAgain(MemoryStore):
    async def sweep(self, bounds: SweepBounds, *, after: str, limit: int) -> tuple[int, str]:
        swept = await super().sweep(bounds, after=after, limit=limit)
        self._cutoff_id = max((number for number, _ in self._cutoffs), default=0)
        return swept


class SleepsOverChanges(MemoryStore):
    async def wait_for_change(self, seconds: float) -> None:
        self._changed.clear()
        await super().wait_for_change(seconds)


class TellsOldestEventsFirst(MemoryStore):
    async def events(self, *, limit: int, **whose: Any) -> list[Event]:
        return (await super().events(limit=10**6, **whose))[::-1][:limit]


class AddsAnyKey(MemoryStore):
    async def add_signing_key(self, key: SealedKey, *, after: str | None) -> bool:
        return await super().add_signing_key(key, after=next(reversed(self._signing_keys), None))


class ReplacesAnyKey(MemoryStore):
    async def replace_signing_key(self, old: SealedKey, new: SealedKey) -> bool:
        return await super().replace_signing_key(self._signing_keys.get(old.kid, old), new)


class ReplacesTheSealAlone(MemoryStore):
    async def replace_signing_key(self, old: SealedKey, new: SealedKey) -> bool:
        return await super().replace_signing_key(old, replace(old, sealed=new.sealed))


class PutsAReplacedKeyLast(MemoryStore):
    async def replace_signing_key(self, old: SealedKey, new: SealedKey) -> bool:
        replaced = await super().replace_signing_key(old, new)
        if replaced:
            self._signing_keys[new.kid] = self._signing_keys.pop(new.kid)
        return replaced


class SleepsOverChangesOfKeys(MemoryStore):
    async def drop_signing_keys(self, kids: Sequence[str], *, beside: str) -> bool:
        woken = self._changed.is_set()
        dropped = await super().drop_signing_keys(kids, beside=beside)
        if not woken:
            self._changed.clear()
        return dropped


class DropsKeysBesideNone(MemoryStore):
    async def drop_signing_keys(self, kids: Sequence[str], *, beside: str) -> bool:
        for kid in kids:
            self._signing_keys.pop(kid, None)
        self._changed.set()
        return True


class DropsNothingForTheUnknown(MemoryStore):
    async def drop_signing_keys(self, kids: Sequence[str], *, beside: str) -> bool:
        known = all(kid in self._signing_keys for kid in kids)
        return await super().drop_signing_keys(kids if known else (), beside=beside)


class SweepsTooMuch(MemoryStore):
    async def sweep(self, bounds: SweepBounds, *, after: str, limit: int) -> tuple[int, str]:
        return await super().sweep(bounds, after=after, limit=10**6)


class SweepsTheFirstPageOnly(MemoryStore):
    async def sweep(self, bounds: SweepBounds, *, after: str, limit: int) -> tuple[int, str]:
        deleted, _ = await super().sweep(bounds, after="", limit=limit)
        return deleted, ""


class EndsTheSweepWithTheSessions(MemoryStore):
    async def sweep(self, bounds: SweepBounds, *, after: str, limit: int) -> tuple[int, str]:
        deleted, rest = await super().sweep(bounds, after=after, limit=limit)
        return deleted, "" if rest == PAST_ALL else rest


class EndsWhateverItsGeneration(MemoryStore):
    async def end(self, sids: Sequence[str], ending: Ending, **_: Any) -> list[Cutoff]:
        return await super().end(sids, ending)


class ForgetsTheLongestLife(MemoryStore):
    async def longest_access_ttl(self, at_least: int) -> int:
        self._longest_access_ttl = at_least or self._longest_access_ttl
        return self._longest_access_ttl


class SweepsASecondEarly(MemoryStore):
    async def sweep(self, bounds: SweepBounds, *, after: str, limit: int) -> tuple[int, str]:
        early = replace(bounds, last_used=bounds.last_used + 1, events=bounds.events + 1)
        return await super().sweep(early, after=after, limit=limit)


class SweepsByAgeInsteadOfUse(MemoryStore):
    async def sweep(self, bounds: SweepBounds, *, after: str, limit: int) -> tuple[int, str]:
        strict = replace(bounds, created=max(bounds.created, bounds.last_used))
        return await super().sweep(strict, after=after, limit=limit)


BROKEN_STORES = [
    store
    for store in globals().values()
    if isinstance(store, type) and issubclass(store, MemoryStore) and store is not MemoryStore
]


async def broken_laws(make_store: Callable[[], Store]) -> list[str]:
    kit = StoreConformance()
    kit.patience = 0.05
    broken = []
    for name in (name for name in dir(kit) if name.startswith("test_")):
        law: Callable[[Store], Awaitable[None]] = getattr(kit, name)
        try:
            await law(make_store())
        except (AssertionError, TimeoutError):
            broken.append(name)
    return broken


@pytest.mark.parametrize("broken", BROKEN_STORES, ids=lambda store: store.__name__)
async def test_the_kit_catches_a_broken_store(broken: type[MemoryStore]) -> None:
    """Each bug planted into a sound store breaks a law."""
    assert await broken_laws(broken) != []


async def test_the_kit_finds_no_fault_in_a_sound_store() -> None:
    """So what it says of the broken ones is not its habit."""
    assert await broken_laws(MemoryStore) == []
