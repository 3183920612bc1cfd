"""A proxy in front of PostgreSQL that does to its connections what networks do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

__all__ = ["Frontend", "Proxy", "proxied"]

_PROTOCOL: Final = (196608).to_bytes(4)
"""Of the packet that begins a session; others before it ask for encryption, and have no type."""
_WRITE: Final = ("COMMIT", "DELETE", "INSERT", "UPDATE", "WITH")
_CHUNK: Final = 65536

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Frontend:
    """What a client of PostgreSQL sends, message by message, and which of them makes a commit.

    PostgreSQL's manual, "Frontend/Backend Protocol"; prepared statements are told by their text.
    """

    def __init__(self) -> None:
        self._unread = b""
        self._begun = False
        self._statements: dict[bytes, str] = {}
        self._bound = ""
        self._executed = ""
        self._in_transaction = False

    def read(self, data: bytes) -> Iterator[tuple[bytes, str]]:
        """The messages that are complete by now, each with the statement that it commits: one that
        writes and is a transaction by itself, or ``COMMIT``. Empty for all other messages.
        """
        self._unread += data
        while message := self._next():
            yield message, self._committed_by(message) if self._begun else ""
            self._begun = self._begun or message[4:8] == _PROTOCOL

    def _next(self) -> bytes:
        typed = int(self._begun)
        if len(self._unread) < typed + 4:
            return b""
        end = typed + int.from_bytes(self._unread[typed : typed + 4])
        if len(self._unread) < end:
            return b""
        message, self._unread = self._unread[:end], self._unread[end:]
        return message

    def _committed_by(self, message: bytes) -> str:
        body = message[5:]
        match message[:1]:
            case b"Q":
                return self._committed(body.rstrip(b"\0").decode())
            case b"P":
                name, text, _ = body.split(b"\0", 2)
                self._statements[name] = text.decode()
            case b"B":
                self._bound = self._statements[body.split(b"\0", 2)[1]]
            case b"E":
                self._executed = self._bound
            case b"S":
                executed, self._executed = self._executed, ""
                return self._committed(executed)
        return ""

    def _committed(self, statement: str) -> str:
        word = statement.split(maxsplit=1)[0].rstrip(";") if statement else ""
        if word in {"BEGIN", "COMMIT", "ROLLBACK"}:
            self._in_transaction = word == "BEGIN"
        return statement if word in _WRITE and not self._in_transaction else ""


class Proxy:
    """Forwards what comes on a port of its own to a server on this machine. It lives in the event
    loop of the test, which changes its mood at any time.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        """The port that connections lead to which are made from now on."""
        self.port = 0
        self.delay = 0.0
        """Seconds that whatever is sent needs to the server."""
        self.loses_answer: Callable[[str], bool] = lambda _: False
        """Asked at each commit, given its statement: whether the connection is cut right after it
        was passed on, so that it is done and its answer lost.
        """
        self.answers_lost = 0
        self._speaking = asyncio.Event()
        self._speaking.set()
        self._passages: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    def url(self, database: str) -> str:
        """That of a database on the target, by way of here."""
        name = urlsplit(database).path
        return f"postgresql://keyturn@127.0.0.1:{self.port}{name}?sslmode=disable"

    async def listen(self) -> None:
        """Take connections, on the same port as before if there was one."""
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._listener.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Take no connections until ``listen``; those that there are go on."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def cut(self) -> None:
        """End all connections, and lose what is on its way."""
        for passage in self._passages:
            passage.cancel()

    def strand(self) -> None:
        """Pass nothing on any more on the connections that there are, and tell nobody: as a
        firewall that has forgotten them. New ones go on.
        """
        self._speaking.clear()
        self._speaking = asyncio.Event()
        self._speaking.set()

    def fall_silent(self) -> None:
        """Take connections and whatever is sent, and pass nothing on. What was not cut by the time
        of ``speak`` comes late.
        """
        self._speaking.clear()

    def speak(self) -> None:
        self._speaking.set()

    async def close(self) -> None:
        self.refuse()
        self.cut()
        await asyncio.gather(*self._passages, return_exceptions=True)
        await asyncio.sleep(0)  # in which what was aborted is closed

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passage = asyncio.current_task()
        assert passage
        self._passages.add(passage)
        try:
            speaking = self._speaking
            await speaking.wait()
            server = await asyncio.open_connection("127.0.0.1", self.target)
            await _Passage(self, speaking, (reader, writer), server).run()
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._passages.discard(passage)


class _Passage:
    """One connection of a client's, and the one to the server."""

    def __init__(
        self, proxy: Proxy, speaking: asyncio.Event, client: _Streams, server: _Streams
    ) -> None:
        self._proxy = proxy
        self._speaking = speaking
        self._from_client, self._to_client = client
        self._from_server, self._to_server = server
        self._loses_answer = False

    async def run(self) -> None:
        """Until either side hangs up."""
        asking = asyncio.create_task(self._ask())
        answering = asyncio.create_task(self._answer())
        try:
            await asyncio.wait({asking, answering}, return_when=asyncio.FIRST_COMPLETED)
            if self._loses_answer:
                await answering
        except asyncio.CancelledError:
            self._to_server.transport.abort()
            raise
        finally:
            asking.cancel()
            answering.cancel()
            self._to_server.close()
            self._to_client.close()

    async def _ask(self) -> None:
        frontend = Frontend()
        async for data in self._sent(self._from_client):
            await asyncio.sleep(self._proxy.delay)
            for message, statement in frontend.read(data):
                self._loses_answer = bool(statement) and self._proxy.loses_answer(statement)
                self._to_server.write(message)
                if self._loses_answer:
                    self._proxy.answers_lost += 1
                    self._to_client.transport.abort()
                    return

    async def _answer(self) -> None:
        async for data in self._sent(self._from_server):
            if self._loses_answer:
                return
            self._to_client.write(data)

    async def _sent(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        """What one side has sent, until it hangs up."""
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._speaking.wait()
                yield data


@asynccontextmanager
async def proxied(target: int) -> AsyncIterator[Proxy]:
    """A proxy in front of the server on port ``target``."""
    proxy = Proxy(target)
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.close()
