"""One SQLite file, used from asyncio: one thread writes, one reads, beside each other (WAL)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, TypeVar

import apsw

from keyturn.core.errors import StoreUnavailable

from .faults import told_as_unavailable
from .opening import connect, prepare, transact

__all__ = ["Engine"]

Result = TypeVar("Result")
_Job = Callable[[apsw.Connection], Result]
_Task = tuple[Callable[[], Any], asyncio.Future[Any], threading.Event]

_CHECKPOINT_PAGES: Final = 4000
"""Fewer checkpoints than with the default of 1000: each page is copied once for more commits."""

_PATIENCE_SECONDS: Final = 0.002
_MOMENT_SECONDS: Final = 0.0002


class Engine:
    """Runs transactions. Of the errors of SQLite those of the system (locked for five seconds, disk
    full or failing, file damaged) are raised as ``StoreUnavailable``; what a job raises otherwise
    goes to its caller as it is. Either way nothing of the transaction is left.

    A caller that is cancelled does not stop its transaction. After an exception from the commit
    itself it is unknown whether it was done.
    """

    def __init__(self, path: Path) -> None:
        self._writing = connect(path)
        self._writing.pragma("synchronous", "FULL")  # a commit is on the disk when it returns
        self._writing.pragma("secure_delete", "ON")  # an erased secret is overwritten
        self._writing.wal_autocheckpoint(_CHECKPOINT_PAGES)
        self._reading = connect(path)
        # Its data_version tells of the commits of all others, while no transaction is open on it.
        self._watching = connect(path)
        self._writer = _Worker("keyturn-sqlite-writer")
        self._reader = _Worker("keyturn-sqlite-reader")

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
        return await self._writer.run(partial(transact, self._writing, "BEGIN IMMEDIATE", job))

    async def read(self, job: _Job[Result]) -> Result:
        """Run ``job`` on one state of the file, with every commit acknowledged before the call.

        Raises:
            StoreUnavailable: the system failed, or the engine is closed.
        """
        return await self._reader.run(partial(transact, self._reading, "BEGIN", job))

    async def data_version(self) -> int:
        """A number that is another one after any commit to the file, by whichever process.

        Raises:
            StoreUnavailable: the system failed, or the engine is closed.
        """
        return await self._reader.run(lambda: self._watching.execute("PRAGMA data_version").get)

    async def close(self) -> None:
        """Run what was asked for, then let go of the file. What comes later is refused."""
        await self._reader.close(self._reading.close, self._watching.close)
        await self._writer.close(self._writing.close)


class _Worker:
    """A thread that runs one thing after the other, in the order they were asked for.

    Leaner than an executor: its hand-over is a queue there and one call of the loop back.
    """

    def __init__(self, name: str) -> None:
        self._queue: SimpleQueue[_Task | None] = SimpleQueue()
        self._closed = False
        # A program that forgot to close may end: what was acknowledged is on the disk.
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def run(self, call: Callable[[], Result]) -> asyncio.Future[Result]:
        if self._closed:
            raise StoreUnavailable("The database has been closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        answered = threading.Event()
        self._queue.put((call, future, answered))
        loop.call_later(_PATIENCE_SECONDS, _make_way, loop, answered)
        return future

    async def close(self, *last: Callable[[], None]) -> None:
        if not self._closed:
            farewell = [self.run(call) for call in last]
            self._closed = True
            self._queue.put(None)
            await asyncio.gather(*farewell)

    def _serve(self) -> None:
        while (task := self._queue.get()) is not None:
            call, future, answered = task
            try:
                with told_as_unavailable():
                    tell = partial(future.set_result, call())
            except BaseException as error:  # noqa: BLE001  whatever it was, the caller is told
                tell = partial(future.set_exception, error)
            answered.set()
            with suppress(RuntimeError):  # the loop was closed, and nobody waits any more
                future.get_loop().call_soon_threadsafe(_unless_done, future, tell)


def _unless_done(future: asyncio.Future[Any], tell: Callable[[], None]) -> None:
    if not future.done():
        tell()


def _make_way(loop: asyncio.AbstractEventLoop, answered: threading.Event) -> None:
    """Stand still for a moment, again and again until the thread has answered.

    A loop that never idles lets go of the interpreter's lock in each turn and takes it back before
    a waiting thread wakes up, which can keep that thread waiting for seconds.
    """
    if not answered.wait(_MOMENT_SECONDS):
        loop.call_later(_PATIENCE_SECONDS, _make_way, loop, answered)
