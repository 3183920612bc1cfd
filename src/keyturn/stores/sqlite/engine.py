"""One SQLite file, used from asyncio: one thread writes, others read, beside each other (WAL)."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, TypeVar

import apsw

from keyturn.core.errors import StoreUnavailable
from keyturn.stores.base import FORKED

from .faults import told_as_unavailable
from .opening import connect, prepare, transact

__all__ = ["Engine"]

Result = TypeVar("Result")
_Job = Callable[[apsw.Connection], Result]
_Task = tuple[Callable[[], Any], asyncio.Future[Any], float]
"""What to call, whom to tell, and when it is too late to begin."""

_CHECKPOINT_PAGES: Final = 4000
"""Fewer checkpoints than with the default of 1000: each page is copied once for more commits."""

_DEADLINE_SECONDS: Final = 5.0
_LONGEST_QUEUE: Final = 5000

_PATIENCE_SECONDS: Final = 0.002
_MOMENT_SECONDS: Final = 0.0002


class Engine:
    """Runs transactions. Of the errors of SQLite those of the system (locked for five seconds, disk
    full or failing, file damaged) are raised as ``StoreUnavailable``; what a job raises otherwise
    goes to its caller as it is. Either way nothing of the transaction is left. A job that could not
    begin within five seconds is refused, and so is one that would have to wait behind thousands.

    A file that was replaced or removed is not written any more once ``look`` or ``data_version``
    has noticed: nobody else would ever read it.

    Exchanges read on a thread of their own, and so does the one who follows what others do: however
    much is read beside, exchanges go on, and what is revoked becomes known.

    A caller that is cancelled does not stop its transaction. After an exception from the commit
    itself it is unknown whether it was done.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity = _identity(path)
        self._in_place = True
        self._writing = connect(path)
        self._writing.pragma("synchronous", "FULL")  # a commit is on the disk when it returns
        self._writing.pragma("secure_delete", "ON")  # an erased secret is overwritten
        self._writing.wal_autocheckpoint(_CHECKPOINT_PAGES)
        self._reading = connect(path)
        self._exchanging = connect(path)
        # Its data_version tells of the commits of all others, while no transaction is open on it.
        self._watching = connect(path)
        self._writer = _Worker("keyturn-sqlite-writer")
        self._reader = _Worker("keyturn-sqlite-reader")
        self._exchanger = _Worker("keyturn-sqlite-exchanger")
        self._follower = _Worker("keyturn-sqlite-follower")

    @classmethod
    async def open(cls, path: str, *, create: bool) -> Engine:
        """Open the file, bring its tables up to date, and start the threads.

        Raises:
            ConfigurationError: it is absent and not to be made, foreign, damaged, cannot be
                written, or of another release. Nothing was changed.
            StoreUnavailable: the disk failed, or another process kept the file locked.
        """
        return await asyncio.to_thread(cls._open, path, create=create)

    @classmethod
    def _open(cls, path: str, *, create: bool) -> Engine:
        file = Path(path).absolute()
        with told_as_unavailable():
            prepare(file, create=create)
            return cls(file)

    async def write(self, job: _Job[Result]) -> Result:
        """Run ``job`` as the only writer of the file. What it did is durable on return.

        Raises:
            StoreUnavailable: the system failed, or the engine is closed.
        """
        self._require_in_place()
        return await self._writer.run(partial(transact, self._writing, "BEGIN IMMEDIATE", job))

    async def read(self, job: _Job[Result]) -> Result:
        """Run ``job`` on one state of the file, with every commit acknowledged before the call.

        Raises:
            StoreUnavailable: the system failed, or the engine is closed.
        """
        self._require_in_place()
        return await self._reader.run(partial(transact, self._reading, "BEGIN", job))

    async def read_batch(self, job: _Job[Result]) -> Result:
        """As ``read``, for exchanges."""
        self._require_in_place()
        return await self._exchanger.run(partial(transact, self._exchanging, "BEGIN", job))

    async def follow(self, job: _Job[Result]) -> Result:
        """As ``read``, for the one who follows what others do."""
        self._require_in_place()
        return await self._follower.run(partial(transact, self._watching, "BEGIN", job))

    async def data_version(self) -> int:
        """A number that is another one after any commit to the file, by whichever process.

        Raises:
            StoreUnavailable: the system failed, the engine is closed, or the file is not in place.
        """
        return await self._follower.run(self._data_version)

    def _data_version(self) -> int:
        self._look()
        version: int = self._watching.execute("PRAGMA data_version").get
        return version

    async def look(self) -> None:
        """See whether the file that is open is still the one at the path.

        Raises:
            StoreUnavailable: it is not, or the engine is closed.
        """
        await self._reader.run(self._look)

    def _look(self) -> None:
        self._in_place = _identity(self._path) == self._identity
        self._require_in_place()

    def _require_in_place(self) -> None:
        if not self._in_place:
            raise StoreUnavailable("The database file was replaced or removed: restart Keyturn")

    async def close(self) -> None:
        """Run what was asked for, then let go of the file. What comes later is refused."""
        await self._follower.close(self._watching.close)
        await self._exchanger.close(self._exchanging.close)
        await self._reader.close(self._reading.close)
        await self._writer.close(self._writing.close)


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file is at the path, if any."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class _Worker:
    """A thread that runs one thing after the other, in the order they were asked for.

    Leaner than an executor: its hand-over is a queue there and one call of the loop back.
    """

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[_Task | None] = SimpleQueue()
        self._closed = False
        self._asked = 0
        self._answered = 0
        self._answer = threading.Event()
        self._watched_by: asyncio.AbstractEventLoop | None = None
        # A program that forgot to close may end: what was acknowledged is on the disk.
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def run(self, call: Callable[[], Result]) -> asyncio.Future[Result]:
        if self._closed:
            raise StoreUnavailable("The database has been closed")
        if not self._thread.is_alive():  # no thread but the one that forks lives on in the child
            raise StoreUnavailable(FORKED)
        if self._queue.qsize() >= _LONGEST_QUEUE:
            raise StoreUnavailable("Too much is waiting for the database")
        return self._put(call, time.monotonic() + _DEADLINE_SECONDS)

    async def close(self, *last: Callable[[], None]) -> None:
        if not self._closed and self._thread.is_alive():
            self._closed = True
            farewell = [self._put(call, math.inf) for call in last]
            self._queue.put(None)
            await asyncio.gather(*farewell)

    def _put(self, call: Callable[[], Result], deadline: float) -> asyncio.Future[Result]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._asked += 1
        self._queue.put((call, future, deadline))
        if self._watched_by is not loop:
            self._watched_by = loop
            loop.call_later(_PATIENCE_SECONDS, self._make_way, loop, self._answered)
        return future

    def _serve(self) -> None:
        while (task := self._queue.get()) is not None:
            call, future, deadline = task
            try:
                with told_as_unavailable():
                    tell = partial(future.set_result, _in_time(call, deadline))
            except BaseException as error:  # noqa: BLE001  whatever it was, the caller is told
                tell = partial(future.set_exception, error)
            self._answered += 1
            self._answer.set()
            with suppress(RuntimeError):  # the loop was closed, and nobody waits any more
                future.get_loop().call_soon_threadsafe(_unless_done, future, tell)

    def _make_way(self, loop: asyncio.AbstractEventLoop, answered: int) -> None:
        """Stand still for a moment if nothing was answered of late, again and again until all is.

        A loop that never idles lets go of the interpreter's lock in each turn and takes it back
        before a waiting thread wakes up, which can keep that thread waiting for seconds.
        """
        if self._watched_by is not loop:
            return
        if self._answered == self._asked:
            self._watched_by = None
            return
        if self._answered == answered:
            self._answer.clear()
            self._answer.wait(_MOMENT_SECONDS)
        loop.call_later(_PATIENCE_SECONDS, self._make_way, loop, self._answered)


def _in_time(call: Callable[[], Result], deadline: float) -> Result:
    """Whoever waited for so long would only wait on for the lock that kept the others."""
    if time.monotonic() > deadline:
        raise StoreUnavailable("The database was too busy to begin in time")
    return call()


def _unless_done(future: asyncio.Future[Any], tell: Callable[[], None]) -> None:
    if not future.done():
        tell()
