"""The contract of a store of users, beside that of sessions: ``keyturn.stores.base``."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Protocol

from keyturn.core.model import Cutoff, Device, Event
from keyturn.stores.base import ClaimsChange, Ending

from .model import Account, User
from .throttle import ThrottleKey

__all__ = ["NotChanged", "UserStore"]


class NotChanged(Enum):
    """Why a user is as they were."""

    RACED = auto()
    """They were changed since they were read, or are gone."""
    TAKEN = auto()
    """Somebody else has that ``username_key`` or ``email_key``."""


class UserStore(Protocol):
    """Where users live: in the same database as their sessions, as changing the one may end the
    others in the same transaction.

    All that ``keyturn.stores.base.Store`` says of itself holds here too. Each method is one
    transaction; what is unknown is not an error; an exception means that the system failed. No
    rules and no clock: times are arguments, and where a rule is to be applied inside the
    transaction, the method says which function it is. Texts that cannot be written as UTF-8 never
    come here.
    """

    async def add(self, user: User, password_hash: str) -> bool:
        """Add a user. False, with nothing done, if one has that ``username_key`` or ``email_key``;
        however many try at once, one is added.
        """
        ...

    async def add_many(self, accounts: Sequence[tuple[User, str]]) -> list[bool]:
        """Add users, each with a password hash, as ``add`` would one after the other. Returns of
        each whether they were added. No two ids are the same.
        """
        ...

    async def find(self, key: str) -> Account | None:
        """The account whose ``username_key`` or ``email_key`` this is, and its epoch, all read at
        the same moment.
        """
        ...

    async def get(self, user_id: str) -> Account | None:
        """The account of this id, read like that of ``find``."""
        ...

    async def find_users(self, keys: Sequence[str]) -> list[User]:
        """The users whose ``username_key`` or ``email_key`` is among ``keys``, in any order."""
        ...

    async def list_users(self, *, after: str, limit: int) -> list[User]:
        """At most ``limit`` users in the order of their ``username_key``, from past ``after``."""
        ...

    async def set_password(
        self,
        account: Account,
        password_hash: str,
        ending: Ending,
        device: Device,
        *,
        reset: bytes | None = None,
    ) -> list[Cutoff] | None:
        """Give the user another password: write its hash, forget their reset, record an event, end
        all sessions and raise the epoch, as ``Store.end_user`` does. Returns the cutoffs.

        Refused, with None and nothing done, if the epoch is no longer that of ``account``, or the
        user is gone, or ``reset`` is given and is not the digest of their reset any more.
        """
        ...

    async def rehash(self, account: Account, password_hash: str) -> None:
        """Write another hash of the same password, if the hash is that of ``account`` still."""
        ...

    async def set_reset(self, user_id: str, digest: bytes, expires_at: int) -> bool:
        """Remember the digest of what resets the user's password, in the place of an earlier one.
        Returns whether there is such a user, not disabled.
        """
        ...

    async def find_by_reset(self, digest: bytes, now: int) -> Account | None:
        """The account that this is the digest of a reset of, as long as ``now`` is before its end;
        read like that of ``find``.
        """
        ...

    async def change(
        self, account: Account, user: User, change: ClaimsChange
    ) -> list[Cutoff] | NotChanged:
        """Write username, email and full name of the user as ``user`` has them, and change what
        their sessions say, as ``Store.set_claims`` does. Another email makes their reset forgotten.
        Returns the cutoffs.

        Refused, with nothing done, if the epoch is no longer that of ``account``, or the user is
        gone, or somebody else has one of the names.
        """
        ...

    async def disable(self, user_id: str, ending: Ending) -> list[Cutoff] | None:
        """Keep the user from signing in, forget their reset, end all sessions and raise the epoch.
        Returns the cutoffs; None for an unknown user. One who is disabled already keeps the time
        of that.
        """
        ...

    async def enable(self, user_id: str) -> bool:
        """Let the user sign in again. Returns whether there is such a user."""
        ...

    async def delete(
        self, user_id: str, ending: Ending, *, epoch: int | None = None
    ) -> list[Cutoff] | None:
        """Remove the user and their reset, end all sessions and raise the epoch, which is kept; of
        sessions and events keep no more than whose they were. Returns the cutoffs.

        Refused, with None and nothing done, if there is no such user, or ``epoch`` is given and is
        not theirs any more.
        """
        ...

    async def blocked_until(self, keys: Sequence[ThrottleKey], now: int) -> int:
        """``throttle.blocked_until`` of what is counted on the keys."""
        ...

    async def settle(
        self,
        keys: Sequence[ThrottleKey],
        *,
        success: bool,
        now: int,
        failure: Event | None = None,
    ) -> int:
        """Read what is counted on the keys, apply ``throttle.settle``, write the changes it returns
        and return its time: an attempt at a time, however many processes try. With what is written
        of one that failed, ``failure`` is recorded, if its user is there (still).
        """
        ...

    async def clear(self, keys: Sequence[ThrottleKey]) -> None:
        """Forget what is counted on the keys."""
        ...

    async def sweep(self, now: int, limit: int) -> int:
        """Delete at most ``limit`` counters whose ``forget_at`` is not after ``now``, and as many
        resets that ended by then. Returns how many rows there were.
        """
        ...
