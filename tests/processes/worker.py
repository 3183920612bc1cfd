"""A process with an engine and accounts of its own on a file that others use as well. It does what
it is told, a line of JSON after the other: ``python -m tests.processes.worker FILE [FLAW]``.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from keyturn.accounts import Accounts, PasswordHashing, open_users
from keyturn.accounts.argon2id import Argon2id
from keyturn.core.errors import KeyturnError, SessionOver
from keyturn.core.model import Claims, Tokens
from keyturn.sessions import Sessions
from keyturn.stores.sqlite import SQLiteStore
from tests.processes.flaws import FLAWS
from tests.support import Clock, engine

__all__ = ["Answer", "Order", "Pair"]


class Pair(NamedTuple):
    """What a sign-in or an exchange hands out."""

    access: str
    refresh: str


class Order(msgspec.Struct):
    """What to do, at which time of the engine's clock, and at which moment of the machine's."""

    deed: str
    arguments: list[Any]
    now: int
    moment: float = 0
    """Of ``time.monotonic``, which all processes of a machine share."""


class Answer(msgspec.Struct):
    """``refusal`` is the code of the error that was raised, if one was."""

    value: Any = None
    refusal: str = ""


class Deeds:
    """What can be ordered, by name."""

    def __init__(self, sessions: Sessions, accounts: Accounts) -> None:
        self._sessions = sessions
        self._accounts = accounts

    async def register(self, username: str, password: str) -> str:
        email = f"{username}@example.com"
        return (await self._accounts.register(username, email, username, password)).id

    async def login(self, username: str, password: str, replaces: str | None = None) -> Pair:
        return _pair((await self._accounts.login(username, password, replaces=replaces))[1])

    async def user_epoch(self, user_id: str) -> int:
        return await self._sessions.user_epoch(user_id)

    async def create(self, user_id: str, username: str, epoch: int) -> Pair:
        return _pair(await self._sessions.create(user_id, Claims(username=username), epoch=epoch))

    async def refresh(self, token: str) -> Pair:
        return _pair(await self._sessions.refresh(token))

    async def logout(self, token: str) -> None:
        await self._sessions.logout(token)

    async def revoke_all(self, user_id: str) -> int:
        return await self._sessions.revoke_all(user_id)

    async def change_password(self, user_id: str, current: str, new: str) -> Pair:
        return _pair((await self._accounts.change_password(user_id, current, new))[1])

    async def disable(self, user_id: str) -> None:
        await self._accounts.disable(user_id)

    async def enable(self, user_id: str) -> None:
        await self._accounts.enable(user_id)

    async def set_claims(self, user_id: str, username: str) -> None:
        await self._sessions.set_claims(user_id, Claims(username=username))

    async def username_in(self, token: str) -> str:
        return self._sessions.read(token).claims.username

    async def verify(self, token: str) -> str:
        """Whom the token names, as this process sees it once it follows the others."""
        await self._sessions.catch_up()
        return self._sessions.verify(token).claims.username


async def work(file: Path, flaw: str) -> None:
    clock = Clock()
    store = await (FLAWS[flaw] if flaw else SQLiteStore).open(str(file), create=True)
    hashing = PasswordHashing(Argon2id(memory=8, passes=1))
    async with engine(store, clock) as sessions:
        accounts = Accounts(open_users(store), sessions, hashing=hashing)
        deeds = Deeds(sessions, accounts)
        while line := await asyncio.to_thread(sys.stdin.buffer.readline):
            order = msgspec.json.decode(line, type=Order)
            clock.now = order.now
            await _moment(order.moment)
            answer = await _outcome_of(deeds, order)
            sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
            sys.stdout.flush()
    hashing.close()


async def _moment(moment: float) -> None:
    """Awake a little earlier, as being woken up takes a time that nobody knows."""
    await asyncio.sleep(moment - time.monotonic() - 0.001)
    while time.monotonic() < moment:
        pass


async def _outcome_of(deeds: Deeds, order: Order) -> Answer:
    try:
        return Answer(await getattr(deeds, order.deed)(*order.arguments))
    except SessionOver as error:
        return Answer(refusal=f"{error.code} {error.reason}")
    except KeyturnError as error:
        return Answer(refusal=error.code)


def _pair(tokens: Tokens) -> Pair:
    return Pair(tokens.access_token, tokens.refresh_token)


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), "".join(sys.argv[2:])))
