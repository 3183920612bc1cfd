"""A process with an engine and accounts of its own on a store that others use as well. It does what
it is told, each line of JSON as soon as it comes: ``python -m tests.processes.worker URL [FLAW]``.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

import msgspec
import uvloop

from keyturn.accounts import Accounts, PasswordHashing, open_users
from keyturn.accounts.argon2id import Argon2id
from keyturn.core import base64url
from keyturn.core.errors import KeyturnError, RowUnavailable, SessionOver, Unavailable
from keyturn.core.model import Claims, EndReason, Policy, Tokens
from keyturn.sessions import Sessions
from keyturn.stores import open_store
from tests.processes.flaws import FLAWS
from tests.support import START, Clock, engine

__all__ = ["MAX_SESSIONS", "Answer", "Order", "Pair"]

MAX_SESSIONS: Final = 5

# Seconds that waking up may take: of an event loop, and of a thread.
_SLOW_TO_WAKE: Final = 0.0015
_QUICK_TO_WAKE: Final = 0.0002

_now: ContextVar[int] = ContextVar("now", default=START)


class Pair(NamedTuple):
    """What a sign-in or an exchange hands out."""

    access: str
    refresh: str

    @property
    def username(self) -> str:
        """As the access token has it."""
        payload = base64url.decode(self.access.split(".")[1])
        return str(msgspec.json.decode(payload)["username"])


class Order(msgspec.Struct):
    """What to do, at which time of the engine's clock, and at which moment of the machine's."""

    number: int
    deed: str
    arguments: list[Any]
    now: int
    moment: float = 0
    """Of ``time.monotonic``, which all processes of a machine share."""


class Answer(msgspec.Struct):
    """``refusal`` is the code of the error that was raised, if one was."""

    value: Any = None
    refusal: str = ""


class ClockOnOrders(Clock):
    """Shows whoever carries out an order the time that is on it, as there may be several."""

    def __call__(self) -> float:
        return _now.get()


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

    async def login_often(self, username: str, password: str, times: int) -> list[Pair]:
        """All at once."""
        return await asyncio.gather(*(self.login(username, password) for _ in range(times)))

    async def user_epoch(self, user_id: str) -> int:
        return await self._sessions.user_epoch(user_id)

    async def create(self, user_id: str, username: str, epoch: int | None = None) -> Pair:
        return _pair(await self._sessions.create(user_id, Claims(username=username), epoch=epoch))

    async def refresh(self, token: str) -> Pair:
        """Again, as a client is told, where the row stayed locked: on a busy machine a commit may
        take that long.
        """
        while True:
            with suppress(RowUnavailable):
                return _pair(await self._sessions.refresh(token))

    async def logout(self, token: str) -> None:
        await self._sessions.logout(token)

    async def logout_others(self, token: str) -> int:
        named = self._sessions.verify(token)
        return await self._sessions.revoke_all(
            named.user_id, keep=named.sid, reason=EndReason.REVOKED_BY_USER
        )

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

    async def try_out(self, *pairs: tuple[str, str]) -> list[tuple[Answer, Answer]]:
        """What becomes of a check of each access token, once this process has followed the others,
        and of an exchange of each refresh token.
        """
        await self._sessions.catch_up()
        tried = [(Pair(*pair), await _outcome_of(self._check(pair[0]))) for pair in pairs]
        return [(check, await _outcome_of(self.refresh(pair.refresh))) for pair, check in tried]

    async def _check(self, token: str) -> str:
        return self._sessions.verify(token).claims.username


async def work(url: str, flaw: str) -> None:
    store = await open_store(url, create=True)
    flawed = FLAWS[flaw](store) if flaw else store
    policy = Policy(max_sessions=MAX_SESSIONS)
    hashing = PasswordHashing(Argon2id(memory=8, passes=1))
    # Orders come side by side, each at a time of its own, which do not tell how long one takes.
    clocks: Any = {"clock": ClockOnOrders(), "steady_clock": time.monotonic}
    async with engine(flawed, **clocks, policy=policy) as sessions:
        deeds = Deeds(sessions, Accounts(open_users(store), sessions, hashing=hashing))
        orders = await _standard_input()
        async with asyncio.TaskGroup() as tasks:
            while line := await orders.readline():
                order = msgspec.json.decode(line, type=Order)
                tasks.create_task(_carry_out(order, deeds))
    hashing.close()


async def _standard_input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    return reader


async def _carry_out(order: Order, deeds: Deeds) -> None:
    _now.set(order.now)
    if order.moment:
        await _wait_for(order.moment)
    answer = await _outcome_of(getattr(deeds, order.deed)(*order.arguments))
    sys.stdout.buffer.write(msgspec.json.encode((order.number, answer)) + b"\n")
    sys.stdout.flush()


async def _wait_for(moment: float) -> None:
    """Sleep ever more lightly, as nobody knows how long it takes to be woken up."""
    await asyncio.sleep(moment - time.monotonic() - _SLOW_TO_WAKE)
    time.sleep(max(0, moment - time.monotonic() - _QUICK_TO_WAKE))
    while time.monotonic() < moment:
        pass


async def _outcome_of(deed: Awaitable[Any]) -> Answer:
    try:
        return Answer(await deed)
    except SessionOver as error:
        return Answer(refusal=f"{error.code} {error.reason}")
    except Unavailable as error:
        return Answer(refusal=f"{error.code} {error}")
    except KeyturnError as error:
        return Answer(refusal=error.code)


def _pair(tokens: Tokens) -> Pair:
    return Pair(tokens.access_token, tokens.refresh_token)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work(sys.argv[1], "".join(sys.argv[2:])))
