"""What tests of accounts need: users on any store, and a hasher that takes no time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from keyturn.accounts import Accounts, PasswordHashing, User, UserStore, open_users
from keyturn.core.errors import AccessTokenRevoked, KeyturnError, SessionRevoked
from keyturn.core.model import Device, EndReason, Session, Tokens
from keyturn.sessions import Sessions
from keyturn.stores import Store, open_store
from tests.support import Clock, loaded

STORES: Final = ("memory", "sqlite")
PASSWORD: Final = "quixotic-otters"
NEW_PASSWORD: Final = "verdant-anvils"
WRONG: Final = "a-wrong-password"
ADDRESS: Final = "192.0.2.1"
LAPTOP: Final = Device(user_agent="laptop", address=ADDRESS)


async def store_of(kind: str, folder: Path) -> Store:
    if kind == "memory":
        return await open_store("memory:")
    return await open_store(f"sqlite:///{folder / 'keyturn.db'}", create=True)


class InstantHasher:
    """Hashes that tell everything; no two alike. ``checked`` are those that were verified."""

    nobody = "nobody"

    def __init__(self, strength: int = 1) -> None:
        self.strength = strength
        self.checked: list[str] = []
        self._salt = itertools.count()

    def hash(self, password: bytes) -> str:
        return f"{self.strength}.{next(self._salt)}.{id(self)}.{password.hex()}"

    def verify(self, password_hash: str, password: bytes) -> bool:
        self.checked.append(password_hash)
        return password_hash.rpartition(".")[2] == password.hex()

    def outdated(self, password_hash: str) -> bool:
        if password_hash == self.nobody:
            return False
        return int(password_hash.partition(".")[0]) < self.strength


class Town:
    """Accounts on a store, with one user in it."""

    def __init__(self, store: Store, sessions: Sessions, clock: Clock) -> None:
        self.store = store
        self.sessions = sessions
        self.clock = clock
        self.users: UserStore = open_users(store)
        self.hasher = InstantHasher()
        self._opened: list[PasswordHashing] = []
        self.accounts = self.accounts_on(self.users, sessions)
        self.ada: User

    def accounts_on(
        self,
        users: UserStore,
        sessions: Sessions,
        *,
        width: int = 2,
        queue: int = 64,
        **options: Any,
    ) -> Accounts:
        hashing = PasswordHashing(self.hasher, width=width, queue=queue, patience=60)
        self._opened.append(hashing)
        return Accounts(users, sessions, hashing=hashing, **options)

    async def settle_down(self) -> None:
        self.ada = await self.accounts.register("Ada", "ada@example.com", "Ada Lovelace", PASSWORD)

    async def living(self) -> Sequence[Session]:
        return await self.sessions.list(self.ada.id)

    def close(self) -> None:
        for hashing in self._opened:
            hashing.close()


@asynccontextmanager
async def town(kind: str, folder: Path) -> AsyncIterator[Town]:
    clock = Clock()
    store = await store_of(kind, folder)
    async with loaded(store, clock) as sessions:
        place = Town(store, sessions, clock)
        await place.settle_down()
        yield place
        place.close()


class AwaitPoints:
    """The points right before and right after each method of what is watched; at one of them, once
    armed, something else happens from start to end.
    """

    def __init__(self) -> None:
        self._ahead = 0
        self._meddle: Callable[[], Awaitable[object]] | None = None

    def arm(self, number: int, meddle: Callable[[], Awaitable[object]]) -> None:
        """Have ``meddle`` happen at the next point but ``number``."""
        self._ahead = number
        self._meddle = meddle

    def disarm(self) -> bool:
        """Returns whether ``meddle`` was still to happen."""
        was_armed, self._meddle = self._meddle is not None, None
        return was_armed

    def watch(self, target: object) -> Any:
        return _Watched(target, self._pass)

    async def _pass(self) -> None:
        if self._meddle is not None:
            meddle, self._ahead = self._meddle, self._ahead - 1
            if self._ahead < 0:
                self.disarm()
                await meddle()


class _Watched:
    lanes = 1
    batch = 64

    def __init__(self, target: object, pass_point: Callable[[], Awaitable[None]]) -> None:
        self._target = target
        self._pass_point = pass_point

    def __getattr__(self, method: str) -> Any:
        async def call(*arguments: Any, **named: Any) -> Any:
            await self._pass_point()
            result = await getattr(self._target, method)(*arguments, **named)
            await self._pass_point()
            return result

        return call


async def refusal(attempt: Any) -> KeyturnError:
    with pytest.raises(KeyturnError) as refused:
        await attempt
    return refused.value


async def outcomes(*attempts: Any) -> list[str]:
    done = await asyncio.gather(*attempts, return_exceptions=True)
    return [result.code if isinstance(result, KeyturnError) else "done" for result in done]


async def is_over(place: Town, tokens: Tokens, reason: EndReason) -> bool:
    """Whether neither token of the pair is good for anything any more."""
    with pytest.raises(AccessTokenRevoked):
        place.sessions.verify(tokens.access_token)
    with pytest.raises(SessionRevoked) as refused:
        await place.sessions.refresh(tokens.refresh_token)
    return refused.value.reason == reason
