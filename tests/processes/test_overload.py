"""Exchanges and checks over HTTP while more people want to sign in than passwords can be hashed."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from keyturn.accounts import Accounts, PasswordHashing, open_users
from keyturn.integrations.asgi import App
from keyturn.stores.sqlite import SQLiteStore
from keyturn.wire.endpoints import Endpoints
from keyturn.wire.settings import REFRESH_PATH, WireSettings
from tests.accounts.support import PASSWORD, InstantHasher
from tests.processes.http_client import Connection, Reply, connected
from tests.processes.servers import served
from tests.processes.team import PATIENCE
from tests.support import ISSUER, Clock, loaded

WIDTH: Final = 2
QUEUE: Final = 4
LOGINS: Final = 20
REFUSED: Final = LOGINS - WIDTH - QUEUE


class HeldHasher(InstantHasher):
    """Checks no password before it is let, or everybody would have lost patience."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def verify(self, password_hash: str, password: bytes) -> bool:
        if not self.let_go.wait(PATIENCE):
            self.let_go.set()
        return super().verify(password_hash, password)


async def log_in(client: Connection) -> Reply:
    return await client.post("/login", username="ada", password=PASSWORD)


async def test_a_rush_of_logins_holds_up_nobody_who_is_signed_in(tmp_path: Path) -> None:
    """F9: logins beyond the queue get 503 at once; as long as it is full, all else is answered."""
    hasher = HeldHasher()
    hashing = PasswordHashing(hasher, width=WIDTH, queue=QUEUE, patience=60)
    store = await SQLiteStore.open(str(tmp_path / "keyturn.db"), create=True)
    async with loaded(store, Clock()) as sessions, AsyncExitStack() as stack:
        accounts = Accounts(open_users(store), sessions, hashing=hashing)
        user = await accounts.register("ada", "ada@example.com", "Ada", PASSWORD)
        pairs = [await sessions.create(user.id) for _ in range(40)]
        app = App(Endpoints(sessions, accounts, WireSettings(public_url=ISSUER)))
        port = await stack.enter_async_context(served(app))
        client, *others = [
            await stack.enter_async_context(connected(port)) for _ in range(1 + LOGINS)
        ]
        logins = [asyncio.create_task(log_in(other)) for other in others]
        finished = asyncio.as_completed(logins)
        async with asyncio.timeout(PATIENCE):
            refused = [await next(finished) for _ in range(REFUSED)]
        exchanges = [await client.post(REFRESH_PATH, refreshToken=p.refresh_token) for p in pairs]
        checks = [await client.get("/me", reply.access_token) for reply in exchanges]
        still_waiting = [login for login in logins if not login.done()]
        hasher.let_go.set()
        let_in = await asyncio.gather(*still_waiting)
        accounts.close()

    assert {(reply.status, reply.headers["retry-after"]) for reply in refused} == {(503, "1")}
    assert {reply.status for reply in exchanges + checks} == {200}
    assert (
        len({reply.refresh_token for reply in exchanges} - {p.refresh_token for p in pairs}) == 40
    )
    assert len(still_waiting) == WIDTH + QUEUE
    assert {reply.status for reply in let_in} == {200}
