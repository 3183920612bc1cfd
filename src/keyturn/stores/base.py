"""The contract of a store. Whatever keeps it, as ``keyturn.stores.conformance`` checks, will do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import msgspec
from msgspec import structs

from keyturn.core.model import Claims, Cutoff, EndReason, Event, EventKind, SealedKey, Session

__all__ = [
    "FORKED",
    "PAST_ALL",
    "ClaimsChange",
    "Delivery",
    "Ending",
    "Store",
    "Swap",
    "SweepBounds",
    "lasting",
    "sign_in_of",
]

PAST_ALL: Final = "~"
"""Sorts after every id of a session: where a sweep goes on that has cutoffs and events left."""


FORKED: Final = "The database was opened before this process was forked: open it in each process"
"""What a store says in a child of the process that opened it. To share its connections would mix up
the answers of both.
"""


class Swap(msgspec.Struct, frozen=True):
    """One turn: ``new`` takes the place of ``old`` if nobody was faster."""

    old: Session
    new: Session
    event: Event | None = None
    """To be recorded if the turn is won."""


class Ending(msgspec.Struct, frozen=True):
    """How sessions end: why, when, and until when access tokens that this voids were issued."""

    reason: EndReason
    at: int
    tokens_until: int


class ClaimsChange(msgspec.Struct, frozen=True):
    """What a user's sessions say from now on: when, from which version on, and until when access
    tokens of a lower one were issued.
    """

    claims: Claims
    at: int
    least_version: int
    tokens_until: int


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """An event that a hook is to be told of."""

    id: str
    """The same whenever it is tried, and no other's: 32 characters."""
    hook: str
    event: Event
    attempts: int = 0
    """How often it was tried before, in vain."""
    due_at: int | None
    """When it is tried next; None if it was given up."""
    error: str = ""
    """Why the last try failed."""


class SweepBounds(msgspec.Struct, frozen=True, kw_only=True):
    """What is old enough to be deleted: everything before these times."""

    ended: int
    """Sessions that ended."""
    created: int
    """Sessions that reached their absolute lifetime."""
    last_used: int
    """Sessions that reached their idle timeout."""
    cutoffs: int
    """Cutoffs that expired."""
    events: int
    """Events, and what hooks were not told of them yet."""


class Store(Protocol):
    """Where sessions live. A store holds no rules and reads no clock: every time is an argument.

    Every method is one transaction: all of it is durable when the method returns, or none of it
    happened. What is unknown is not an error: it is not found, or not ended. An exception means
    that the system failed, and nothing else: ``StoreUnavailable`` where trying again may help.
    After an exception the caller knows nothing: what it asked for may have been done.

    Methods may be called at once from many tasks, and many processes may hold the same database.
    Cancelling a call does not undo it. Reads see every write that was acknowledged before they
    began, by whichever process; so no replica is ever read.

    A store belongs to the process that opened it: in a child of that, every call raises
    ``StoreUnavailable`` at once, and ``close`` does nothing.

    Ids of sessions (``sid``) have the form that ``core.refresh_token.is_sid`` checks; ids of users
    are any text of at most 255 characters without NUL or surrogates. Callers see to it.

    A cutoff voids access tokens that were issued until ``tokens_until``, by whichever clock, and
    expires the ``longest_access_ttl`` after that. This is the one that the store has recorded as it
    records the cutoff: who asks for that may not know yet of processes that give longer lives.

    Where a row asked for together with others is locked or at fault, ``get`` and ``swap`` may raise
    ``RowUnavailable``: they did nothing, and are then called for each of them alone.
    """

    lanes: int
    """How many calls of ``get``, and of ``swap``, are better made at once than one by one."""
    batch: int
    """How many sessions a call of ``get``, and of ``swap``, is better given at most; it takes any
    number all the same.
    """

    async def add(
        self, session: Session, *, limit: int, replaces: str | None, epoch: int, tokens_until: int
    ) -> list[Cutoff] | None:
        """Begin ``session``, and record the sign-in as an event.

        Refused, with None and nothing done, if the epoch of the user is not ``epoch``: then the
        user was changed since credentials and claims were read. Else ends session ``replaces``,
        if it lives (``replaced``; it may be another user's), then those of the user's living
        sessions that are beyond ``limit``, this one counted but never chosen, least recently used
        first (``evicted``). However many sign in at once, no more than ``limit`` are left.

        Returns the cutoffs of the sessions it ended.
        """
        ...

    async def user_epoch(self, user_id: str) -> int:
        """How often the user was changed in a way that a sign-in under way must notice. Never
        falls, and outlives the user's sessions; 0 for a user never changed or unknown.
        """
        ...

    async def get(self, sids: Sequence[str]) -> dict[str, Session]:
        """The rows of these sessions, ended ones too, as far as there are any."""
        ...

    async def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        """For each: whether it won. It wins if the row lives and has ``old.generation`` still; then
        the five fields of the protocol and ``used_before`` are written as ``new`` has them, no
        others, and its event is recorded. No two are of one session. One that loses does not
        disturb the others.
        """
        ...

    async def list_sessions(self, user_id: str) -> list[Session]:
        """The user's sessions that have not been ended, newest first; by the clock some may be
        over, which the caller judges.
        """
        ...

    async def living(self, *, since: int, after: str, limit: int) -> tuple[list[str], str]:
        """Look at the ``limit`` sessions past ``after`` in the order of their ids. Returns the ids
        of those that have not been ended and were begun or last turned at ``since`` or later, and
        where to go on; an empty text when the last session was looked at.
        """
        ...

    async def end(
        self, sids: Sequence[str], ending: Ending, *, generation: int | None = None
    ) -> list[Cutoff]:
        """End those of the sessions that live: mark the row, erase its secret, record a cutoff of
        all versions and an event. An ended session keeps its time and reason. With ``generation``
        only those that have it still: what was judged of an older row ends nothing.

        Returns the cutoffs, one for each session ended by this call; none for an unknown one.
        """
        ...

    async def end_user(self, user_id: str, keep: str | None, ending: Ending) -> list[Cutoff]:
        """End all the user's sessions but ``keep``, as ``end`` does, and raise the user's epoch,
        also where there was no session: a sign-in under way is then refused by ``add``.
        """
        ...

    async def set_claims(
        self, user_id: str, claims: Claims, *, at: int, least_version: int, tokens_until: int
    ) -> list[Cutoff]:
        """Give all the user's living sessions these claims, raise each version to
        max(version + 1, ``least_version``) with a cutoff right below it, record one event for the
        user, and raise the user's epoch. Returns the cutoffs.
        """
        ...

    async def raise_version(self, sid: str, above: int) -> int | None:
        """Raise the version of a living session to ``above`` + 1 if it is not above already.
        Returns the version then; None where no such session lives. Records nothing.
        """
        ...

    async def void_all(self, issued_until: int, tokens_until: int) -> Cutoff:
        """Record the emergency cutoff and return it."""
        ...

    async def longest_access_ttl(self, at_least: int) -> int:
        """The longest life in seconds that access tokens were ever given here: what is recorded is
        raised to ``at_least`` first, and never falls. 0: only ask.
        """
        ...

    async def cutoffs(self, cursor: int | None, now: int) -> tuple[int, list[Cutoff]]:
        """The cutoffs recorded since ``cursor`` that have not expired at ``now``, and the cursor to
        go on from. With None all of them. Misses none, in whatever order they were committed; may
        repeat some.
        """
        ...

    async def wait_for_change(self, seconds: float) -> None:
        """Wait until a cutoff may have been recorded, or the signing keys changed, since the last
        wait ended, for ``seconds`` at most. For one task, which follows them on behalf of all.
        """
        ...

    async def events(
        self, *, sid: str | None = None, user_id: str | None = None, limit: int
    ) -> list[Event]:
        """The newest events of a session, or of a user and all their sessions, newest first."""
        ...

    async def signing_keys(self) -> list[SealedKey]:
        """All of them, in the order they were added."""
        ...

    async def add_signing_key(self, key: SealedKey, *, after: str | None) -> bool:
        """Add a key if the last one added is ``after`` still (None: if there is none); so that of
        many processes that want a new key at once, one makes it. Returns whether it was added.
        """
        ...

    async def replace_signing_key(self, old: SealedKey, new: SealedKey) -> bool:
        """Write a key anew, sealed otherwise or to be used from another time, if it is as ``old``
        still; its place among the others stays. Returns whether it was written.
        """
        ...

    async def drop_signing_keys(self, kids: Sequence[str], *, beside: str) -> bool:
        """Delete these keys, but only if ``beside`` is stored, and say whether it was. Of two who
        at once drop each other's key one does: a key is left that somebody judged to be enough.
        """
        ...

    async def sweep(self, bounds: SweepBounds, *, after: str, limit: int) -> tuple[int, str]:
        """Delete what is before ``bounds``, looking at the ``limit`` sessions past ``after`` in the
        order of their ids, and at the ``limit`` oldest cutoffs and events. Returns how many rows
        were deleted and where to go on; an empty text when the last session was looked at and this
        call found no cutoff and no event to delete.
        """
        ...

    async def check(self) -> None:
        """Return if the store could answer and be written to just now.

        Raises:
            StoreUnavailable: it could not.
        """
        ...

    async def close(self) -> None:
        """Finish what is under way and let go of everything held."""
        ...


def lasting(cutoffs: Iterable[Cutoff], longest_access_ttl: int) -> list[Cutoff]:
    """Cutoffs whose ``expires_at`` is ``tokens_until`` yet, as a store records them."""
    return [
        structs.replace(cutoff, expires_at=cutoff.expires_at + longest_access_ttl)
        for cutoff in cutoffs
    ]


def sign_in_of(session: Session) -> Event:
    """The event that is recorded as it begins."""
    return Event(
        at=session.created_at,
        kind=EventKind.SIGNED_IN,
        user_id=session.user_id,
        sid=session.sid,
        device=session.device,
    )
