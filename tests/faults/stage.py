"""Servers on one store, sessions for clients, and what the store holds in the end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from keyturn.core.model import Claims, Policy
from keyturn.sessions import Sessions
from keyturn.stores import open_store
from tests.faults import end_state
from tests.faults.clients import Client, honest_clients
from tests.server.processes import Server, serving

__all__ = ["POLICY", "PUBLIC_URL", "SECRET", "Stage", "engine_on", "on_stage"]

PUBLIC_URL: Final = "http://127.0.0.1:8000"
SECRET: Final = b"correct-horse-battery-staple-0123456789"
POLICY: Final = Policy(retry_window=15)
"""Three times what a client waits for an answer, and a little more (SPEC 4.3)."""

SETTINGS: Final = {
    "KEYTURN_PUBLIC_URL": PUBLIC_URL,
    "KEYTURN_SECRET": SECRET.decode(),
    "KEYTURN_RETRY_WINDOW": str(POLICY.retry_window),
    "KEYTURN_LOG_FORMAT": "text",
}


@asynccontextmanager
async def engine_on(url: str) -> AsyncIterator[Sessions]:
    """The sessions in a store, as one more process sees them that nobody asks."""
    store = await open_store(url, create=True)
    sessions = Sessions(store, secrets=[SECRET], issuer=PUBLIC_URL, policy=POLICY)
    try:
        await sessions.load()
        yield sessions
    finally:
        await sessions.close()


@dataclass
class Stage:
    """Servers that share a store."""

    store: str
    """Its URL, past everything that a test may have put before it."""
    ports: Sequence[int]
    """Of the servers."""
    servers: Sequence[Server] = ()
    """Their processes, where they have some of their own."""

    async def clients(self, count: int) -> list[Client]:
        """Each with a new session, of a user of its own."""
        async with engine_on(self.store) as sessions:
            begun = await asyncio.gather(
                *(sessions.create(f"user-{number}", Claims()) for number in range(count))
            )
        return honest_clients(begun, self.ports)

    async def examine(self, clients: Sequence[Client], *, fell_back: bool = False) -> Counter[str]:
        """As ``end_state.examine``."""
        async with engine_on(self.store) as sessions:
            return await end_state.examine(clients, sessions, self.ports, fell_back=fell_back)


@asynccontextmanager
async def on_stage(
    folder: Path, store: str, through: str = "", **settings: str
) -> AsyncIterator[Stage]:
    """Two servers on the store, which they reach by the URL ``through`` if one is given. In the end
    they stop as they are asked to, and have logged no traceback.
    """
    async with engine_on(store):
        pass  # now it has tables and a key
    settings = {**SETTINGS, "KEYTURN_DATABASE_URL": through or store, **settings}
    with ExitStack() as stack:
        servers = await asyncio.gather(
            *(
                asyncio.to_thread(stack.enter_context, serving(_made(folder / name), **settings))
                for name in ("one", "two")
            )
        )
        yield Stage(store, [server.port for server in servers], servers)
        codes = await asyncio.gather(*(asyncio.to_thread(server.stop) for server in servers))
    assert codes == [0, 0]
    for server in servers:
        assert "Traceback" not in server.errors.read_text()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
