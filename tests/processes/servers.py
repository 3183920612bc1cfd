"""Several ``keyturn serve`` on one store, each with a port of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import uvicorn

from tests.processes.http_client import Connection, Reply, connected
from tests.server.processes import ADA, Server, run_keyturn, serving

__all__ = [
    "SERVERS",
    "Application",
    "connections",
    "listening",
    "made",
    "register",
    "served",
    "serving_at_once",
    "sign_in",
]

Application = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application."""

SERVERS: Final = 4


def listening() -> socket.socket:
    """A socket for servers that are made of parts, on a free port of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    # asyncio does it only for sockets that name their protocol; and two writes would take 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def made(folder: Path, url: str) -> dict[str, str]:
    """Make the store at ``url``, and a secret in ``folder``. Returns the servers' settings."""
    settings = {"KEYTURN_DATABASE_URL": url}
    init = run_keyturn(folder, "init", **settings)
    assert init.returncode == 0, init.stderr
    return settings


@asynccontextmanager
async def served(app: Application) -> AsyncIterator[int]:
    """The port on which an application is served by this process."""
    server = uvicorn.Server(uvicorn.Config(app, ws="none", lifespan="off", log_config=None))
    with listening() as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield listener.getsockname()[1]
        server.should_exit = True
        await serving


@asynccontextmanager
async def serving_at_once(folder: Path, **settings: str) -> AsyncIterator[list[Server]]:
    """Four servers that were started at the same moment, with one public URL. At the end they are
    asked to stop, and do.
    """
    settings["KEYTURN_PUBLIC_URL"] = "http://127.0.0.1:8000"
    with ExitStack() as stack:
        starts = [
            asyncio.to_thread(stack.enter_context, serving(folder, **settings))
            for _ in range(SERVERS)
        ]
        servers = await asyncio.gather(*starts)
        yield servers
        codes = await asyncio.gather(*(asyncio.to_thread(server.stop) for server in servers))
    assert set(codes) == {0}
    assert "Traceback" not in servers[0].errors.read_text()


@asynccontextmanager
async def connections(
    servers: list[Server], count: int = SERVERS
) -> AsyncIterator[list[Connection]]:
    """As many to each server."""
    ports = [urlsplit(server.url).port or 0 for server in servers]
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(connected(ports[number % len(ports)]))
            for number in range(count)
        ]


async def register(connection: Connection) -> None:
    """Add the user who signs in."""
    assert (await connection.post("/register", **ADA)).status == 201


async def sign_in(connection: Connection) -> Reply:
    """A new session."""
    reply = await connection.post("/login", username=ADA["username"], password=ADA["password"])
    assert reply.status == 200
    return reply
