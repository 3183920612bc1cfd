"""The contract of a store of users, beside that of sessions: ``keyturn.stores.base``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from keyturn.core.model import Cutoff, Device
from keyturn.stores.base import Ending

from .model import Account, User
from .throttle import ThrottleKey

__all__ = ["UserStore"]


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

    async def find(self, key: str) -> Account | None:
        """The account whose ``username_key`` or ``email_key`` this is, and its epoch, all read at
        the same moment.
        """
        ...

    async def get(self, user_id: str) -> Account | None:
        """The account of this id, read like that of ``find``."""
        ...

    async def list_users(self, *, after: str, limit: int) -> list[User]:
        """At most ``limit`` users in the order of their ``username_key``, from past ``after``."""
        ...

    async def set_password(
        self, account: Account, password_hash: str, ending: Ending, device: Device
    ) -> list[Cutoff] | None:
        """Give the user another password: write its hash, record an event, end all sessions and
        raise the epoch, as ``Store.end_user`` does. Returns the cutoffs.

        Refused, with None and nothing done, if the epoch is no longer that of ``account``, or the
        user is gone.
        """
        ...

    async def rehash(self, account: Account, password_hash: str) -> None:
        """Write another hash of the same password, if the hash is that of ``account`` still."""
        ...

    async def disable(self, user_id: str, ending: Ending) -> list[Cutoff] | None:
        """Keep the user from signing in, end all sessions and raise the epoch. Returns the cutoffs;
        None for an unknown user. One who is disabled already keeps the time of that.
        """
        ...

    async def enable(self, user_id: str) -> bool:
        """Let the user sign in again. Returns whether there is such a user."""
        ...

    async def blocked_until(self, keys: Sequence[ThrottleKey], now: int) -> int:
        """``throttle.blocked_until`` of what is counted on the keys."""
        ...

    async def settle(self, keys: Sequence[ThrottleKey], *, success: bool, now: int) -> int:
        """Read what is counted on the keys, apply ``throttle.settle``, write the changes it returns
        and return its time: an attempt at a time, however many processes try.
        """
        ...

    async def sweep(self, now: int, limit: int) -> int:
        """Delete at most ``limit`` counters whose ``forget_at`` is not after ``now``. Returns how
        many there were.
        """
        ...
