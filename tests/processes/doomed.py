"""Servers that kill themselves with SIGKILL at a chosen point of an exchange, one after the other:
``python -m tests.processes.doomed URL LISTENER``. For each line of JSON in, a server is forked and
serves until it dies; then a line tells the signal that it died of.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from enum import StrEnum
from typing import Any, NoReturn

import msgspec
import uvicorn

from keyturn.accounts import Accounts, open_users
from keyturn.integrations.asgi import App
from keyturn.stores import Store, open_store
from keyturn.stores.base import Swap
from keyturn.stores.postgres import PostgresStore, gathered
from keyturn.stores.postgres.connecting import Connection
from keyturn.stores.sqlite import SQLiteStore
from keyturn.stores.sqlite import statements as sqlite
from keyturn.wire.endpoints import Endpoints
from keyturn.wire.settings import WireSettings
from tests.support import ISSUER, Altered, Clock, engine

__all__ = ["Doom", "Point"]

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


class Point(StrEnum):
    """When to die."""

    BEFORE_STATEMENT = "before the statement"
    AFTER_STATEMENT = "after the statement"
    DURING_COMMIT = "during the commit"
    AFTER_COMMIT = "after the commit"
    BEFORE_ANSWER = "before the answer"


class Doom(msgspec.Struct):
    """What is in store for a server: when it dies, and what its clock shows until then."""

    point: Point
    now: int


class DoomedStore(Altered):
    """Dies in the first swap, at its point."""

    def __init__(self, store: Store, point: Point) -> None:
        super().__init__(store)
        self._point = point

    async def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        if self._point is Point.BEFORE_STATEMENT:
            die()
        if self._point in {Point.AFTER_STATEMENT, Point.DURING_COMMIT}:
            await self._die_in_transaction(swaps)
        won = await self.store.swap(swaps)
        if self._point is Point.AFTER_COMMIT:
            die()
        return won

    async def _die_in_transaction(self, swaps: Sequence[Swap]) -> None:
        if isinstance(self.store, SQLiteStore):
            await self.store.engine.write(
                lambda connection: (sqlite.swap(connection, swaps), die())
            )
        assert isinstance(self.store, PostgresStore)
        await self.store.engine.transact(lambda connection: self._swap_and_die(connection, swaps))

    async def _swap_and_die(self, connection: Connection, swaps: Sequence[Swap]) -> None:
        await gathered.swap(connection, swaps)
        if self._point is Point.DURING_COMMIT:
            commit = asyncio.create_task(connection.execute("COMMIT"))
            await asyncio.sleep(0)  # so that the server gets it, and answers nobody
            assert not commit.done()
        die()


class DoomedApp:
    """Dies when the first exchange is about to be answered, if that is its point."""

    def __init__(self, app: App, point: Point) -> None:
        self._app = app
        self._point = point

    async def __call__(self, scope: Message, receive: Any, send: Send) -> None:
        async def send_or_die(message: Message) -> None:
            if self._point is Point.BEFORE_ANSWER and scope["method"] == "POST":
                die()
            await send(message)

        await self._app(scope, receive, send_or_die)


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


async def serve(url: str, listener: socket.socket, doom: Doom) -> None:
    store = await open_store(url)
    async with engine(DoomedStore(store, doom.point), Clock(doom.now)) as sessions:
        accounts = Accounts(open_users(store), sessions)
        app = App(Endpoints(sessions, accounts, WireSettings(public_url=ISSUER)))
        config = uvicorn.Config(
            DoomedApp(app, doom.point), http="httptools", ws="none", lifespan="off", log_config=None
        )
        await uvicorn.Server(config).serve(sockets=[listener])


def main() -> None:
    """Fork, before there are threads, and wait."""
    url, listener = sys.argv[1], socket.socket(fileno=int(sys.argv[2]))
    for line in sys.stdin:
        doom = msgspec.json.decode(line, type=Doom)
        if (child := os.fork()) == 0:
            asyncio.run(serve(url, listener, doom))
            os._exit(0)
        died_of = -os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(died_of, flush=True)


if __name__ == "__main__":
    main()
