"""The endpoints as a raw ASGI application, for uvicorn and its like."""

from __future__ import annotations

import asyncio
import random
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
    MutableMapping,
)
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from typing import Any

from keyturn.wire.endpoints import Endpoints
from keyturn.wire.http import LONGEST_BODY, Request, Response, announces_too_much
from keyturn.wire.request_ids import REQUEST_ID, given_id, serve_under

__all__ = ["Answer", "App", "send_response"]

Answer = Callable[[Request], Awaitable[Response]]
"""What answers requests."""

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_Application = Callable[[_Message, _Receive, _Send], Awaitable[None]]


class App:
    """An ASGI 3 application.

    Args:
        endpoints: what is served.
        answer: what answers requests, if that is not the endpoints alone.
        lifespan: makes what is entered before the first request and left after the last one, such
            as the ``Sessions``.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        *,
        answer: Answer | None = None,
        lifespan: Callable[[], AbstractAsyncContextManager[object]] = nullcontext,
    ) -> None:
        self._endpoints = endpoints
        self._answer = endpoints.handle if answer is None else answer
        self._lifespan = lifespan
        self._base_path = endpoints.settings.base_path
        self._trusted_proxies = endpoints.settings.trusted_proxies

    @staticmethod
    def opened_by(opening: Callable[[], AbstractAsyncContextManager[Endpoints]]) -> _Application:
        """An application that opens its endpoints when a server starts it. So it can be loaded
        before the server forks its workers, each of which opens a store of its own.

        Args:
            opening: makes what gives the endpoints when it is entered, before the first request,
                and is left after the last one.
        """
        return _Opened(opening)

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Serve one connection of the kinds ``http`` and ``lifespan``."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _live(self._lifespan, receive, send)
        else:
            await send({"type": "websocket.close"})

    async def _serve(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        # A body that is refused for its length is not asked for.
        body = b"" if announces_too_much(scope["headers"]) else await _read_body(receive)
        if body is not None:
            await send_response(await self.respond(scope, body), receive, send)

    async def respond(self, scope: Mapping[str, Any], body: bytes) -> Response:
        """Answer a request that is there as a whole, for servers that can do without messages.

        Args:
            scope: of its connection, of kind ``http``.
            body: all of it, or as much as shows that it is too long.
        """
        client = scope.get("client")
        request = Request(
            scope["method"],
            self._own_path(scope),
            scope["query_string"],
            scope["headers"],
            body,
            client[0] if client else "",
        )
        request_id = given_id(request, self._trusted_proxies) or _new_id()
        serve_under(request_id)
        response = await self._answer(request)
        told = (*response.headers, (REQUEST_ID, request_id.encode()))
        return Response(response.status, told, response.body, response.stream)

    def end_streams(self) -> None:
        """To be called as the server stops, before it waits for answers that have begun."""
        self._endpoints.end_streams()

    def _own_path(self, scope: Mapping[str, Any]) -> str:
        """The path below the base path, which a proxy in front may have taken off already."""
        path: str = scope["path"]
        return path.removeprefix(scope.get("root_path") or self._base_path)


class _Opened:
    """An application that there is from the start of a server to its end."""

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[Endpoints]]) -> None:
        self._opening = opening
        self._app: App | None = None

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] == "lifespan":
            await _live(self._open, receive, send)
        elif self._app is None:
            raise RuntimeError("Nothing is open: the server must send the lifespan events of ASGI")
        else:
            await self._app(scope, receive, send)

    def end_streams(self) -> None:
        """As ``App.end_streams``."""
        if self._app is not None:
            self._app.end_streams()

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        async with self._opening() as endpoints:
            self._app = App(endpoints)
            yield


async def _live(
    lifespan: Callable[[], AbstractAsyncContextManager[object]], receive: _Receive, send: _Send
) -> None:
    await receive()
    stage = "startup"
    try:
        async with lifespan():
            await send({"type": "lifespan.startup.complete"})
            await receive()
            stage = "shutdown"
    except Exception as error:  # noqa: BLE001  the server tells of it, and stops
        await send({"type": f"lifespan.{stage}.failed", "message": str(error)})
    else:
        await send({"type": "lifespan.shutdown.complete"})


async def _read_body(receive: _Receive) -> bytes | None:
    """The body, or as much as shows that it is too long; None if the client has gone."""
    chunks: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        length += len(chunks[-1])
        if length > LONGEST_BODY or not message.get("more_body", False):
            return b"".join(chunks)


def _new_id() -> str:
    """No secret, so the one that is quick to come by; each process has a sequence of its own."""
    return f"{random.getrandbits(128):032x}"


async def send_response(response: Response, receive: _Receive, send: _Send) -> None:
    """Send a response as ASGI has it."""
    headers = [*response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if response.stream is None:
        await send({"type": "http.response.body", "body": response.body})
    else:
        await _send_stream(response.stream, receive, send)


async def _send_stream(stream: AsyncGenerator[bytes, None], receive: _Receive, send: _Send) -> None:
    """Send the chunks as they come, until there are no more or the client has gone."""
    sending = asyncio.create_task(_send_chunks(stream, send))
    leaving = asyncio.create_task(_until_gone(receive))
    try:
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sending.cancel()
        leaving.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)


async def _send_chunks(stream: AsyncGenerator[bytes, None], send: _Send) -> None:
    async with aclosing(stream):
        async for chunk in stream:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _until_gone(receive: _Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
