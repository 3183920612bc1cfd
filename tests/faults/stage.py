"""Servers on one store, sessions for clients, and what is left of them in the end."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from keyturn.core.model import Policy, Tokens
from keyturn.sessions import Sessions
from keyturn.stores import open_store, store_exists
from tests.faults import end_state
from tests.faults.clients import PATIENCE, RECOVERY, Client, honest_clients
from tests.postgresql import free_port
from tests.processes.http_client import connected
from tests.server.processes import Server, serving

__all__ = ["POLICY", "PUBLIC_URL", "SECRET", "RunningStage", "Stage", "engine_on", "on_stage"]

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
async def engine_on(url: str, secrets: Sequence[bytes] = (SECRET,)) -> AsyncIterator[Sessions]:
    """The sessions in a store, as one more process sees them that nobody asks."""
    store = await open_store(url, create=True)
    sessions = Sessions(store, secrets=secrets, issuer=PUBLIC_URL, policy=POLICY)
    try:
        await sessions.load()
        yield sessions
    finally:
        await sessions.close()


class Stage:
    """Servers that share a store."""

    def __init__(self, store: str, ports: Sequence[int]) -> None:
        self.store = store
        """Its URL, past everything that a test may have put before it."""
        self.ports = ports
        self.secrets: Sequence[bytes] = (SECRET,)
        """Of the servers by now, and those of the clients' tokens."""
        self._users = itertools.count()

    async def clients(self, count: int) -> list[Client]:
        """Each with a new session, of a user of its own."""
        at_once = asyncio.Semaphore(4)
        async with engine_on(self.store, self.secrets) as sessions:

            async def sign_in(user_id: str) -> Tokens:
                async with at_once:
                    return await sessions.create(user_id)

            users = [f"user-{next(self._users)}" for _ in range(count)]
            return honest_clients(await asyncio.gather(*map(sign_in, users)), self.ports)

    async def expect_health(self, client: Client) -> None:
        """That every server answers what needs no store."""
        for port in self.ports:
            async with asyncio.timeout(PATIENCE), connected(port) as connection:
                assert (await connection.get("/healthz")).status == 200
                assert (await connection.get("/me", client.wallet.access_token)).status == 200

    async def gets_ready(self) -> None:
        """Wait until every server says that it can answer."""
        for port in self.ports:
            async with asyncio.timeout(RECOVERY), connected(port) as connection:
                while (await connection.get("/readyz")).status != 200:
                    pass

    async def learns_of(self, leaving: Iterable[Client]) -> None:
        """Wait until every server refuses those who have logged out."""
        for port in self.ports:
            async with asyncio.timeout(PATIENCE), connected(port) as connection:
                for client in leaving:
                    while (await connection.get("/me", client.wallet.access_token)).status != 401:
                        pass

    async def examine(self, clients: Sequence[Client], **circumstances: bool) -> Counter[str]:
        """As ``end_state.examine``, of the servers and the store here."""
        async with engine_on(self.store, self.secrets) as sessions:
            return await end_state.examine(clients, sessions, self.ports, **circumstances)


class RunningStage(Stage):
    """Of processes, which can be stopped and started again."""

    def __init__(self, store: str, servers: Sequence[Server], start: Callable[..., Server]) -> None:
        super().__init__(store, [server.port for server in servers])
        self.servers = list(servers)
        self._start = start

    async def restart(self, number: int, **settings: str) -> None:
        """Stop one, and have another take its port and its folder. Its settings are those that all
        have, but for these.
        """
        await self.stop(number)
        await self.start(number, **settings)

    async def stop(self, number: int) -> None:
        server = self.servers[number]
        code = await asyncio.to_thread(server.stop)
        assert code == 0, f"ended with {code}; {server.errors.read_text()}"

    async def start(self, number: int, **settings: str) -> None:
        port = self.ports[number]
        self.servers[number] = await asyncio.to_thread(self._start, number, port, **settings)


@asynccontextmanager
async def on_stage(
    folder: Path,
    store: str,
    *,
    through: str = "",
    servers: int = 2,
    workers: int = 1,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[RunningStage]:
    """Servers on the store, made if it is not there, which they reach by the URL ``through`` if one
    is given; each has a worker that can answer. In the end they stop as they are asked to, and have
    logged no traceback.
    """
    shared = {**SETTINGS, "KEYTURN_DATABASE_URL": through or store, **(settings or {})}
    folders = [folder / f"server-{number}" for number in range(servers)]
    if not await store_exists(store):
        async with engine_on(store):
            pass  # now there are tables and a key
    with ExitStack() as stack:

        def start(number: int, port: int | None = None, **own: str) -> Server:
            folders[number].mkdir(exist_ok=True)
            options = ("--port", str(port or free_port()), "--workers", str(workers))
            return stack.enter_context(serving(folders[number], *options, **{**shared, **own}))

        numbers = range(servers)
        started = await asyncio.gather(*(asyncio.to_thread(start, number) for number in numbers))
        stage = RunningStage(store, started, start)
        await stage.gets_ready()
        yield stage
        await asyncio.gather(*map(stage.stop, numbers))
        for each in folders:
            assert "Traceback" not in (each / "stderr").read_text()
