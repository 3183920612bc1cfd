"""A few connections to PostgreSQL, and transactions run on them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import asyncpg

from keyturn.core.errors import RowUnavailable, StoreUnavailable
from keyturn.stores.base import FORKED

from .connecting import COMMAND_SECONDS, Connection, Connector
from .faults import RETRIED, told_as_unavailable

__all__ = ["BESIDE_EXCHANGES", "Engine"]

_Result = TypeVar("_Result")
_Job = Callable[[Connection], Awaitable[_Result]]

_CALL_SECONDS: Final = COMMAND_SECONDS + 1
"""For all of a call, waiting for a connection and making one included. A statement that is not
answered at all is noticed before.
"""
_PATIENCE_SECONDS: Final = 2.0
"""Of that, for a place: who began later would be cut off in the middle, and leave another
connection to be made anew.
"""
_TRIES: Final = 5
_ANSWERED: Final = (asyncpg.PostgresError, RowUnavailable)
"""After these a connection is as good as before: it told us something, if not what was wanted."""
_STATEMENTS: Final = 2
_TRANSACTIONS: Final = 2
_FOLLOWING: Final = 1
BESIDE_EXCHANGES: Final = _STATEMENTS + _TRANSACTIONS + _FOLLOWING
"""Connections at most, of an engine, for all that is no exchange."""


class Engine:
    """Runs transactions. Whatever fails is raised as ``StoreUnavailable``, and nothing of the
    transaction is left, unless something was lost during the commit: then it is unknown.

    A caller that is cancelled does not stop its transaction. Connections that were lost are made
    anew when they are needed; there are never more of them than ``exchanges`` and
    ``BESIDE_EXCHANGES``.

    Each kind of call has places of its own, so that none waits behind another kind: however much
    somebody asks for, and however long they wait for a lock, exchanges go on, and what is revoked
    becomes known. Whoever waits too long for a place is refused, with nothing done.
    """

    def __init__(self, connector: Connector, *, exchanges: int) -> None:
        self._connector = connector
        self._exchanges = asyncio.Semaphore(exchanges)
        self._statements = asyncio.Semaphore(_STATEMENTS)
        self._transactions = asyncio.Semaphore(_TRANSACTIONS)
        self._following = asyncio.Semaphore(_FOLLOWING)
        self._idle: list[Connection] = []
        self._era = 0
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False
        self._process = os.getpid()

    async def run_batch(self, job: _Job[_Result]) -> _Result:
        """As ``run``, for exchanges, whom nobody cancels, so that no task of its own has to see it
        through. Cancelled, it would give up the connection in the middle.
        """
        if not self._connector.direct:
            return await self._retry(self._alone(job), self._exchanges)
        if self._exchanges.locked() or self._is_forked() or not self._has_idle():
            return await self._retry(job, self._exchanges)
        with told_as_unavailable():  # there is nothing to wait for but the statement
            async with self._exchanges:
                try:
                    return await self._try(job)
                except RETRIED:
                    pass
        return await self._retry(job, self._exchanges)

    async def run(self, job: _Job[_Result]) -> _Result:
        """Run ``job``, which makes one statement: a transaction by itself.

        Raises:
            RowUnavailable: it is locked by others for too long, or one of its rows is at fault.
            StoreUnavailable: the system failed, took too long, or the engine is closed.
        """
        return await self._see_through(self._retry(self._alone(job), self._statements))

    async def follow(self, job: _Job[_Result]) -> _Result:
        """As ``run``, for the one who follows what others do."""
        return await self._see_through(self._retry(self._alone(job), self._following))

    async def transact(self, job: _Job[_Result], *, locks: Iterable[int] = ()) -> _Result:
        """Run ``job``, of one statement or several, in a transaction that waits longer for locks.

        Args:
            job: sees what was committed by those that it waited for.
            locks: numbers of 64 bits. No two transactions hold one of them at once. They come with
                the beginning, as a way there and back for each would cost more than they do.

        Raises:
            StoreUnavailable: the system failed, took too long, or the engine is closed.
        """
        beginning = self._connector.begin(patient=True) + _locking(locks)
        return await self._see_through(
            self._retry(_transaction(beginning, job), self._transactions)
        )

    async def close(self) -> None:
        """Let what is under way finish, then let go of the connections."""
        if self._is_forked():
            return
        while self._running:
            await asyncio.wait(self._running)
        self._closed = True
        while self._idle:
            await _part_from(self._idle.pop())

    async def _see_through(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._settle)
        return await asyncio.shield(task)

    def _settle(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # seen, even where the caller has gone

    def _alone(self, job: _Job[_Result]) -> _Job[_Result]:
        """A statement by itself, on our settings."""
        if self._connector.direct:
            return job
        return _transaction(self._connector.begin(patient=False), job)

    async def _retry(self, job: _Job[_Result], places: asyncio.Semaphore) -> _Result:
        if self._is_forked():
            raise StoreUnavailable(FORKED)
        with told_as_unavailable():
            async with asyncio.timeout(_CALL_SECONDS), _one_of(places):
                for _ in range(_TRIES - 1):
                    try:
                        return await self._try(job)
                    except RETRIED:
                        continue
                return await self._try(job)

    def _is_forked(self) -> bool:
        return os.getpid() != self._process

    async def _try(self, job: _Job[_Result]) -> _Result:
        era = self._era
        connection = await self._take()
        try:
            result = await job(connection)
        except asyncpg.ReadOnlySQLTransactionError:
            self._forsake(connection)
            raise
        except _ANSWERED:
            self._give_back(connection, era)
            raise
        except asyncio.CancelledError:  # the call took too long, not any answer: others are good
            connection.terminate()
            raise
        except BaseException:
            self._forsake(connection)
            raise
        self._give_back(connection, era)
        return result

    async def _take(self) -> Connection:
        if self._has_idle():
            return self._idle.pop()
        if self._closed:
            raise StoreUnavailable("The database has been closed")
        return await self._connector.connect()

    def _has_idle(self) -> bool:
        while self._idle and self._idle[-1].is_closed():
            self._idle.pop()
        return bool(self._idle)

    def _forsake(self, connection: Connection) -> None:
        """It is in the middle of who knows what, or leads to a server that can be written no more;
        and whatever befell it, the way or the server, has befallen those made until now.
        """
        self._era += 1
        for lost in (connection, *self._idle):
            lost.terminate()
        self._idle.clear()

    def _give_back(self, connection: Connection, era: int) -> None:
        if self._closed or era != self._era or connection.is_in_transaction():
            connection.terminate()
        else:
            self._idle.append(connection)


@asynccontextmanager
async def _one_of(places: asyncio.Semaphore) -> AsyncIterator[None]:
    """Within, one of the places is taken."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await places.acquire()
    except TimeoutError:
        raise StoreUnavailable("Too much is waiting for the database") from None
    try:
        yield
    finally:
        places.release()


def _locking(numbers: Iterable[int]) -> str:
    """In one order for all, and one after the other: no two transactions wait for each other."""
    return "".join(f"; SELECT pg_advisory_xact_lock({number})" for number in sorted(numbers))


def _transaction(beginning: str, job: _Job[_Result]) -> _Job[_Result]:
    async def transaction(connection: Connection) -> _Result:
        try:
            await connection.execute(beginning)
            result = await job(connection)
        except _ANSWERED:
            await connection.execute("ROLLBACK")
            raise
        await _commit(connection)
        return result

    return transaction


async def _commit(connection: Connection) -> None:
    """A server that warns as it commits has done so, but not yet wherever it is looked for: not on
    a node of Citus that it lost meanwhile, or not on a standby.
    """
    warnings = []

    def hear(_: object, message: Any) -> None:
        if message.severity_en == "WARNING":
            warnings.append(message)

    connection.add_log_listener(hear)
    try:
        await connection.execute("COMMIT")
    finally:
        connection.remove_log_listener(hear)
    if warnings:
        raise asyncpg.TransactionResolutionUnknownError


async def _part_from(connection: Connection) -> None:
    try:
        await connection.close(timeout=1)
    except Exception:  # noqa: BLE001  it was to go anyway
        connection.terminate()
