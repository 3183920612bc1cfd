"""The server's secret is changed, one server after the other, while people exchange tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from keyturn.core import refresh_token
from keyturn.core.errors import ConfigurationError, RefreshTokenInvalid
from keyturn.core.model import SealedKey
from keyturn.core.server_secret import ServerSecrets
from keyturn.signing_keys import open_key
from keyturn.stores import Store, open_store
from keyturn.wire.settings import REFRESH_PATH
from tests.faults.clients import Client, crowd, told
from tests.faults.stage import SECRET, RunningStage, on_stage
from tests.faults.test_outages import let_window_pass
from tests.processes.http_client import connected

NEW_SECRET = b"another-horse-another-staple-9876543210"
SERVERS = 3
CLIENTS = 120
PER_SECOND = 20


async def test_a_secret_is_added_then_promoted_then_removed(tmp_path: Path, database: str) -> None:
    """H9: nobody notices. Then a token that was made under the old one is refused, and changes
    nothing; and the stored key depends on the new one alone.
    """
    async with on_stage(tmp_path, database, servers=SERVERS) as stage:
        clients = await stage.clients(CLIENTS)
        async with crowd(clients, per_second=PER_SECOND) as them:
            await them.meets(SERVERS, "200")
            await roll(stage, [SECRET, NEW_SECRET])
            await roll(stage, [NEW_SECRET, SECRET])
            await let_window_pass(database)
            await them.until(lambda: len(them.begun) == CLIENTS and all(map(is_renewed, clients)))
            await them.log_out(clients[:10])
            await roll(stage, [NEW_SECRET])
            await them.recovers()
        async with opened(database) as store:
            [key] = await store.signing_keys()
            before = await store.get([clients[-1].sid])
            answers = await present_the_oldest(clients[-1], stage)
            after = await store.get([clients[-1].sid])
        stage.secrets = [NEW_SECRET, SECRET]
        found = await stage.examine(clients)

    print(f"{them}; {dict(found)}")
    assert them.met.keys() <= {"200", "no answer"}
    assert {client.log_out_met for client in clients[:10]} == {"200"}
    assert answers == {"401 refresh_token_invalid"}
    assert before == after
    assert [opens(secret, key) for secret in (SECRET, NEW_SECRET)] == [False, True]
    assert found["logged out"] == 10
    assert found["living"] + found["recovered"] == CLIENTS - 10


async def roll(stage: RunningStage, secrets: Sequence[bytes]) -> None:
    """Give the secrets to all servers, one by one."""
    for number in range(SERVERS):
        await stage.restart(number, KEYTURN_SECRET=b",".join(secrets).decode())


def is_renewed(client: Client) -> bool:
    """Whether its refresh token was made under the new secret."""
    return is_made_under(NEW_SECRET, client.wallet.refresh_token)


def is_made_under(secret: bytes, token: str) -> bool:
    try:
        refresh_token.parse(ServerSecrets([secret]), token)
    except RefreshTokenInvalid:
        return False
    return True


async def present_the_oldest(client: Client, stage: RunningStage) -> set[str]:
    """What all servers say to the token that the client began with."""
    assert is_made_under(SECRET, client.held[0])
    answers = set()
    for port in stage.ports:
        async with connected(port) as server:
            answers.add(told(await server.post(REFRESH_PATH, refreshToken=client.held[0])))
    return answers


@asynccontextmanager
async def opened(database: str) -> AsyncIterator[Store]:
    """The bare store: an engine would seal the keys."""
    store = await open_store(database)
    try:
        yield store
    finally:
        await store.close()


def opens(secret: bytes, key: SealedKey) -> bool:
    try:
        open_key(key, ServerSecrets([secret]))
    except ConfigurationError:
        return False
    return True
