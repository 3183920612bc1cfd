"""HTTP/1.1 as a client that has ten thousand requests to make: one kept connection, no library."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import msgspec

__all__ = ["Connection", "Reply", "connected"]


class Reply(NamedTuple):
    """What a server answered."""

    status: int
    headers: dict[str, str]
    document: Any
    set_cookies: tuple[str, ...] = ()
    """The values of these headers, of which there may be many."""

    @property
    def access_token(self) -> str:
        return str(self.document["data"]["accessToken"])

    @property
    def refresh_token(self) -> str:
        return str(self.document["data"]["refreshToken"])


class Connection:
    """A connection to a server on this machine. One request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def get(self, path: str, access_token: str = "") -> Reply:
        """Ask for ``path``.

        Raises:
            ConnectionError: the server went away without an answer.
        """
        return await self._ask("GET", path, f"authorization: Bearer {access_token}\r\n", b"")

    async def post(self, path: str, **fields: Any) -> Reply:
        """Send the fields to ``path`` as JSON.

        Raises:
            ConnectionError: the server went away without an answer.
        """
        body = msgspec.json.encode(fields)
        head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        return await self._ask("POST", path, head, body)

    async def post_as_page(self, path: str, cookies: str) -> Reply:
        """Send the cookies, as one header has them, to ``path``: as a page of the server's does.

        Raises:
            ConnectionError: the server went away without an answer.
        """
        head = f"sec-fetch-site: same-origin\r\ncookie: {cookies}\r\ncontent-length: 0\r\n"
        return await self._ask("POST", path, head, b"")

    async def _ask(self, method: str, path: str, head: str, body: bytes) -> Reply:
        self._writer.write(f"{method} {path} HTTP/1.1\r\nhost: a\r\n{head}\r\n".encode() + body)
        try:
            first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            fields = [line.split(": ", 1) for line in lines if line]
            headers = {name.lower(): value for name, value in fields}
            document = await self._reader.readexactly(int(headers["content-length"]))
        except asyncio.IncompleteReadError as error:
            raise ConnectionError from error
        set_cookies = tuple(value for name, value in fields if name.lower() == "set-cookie")
        return Reply(int(first.split()[1]), headers, msgspec.json.decode(document), set_cookies)

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    """A connection to the server on ``port``."""
    connection = Connection(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield connection
    finally:
        await connection.close()
