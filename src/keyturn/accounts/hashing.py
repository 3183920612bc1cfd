"""Hashing passwords on a few threads of their own.

It is slow on purpose, so there is a bound on how much is done at once and on how much may wait.
Beyond it callers are told so within a second, and the rest of the server stays fast.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Final, Protocol, TypeVar, TypeVarTuple

from keyturn.core.errors import Unavailable
from keyturn.observing import Observer, guarded

from .lines import Lines
from .passwords import password_bytes

__all__ = ["Hasher", "PasswordHashing", "WorkPool"]

_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")

_NICENESS: Final = 10


class Hasher(Protocol):
    """A password hashing scheme. Called on threads, several at once."""

    nobody: str
    """A hash that no password has, and that costs as much to check as one made now."""

    def hash(self, password: bytes) -> str:
        """A hash with a random salt."""
        ...

    def verify(self, password_hash: str, password: bytes) -> bool:
        """Whether ``password`` has this hash."""
        ...

    def outdated(self, password_hash: str) -> bool:
        """Whether less work was put into the hash than would be now."""
        ...


class WorkPool:
    """Runs work on threads of low priority. Askers take turns: one that asks for much keeps
    nobody else waiting for long.

    Args:
        width: how much is done at once.
        queue: how much may wait.
        patience: seconds that it may wait.
        observer: is told how long it took.
    """

    def __init__(
        self, *, width: int, queue: int, patience: float, observer: Observer | None = None
    ) -> None:
        self._threads = ThreadPoolExecutor(width, "keyturn-work", initializer=_yield_to_others)
        self._free = width
        self._lines = Lines(queue)
        self._observer = guarded(observer)
        self.running = 0
        """How much is being done."""
        self._patience = patience

    async def run(
        self,
        work: Callable[[*_Arguments], _Result],
        *arguments: *_Arguments,
        asker: Hashable = None,
    ) -> _Result:
        """The result of ``work``. Cancelling the caller does not stop what has begun.

        Args:
            work: is called on a thread.
            arguments: of ``work``.
            asker: whom it is done for, as far as others are not to suffer from it.

        Raises:
            Unavailable: the work was not begun, as too much is waiting, or this waited too long.
        """
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        try:
            await self._wait_for_turn(asker)
        except Unavailable:
            self._observer.refused_to_hash()
            raise
        begun_at = loop.time()
        try:
            running = loop.run_in_executor(self._threads, work, *arguments)
        except RuntimeError as error:  # there may be no more threads just now
            self._pass_on()
            self._observer.refused_to_hash()
            raise Unavailable from error
        self.running += 1
        running.add_done_callback(partial(self._end_turn, asked_at, begun_at))
        return await asyncio.shield(running)

    @property
    def waiting(self) -> int:
        """How much waits for its turn."""
        return self._lines.waiting

    async def _wait_for_turn(self, asker: Hashable) -> None:
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._lines.join(asker, turn)
        try:
            async with asyncio.timeout(self._patience):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._pass_on()  # it was called as it gave up
            self._lines.leave(asker, turn)
            if isinstance(error, TimeoutError):
                raise Unavailable from None
            raise

    def _pass_on(self) -> None:
        if not self._lines.call_next():
            self._free += 1

    def _end_turn(self, asked_at: float, begun_at: float, done: asyncio.Future[_Result]) -> None:
        self._pass_on()
        self.running -= 1
        self._observer.hashed(done.get_loop().time() - begun_at, begun_at - asked_at)
        done.exception()  # seen, even where the caller has gone

    def close(self) -> None:
        """Let go of the threads once what they have begun is done."""
        self._threads.shutdown(wait=False)


class PasswordHashing:
    """What accounts ask of hashes, and the same work where there is none.

    Args:
        hasher: argon2id if not given.
        width: how many are hashed at once; each takes the hasher's memory.
        queue: how many may wait for that.
        patience: seconds that one may wait.
        observer: is told how long they took.
    """

    def __init__(
        self,
        hasher: Hasher | None = None,
        *,
        width: int = 2,
        queue: int = 64,
        patience: float = 0.8,
        observer: Observer | None = None,
    ) -> None:
        self._hasher = _default_hasher() if hasher is None else hasher
        self._pool = WorkPool(width=width, queue=queue, patience=patience, observer=observer)

    @property
    def waiting(self) -> int:
        """How many passwords wait to be hashed."""
        return self._pool.waiting

    @property
    def running(self) -> int:
        """How many are being hashed."""
        return self._pool.running

    async def hash(self, password: str, *, asker: Hashable = None) -> str:
        """The hash of a password that was found acceptable.

        Args:
            password: as it was typed.
            asker: as of ``WorkPool.run``.

        Raises:
            Unavailable: there is too much to hash.
        """
        return await self._pool.run(self._hasher.hash, password_bytes(password), asker=asker)

    async def verify(
        self, password_hash: str | None, password: str, *, asker: Hashable = None
    ) -> bool:
        """Whether ``password`` has this hash. Without a hash: no, after the same work.

        Args:
            password_hash: of the user, if there is one.
            password: as it was typed.
            asker: as of ``WorkPool.run``.

        Raises:
            Unavailable: there is too much to hash.
        """
        try:
            forms, possible = _forms_of(password), password_hash is not None
        except ValueError:
            forms, possible = [b""], False
        compared = password_hash or self._hasher.nobody
        matches = await self._pool.run(self._check, compared, forms, asker=asker)
        return matches and possible

    def _check(self, password_hash: str, forms: Sequence[bytes]) -> bool:
        if not self._hasher.outdated(password_hash):
            return self._hasher.verify(password_hash, forms[0])
        # One that takes less work than nobody's would tell by the time that it is somebody's.
        self._hasher.verify(self._hasher.nobody, forms[0])
        # Not everybody who made such hashes composed the password first.
        return any(self._hasher.verify(password_hash, form) for form in forms)

    async def rehash(
        self, password_hash: str, password: str, *, asker: Hashable = None
    ) -> str | None:
        """A hash to replace one that ``password`` was found to have; None if that is good still,
        or there is too much else to hash.
        """
        if self._hasher.outdated(password_hash):
            with suppress(Unavailable):
                return await self.hash(password, asker=asker)
        return None

    def close(self) -> None:
        """Let go of the threads."""
        self._pool.close()


def _forms_of(password: str) -> Sequence[bytes]:
    """What may have been hashed: the password composed, and as it was typed where that differs."""
    return list(dict.fromkeys([password_bytes(password), password.encode()]))


def _default_hasher() -> Hasher:
    from .argon2id import Argon2id
    from .foreign import WithForeign

    return WithForeign(Argon2id())


def _yield_to_others() -> None:
    if sys.platform == "linux":  # where nice(2) is of the calling thread alone
        with suppress(OSError):
            os.nice(_NICENESS)
