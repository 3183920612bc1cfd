"""What tests on a real server need."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import uvicorn

from tests.processes.servers import Application


def free_port() -> socket.socket:
    """One of this machine, and listening."""
    return socket.create_server(("127.0.0.1", 0))


@asynccontextmanager
async def served(
    app: Application, listener: socket.socket | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of ``app`` on uvicorn."""
    listener = listener or free_port()
    config = uvicorn.Config(
        app,
        http="httptools",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    port = listener.getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        yield client
    server.should_exit = True
    await serving
