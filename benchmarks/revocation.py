"""How soon a logout that one of four servers acknowledged is refused by the other three.

Over HTTP, with the access token: each server is asked without a pause, from the acknowledgement
until the last of them has refused. On PostgreSQL servers are woken by notifications; behind
PgBouncer they cannot be, and look by themselves.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from tests.pgbouncer import pgbouncer, through
from tests.postgresql import running
from tests.processes.revocations import delays_of
from tests.processes.servers import connections, made, register, serving_at_once

from .measure import heading

LOGOUTS = 240
PAUSE = 0.5
"""Seconds at most before each, by chance, so that it comes at any time between two looks."""


def run() -> None:
    heading(f"From a logout to the last refusal, four servers, {LOGOUTS} logouts: milliseconds")
    print("                                          p50     p99     max")
    with running() as server, pgbouncer(server) as pooler:
        told, polling = (asyncio.run(server.new_database()) for _ in range(2))
        _show("PostgreSQL with notifications", told)
        _show("PostgreSQL by polling alone", through(pooler, polling))
        with tempfile.TemporaryDirectory() as folder:
            _show("SQLite", f"sqlite:///{Path(folder) / 'keyturn.db'}")


def _show(what: str, url: str) -> None:
    delays = asyncio.run(_delays_on(url))
    figures = (delays[len(delays) // 2], delays[len(delays) * 99 // 100], delays[-1])
    print(what.ljust(36), *(f"{figure * 1000:8.1f}" for figure in figures))


async def _delays_on(url: str) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        settings = made(Path(folder), url)
        async with (
            serving_at_once(Path(folder), **settings) as servers,
            connections(servers) as clients,
        ):
            await register(clients[0])
            return await delays_of(clients, LOGOUTS, pause=PAUSE)
