"""Users in memory, beside their sessions there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from msgspec.structs import replace

from keyturn.core.model import Cutoff, Device, Event, EventKind
from keyturn.stores.base import ClaimsChange, Ending
from keyturn.stores.memory import MemoryStore

from . import throttle
from .model import Account, User
from .store import NotChanged
from .throttle import Failures, ThrottleKey

__all__ = ["MemoryUsers"]


class MemoryUsers:
    """A ``UserStore`` on a ``MemoryStore``.

    A method is a transaction because what it awaits, a ``MemoryStore``, never waits for anything.
    """

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._users: dict[str, User] = {}
        self._hashes: dict[str, str] = {}
        self._ids: dict[str, str] = {}  # by both keys of each user
        self._failures: dict[bytes, Failures] = {}
        self._resets: dict[str, tuple[bytes, int]] = {}  # digest and end, by user

    async def add(self, user: User, password_hash: str) -> bool:
        keys = (user.username_key, user.email_key)
        if user.id in self._users or not self._ids.keys().isdisjoint(keys):
            return False
        self._users[user.id] = user
        self._hashes[user.id] = password_hash
        self._ids.update(dict.fromkeys(keys, user.id))
        return True

    async def add_many(self, accounts: Sequence[tuple[User, str]]) -> list[bool]:
        return [await self.add(user, password_hash) for user, password_hash in accounts]

    async def find(self, key: str) -> Account | None:
        return await self.get(self._ids.get(key, ""))

    async def get(self, user_id: str) -> Account | None:
        user = self._users.get(user_id)
        if user is None:
            return None
        epoch = await self._store.user_epoch(user_id)
        return Account(user=user, password_hash=self._hashes[user_id], epoch=epoch)

    async def find_users(self, keys: Sequence[str]) -> list[User]:
        return [self._users[id_] for id_ in {self._ids[key] for key in keys if key in self._ids}]

    async def list_users(self, *, after: str, limit: int) -> list[User]:
        by_name = sorted(self._users.values(), key=lambda user: user.username_key)
        return list(islice((user for user in by_name if user.username_key > after), limit))

    async def set_password(
        self,
        account: Account,
        password_hash: str,
        ending: Ending,
        device: Device,
        *,
        reset: bytes | None = None,
    ) -> list[Cutoff] | None:
        user_id = account.user.id
        held = await self.get(user_id)
        if held is None or held.epoch != account.epoch:
            return None
        if reset not in (None, self._resets.get(user_id, (b"", 0))[0]):
            return None
        self._resets.pop(user_id, None)
        self._hashes[user_id] = password_hash
        self._store.record_event(
            Event(at=ending.at, kind=EventKind.PASSWORD_CHANGED, user_id=user_id, device=device)
        )
        return await self._store.end_user(user_id, None, ending)

    async def rehash(self, account: Account, password_hash: str) -> None:
        if self._hashes.get(account.user.id) == account.password_hash:
            self._hashes[account.user.id] = password_hash

    async def set_reset(self, user_id: str, digest: bytes, expires_at: int) -> bool:
        user = self._users.get(user_id)
        if user is None or user.disabled:
            return False
        self._resets[user_id] = (digest, expires_at)
        return True

    async def find_by_reset(self, digest: bytes, now: int) -> Account | None:
        for user_id, (held, expires_at) in self._resets.items():
            if held == digest and now < expires_at:
                return await self.get(user_id)
        return None

    async def change(
        self, account: Account, user: User, change: ClaimsChange
    ) -> list[Cutoff] | NotChanged:
        held = await self.get(user.id)
        if held is None or held.epoch != account.epoch:
            return NotChanged.RACED
        keys = (user.username_key, user.email_key)
        if {self._ids.get(key, user.id) for key in keys} != {user.id}:
            return NotChanged.TAKEN
        del self._ids[held.user.username_key], self._ids[held.user.email_key]
        self._ids.update(dict.fromkeys(keys, user.id))
        self._users[user.id] = replace(
            held.user, username=user.username, email=user.email, fullname=user.fullname
        )
        if user.email != held.user.email:
            self._resets.pop(user.id, None)
        return await self._store.set_claims(
            user.id,
            change.claims,
            at=change.at,
            least_version=change.least_version,
            tokens_until=change.tokens_until,
        )

    async def disable(self, user_id: str, ending: Ending) -> list[Cutoff] | None:
        user = self._users.get(user_id)
        if user is None:
            return None
        self._resets.pop(user_id, None)
        if user.disabled_at is None:
            self._users[user_id] = replace(user, disabled_at=ending.at)
        return await self._store.end_user(user_id, None, ending)

    async def enable(self, user_id: str) -> bool:
        user = self._users.get(user_id)
        if user is None:
            return False
        self._users[user_id] = replace(user, disabled_at=None)
        return True

    async def delete(
        self, user_id: str, ending: Ending, *, epoch: int | None = None
    ) -> list[Cutoff] | None:
        held = await self.get(user_id)
        if held is None or epoch not in (None, held.epoch):
            return None
        del self._users[user_id], self._hashes[user_id]
        del self._ids[held.user.username_key], self._ids[held.user.email_key]
        self._resets.pop(user_id, None)
        cutoffs = await self._store.end_user(user_id, None, ending)
        self._store.forget_user(user_id)
        return cutoffs

    async def blocked_until(self, keys: Sequence[ThrottleKey], now: int) -> int:
        return throttle.blocked_until(self._counted(keys).values(), now)

    async def settle(
        self,
        keys: Sequence[ThrottleKey],
        *,
        success: bool,
        now: int,
        failure: Event | None = None,
    ) -> int:
        until, changes = throttle.settle(keys, self._counted(keys), success=success, now=now)
        if failure and not until and failure.user_id in self._users:
            self._store.record_event(failure)
        for digest, failures in changes.items():
            if failures is None:
                del self._failures[digest]
            else:
                self._failures[digest] = failures
        return until

    async def clear(self, keys: Sequence[ThrottleKey]) -> None:
        for key in keys:
            self._failures.pop(key.digest, None)

    async def sweep(self, now: int, limit: int) -> int:
        forgotten = (digest for digest, held in self._failures.items() if held.forget_at <= now)
        over = (user_id for user_id, (_, end) in self._resets.items() if end <= now)
        failures, resets = list(islice(forgotten, limit)), list(islice(over, limit))
        for digest in failures:
            del self._failures[digest]
        for user_id in resets:
            del self._resets[user_id]
        return len(failures) + len(resets)

    def _counted(self, keys: Sequence[ThrottleKey]) -> dict[bytes, Failures]:
        return {
            key.digest: self._failures[key.digest] for key in keys if key.digest in self._failures
        }
