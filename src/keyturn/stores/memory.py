"""The store in memory: for tests, and for one process that may forget everything when it ends."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from heapq import nsmallest
from itertools import islice
from typing import TypeVar

from msgspec.structs import replace

from keyturn.core.model import (
    ALL_VERSIONS,
    Claims,
    Cutoff,
    Device,
    EndReason,
    Event,
    EventKind,
    SealedKey,
    Session,
)

from .base import PAST_ALL, Delivery, Ending, Swap, SweepBounds, lasting, sign_in_of

__all__ = ["MemoryStore"]

Row = TypeVar("Row")


class MemoryStore:
    """Keeps sessions as ``keyturn.stores.base.Store`` says, durable as long as the process.

    A method is a transaction because it awaits nothing.
    """

    lanes = 1
    batch = 64

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._living: dict[str, dict[str, None]] = {}  # sids of each user, in order of sign-in
        self._epochs: Counter[str] = Counter()
        self._cutoffs: list[tuple[int, Cutoff]] = []
        self._cutoff_id = 0
        self._longest_access_ttl = 0
        self._events: list[Event] = []
        self.hooks: dict[str, None] = {}
        self.deliveries: dict[str, Delivery] = {}
        self._delivery_number = 0
        self._signing_keys: dict[str, SealedKey] = {}
        self._changed = asyncio.Event()

    # ── sessions ────────────────────────────────────────────────────────────────────────────────

    async def add(
        self, session: Session, *, limit: int, replaces: str | None, epoch: int, tokens_until: int
    ) -> list[Cutoff] | None:
        if self._epochs[session.user_id] != epoch:
            return None
        self._sessions[session.sid] = session
        self._living.setdefault(session.user_id, {})[session.sid] = None
        self.record_event(sign_in_of(session))
        replaced = Ending(EndReason.REPLACED, session.created_at, tokens_until)
        ended = self._end([] if replaces is None else [replaces], replaced)
        evicted = Ending(EndReason.EVICTED, session.created_at, tokens_until)
        return ended + self._end(self._beyond_limit(session, limit), evicted)

    def _beyond_limit(self, session: Session, limit: int) -> list[str]:
        others = [other for other in self._living_of(session.user_id) if other.sid != session.sid]
        others.sort(key=lambda other: other.last_used_at)
        return [other.sid for other in others[: max(0, len(others) - limit + 1)]]

    async def get(self, sids: Sequence[str]) -> dict[str, Session]:
        return {sid: self._sessions[sid] for sid in sids if sid in self._sessions}

    async def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        return [self._swap(swap) for swap in swaps]

    def _swap(self, swap: Swap) -> bool:
        held = self._sessions.get(swap.old.sid)
        if held is None or held.ended_at is not None or held.generation != swap.old.generation:
            return False
        self._sessions[held.sid] = replace(
            held,
            generation=swap.new.generation,
            parent=swap.new.parent,
            first_child=swap.new.first_child,
            previous_parent=swap.new.previous_parent,
            turned_at=swap.new.turned_at,
            used_before=swap.new.used_before,
        )
        if swap.event is not None:
            self.record_event(swap.event)
        return True

    async def list_sessions(self, user_id: str) -> list[Session]:
        newest_last = sorted(self._living_of(user_id), key=lambda session: session.created_at)
        return newest_last[::-1]

    async def raise_version(self, sid: str, above: int) -> int | None:
        session = self._sessions.get(sid)
        if session is None or session.ended_at is not None:
            return None
        version = max(session.version, above + 1)
        self._sessions[sid] = replace(session, version=version)
        return version

    def _living_of(self, user_id: str) -> list[Session]:
        return [self._sessions[sid] for sid in self._living.get(user_id, ())]

    # ── ends and changes ────────────────────────────────────────────────────────────────────────

    async def living(self, *, since: int, after: str, limit: int) -> tuple[list[str], str]:
        page = self._page(after, limit)
        rows = map(self._sessions.__getitem__, page)
        wanted = [row.sid for row in rows if row.ended_at is None and row.last_used_at >= since]
        return wanted, page[-1] if len(page) == limit else ""

    def _page(self, after: str, limit: int) -> list[str]:
        return nsmallest(limit, (sid for sid in self._sessions if sid > after))

    async def end(
        self, sids: Sequence[str], ending: Ending, *, generation: int | None = None
    ) -> list[Cutoff]:
        if generation is not None:
            rows = await self.get(sids)
            sids = [sid for sid, row in rows.items() if row.generation == generation]
        return self._end(sids, ending)

    async def end_user(self, user_id: str, keep: str | None, ending: Ending) -> list[Cutoff]:
        self._epochs[user_id] += 1
        living = [session.sid for session in self._living_of(user_id)]
        return self._end([sid for sid in living if sid != keep], ending)

    def _end(self, sids: Iterable[str], ending: Ending) -> list[Cutoff]:
        living = [
            session
            for sid in dict.fromkeys(sids)
            if (session := self._sessions.get(sid)) and session.ended_at is None
        ]
        for session in living:
            self._sessions[session.sid] = replace(
                session, secret=None, ended_at=ending.at, end_reason=ending.reason
            )
            del self._living[session.user_id][session.sid]
            self.record_event(
                Event(
                    at=ending.at,
                    kind=EventKind.ENDED,
                    user_id=session.user_id,
                    sid=session.sid,
                    reason=ending.reason,
                )
            )
        return self._record_cutoffs(
            [
                Cutoff(session.sid, ALL_VERSIONS, ending.tokens_until, ending.reason)
                for session in living
            ]
        )

    async def set_claims(
        self, user_id: str, claims: Claims, *, at: int, least_version: int, tokens_until: int
    ) -> list[Cutoff]:
        self._epochs[user_id] += 1
        self.record_event(Event(at=at, kind=EventKind.CLAIMS_CHANGED, user_id=user_id))
        cutoffs = []
        for session in self._living_of(user_id):
            version = max(session.version + 1, least_version)
            self._sessions[session.sid] = replace(session, claims=claims, version=version)
            cutoffs.append(Cutoff(session.sid, version - 1, tokens_until))
        return self._record_cutoffs(cutoffs)

    async def user_epoch(self, user_id: str) -> int:
        return self._epochs[user_id]

    # ── cutoffs and events ──────────────────────────────────────────────────────────────────────

    async def void_all(self, issued_until: int, tokens_until: int) -> Cutoff:
        return self._record_cutoffs([Cutoff(None, issued_until, tokens_until)])[0]

    async def longest_access_ttl(self, at_least: int) -> int:
        self._longest_access_ttl = max(self._longest_access_ttl, at_least)
        return self._longest_access_ttl

    async def cutoffs(self, cursor: int | None, now: int) -> tuple[int, list[Cutoff]]:
        past = cursor or 0
        return self._cutoff_id, [
            cutoff for number, cutoff in self._cutoffs if number > past and cutoff.expires_at > now
        ]

    async def wait_for_change(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # wait_for of 3.11 may swallow a cancellation
                await self._changed.wait()
        self._changed.clear()

    def record_event(self, event: Event) -> None:
        """Record that something happened to a session or a user, and that hooks are to be told."""
        self._events.append(event)
        for hook in self.hooks:
            self._delivery_number += 1
            delivery_id = f"{self._delivery_number:032x}"
            self.deliveries[delivery_id] = Delivery(
                id=delivery_id, hook=hook, event=event, due_at=event.at
            )

    async def events(
        self, *, sid: str | None = None, user_id: str | None = None, limit: int
    ) -> list[Event]:
        if sid is not None:
            found = [event for event in self._events if event.sid == sid]
        else:
            found = [event for event in self._events if event.user_id == user_id]
        return found[::-1][:limit]

    def forget_user(self, user_id: str) -> None:
        """Keep nothing of a user who is gone but the id. None of their sessions lives."""
        self._events = [_without_device(event, user_id) for event in self._events]
        self.deliveries = {
            delivery.id: _forgetful(delivery, user_id) for delivery in self.deliveries.values()
        }
        for session in self._sessions.values():
            if session.user_id == user_id:
                self._sessions[session.sid] = replace(session, claims=Claims(), device=Device())

    def _record_cutoffs(self, cutoffs: list[Cutoff]) -> list[Cutoff]:
        recorded = lasting(cutoffs, self._longest_access_ttl)
        for cutoff in recorded:
            self._cutoff_id += 1
            self._cutoffs.append((self._cutoff_id, cutoff))
            self._changed.set()
        return recorded

    # ── signing keys ────────────────────────────────────────────────────────────────────────────

    async def signing_keys(self) -> list[SealedKey]:
        return list(self._signing_keys.values())

    async def add_signing_key(self, key: SealedKey, *, after: str | None) -> bool:
        if next(reversed(self._signing_keys), None) != after:
            return False
        self._signing_keys[key.kid] = key
        self._changed.set()
        return True

    async def replace_signing_key(self, old: SealedKey, new: SealedKey) -> bool:
        if self._signing_keys.get(old.kid) != old:
            return False
        self._signing_keys[old.kid] = new
        self._changed.set()
        return True

    async def drop_signing_keys(self, kids: Sequence[str], *, beside: str) -> bool:
        if beside not in self._signing_keys:
            return False
        for kid in kids:
            self._signing_keys.pop(kid, None)
        self._changed.set()
        return True

    # ── upkeep ──────────────────────────────────────────────────────────────────────────────────

    async def sweep(self, bounds: SweepBounds, *, after: str, limit: int) -> tuple[int, str]:
        page = self._page(after, limit)
        old = [sid for sid in page if _is_old(self._sessions[sid], bounds)]
        for sid in old:
            session = self._sessions.pop(sid)
            self._living.get(session.user_id, {}).pop(sid, None)
        others = _drop(self._cutoffs, limit, lambda row: row[1].expires_at < bounds.cutoffs)
        others += _drop(self._events, limit, lambda event: event.at < bounds.events)
        others += self._sweep_deliveries(limit, bounds.events)
        rest = PAST_ALL if others else ""
        return len(old) + others, page[-1] if len(page) == limit else rest

    def _sweep_deliveries(self, limit: int, before: int) -> int:
        oldest = list(islice(self.deliveries.values(), limit))
        old = [d.id for d in oldest if d.event.at < before or d.hook not in self.hooks]
        for delivery_id in old:
            del self.deliveries[delivery_id]
        return len(old)

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        return None


def _without_device(event: Event, user_id: str) -> Event:
    return replace(event, device=Device()) if event.user_id == user_id else event


def _forgetful(delivery: Delivery, user_id: str) -> Delivery:
    if delivery.event.user_id != user_id:
        return delivery
    return replace(delivery, event=_without_device(delivery.event, user_id), error="")


def _drop(rows: list[Row], limit: int, is_old: Callable[[Row], bool]) -> int:
    """Delete the old ones of the first ``limit`` rows. Returns how many that were."""
    looked_at = rows[:limit]
    rows[:limit] = [row for row in looked_at if not is_old(row)]
    return sum(map(is_old, looked_at))


def _is_old(session: Session, bounds: SweepBounds) -> bool:
    return (
        (session.ended_at is not None and session.ended_at < bounds.ended)
        or session.created_at < bounds.created
        or session.last_used_at < bounds.last_used
    )
