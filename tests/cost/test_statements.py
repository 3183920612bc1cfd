"""What an exchange and a login say to the database: as much on every machine."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final

import apsw
import pytest

from keyturn.accounts import Accounts, PasswordHashing, open_users
from keyturn.stores.base import Store
from keyturn.stores.postgres import PostgresStore
from keyturn.stores.sqlite import SQLiteStore
from tests.accounts.support import LAPTOP, PASSWORD, InstantHasher
from tests.postgresql import Server
from tests.support import Altered, Clock, loaded

from .clients import Client, Crowd

READ: Final = ["BEGIN", "SELECT", "COMMIT"]
WRITE: Final = ["BEGIN", "SELECT", "UPDATE", "COMMIT"]

STATEMENTS: Final[dict[str, dict[str, list[str]]]] = {
    "PostgreSQL": {  # where each that is not in a BEGIN is a transaction by itself
        "turn": ["SELECT", "UPDATE"],
        "64 turns at once": ["SELECT", "WITH"],
        "echo": ["SELECT"],
        "replay": ["SELECT"],
        "check": [],
    },
    "SQLite": {
        "turn": READ + WRITE,
        "64 turns at once": READ + WRITE,
        "echo": READ,
        "replay": READ,
        "check": [],
    },
}
"""By their first words. Another one here is a way to the database, or a wait for its disk, that
every exchange takes from then on: change this only with a reason that is worth it.
"""

LOGIN: Final[dict[str, list[str]]] = {
    "PostgreSQL": [
        *["SELECT"],  # the account
        *["SELECT"],  # whether it is blocked
        *["BEGIN", "SELECT", "COMMIT"],  # whether it is blocked by now; begins with its locks
        *["BEGIN", "INSERT", "WITH", "COMMIT"],  # the user's epoch, the session and its event
    ],
    "SQLite": [
        *["BEGIN", "SELECT", "SELECT", "COMMIT"],  # the account, and the user's epoch
        *["BEGIN", "SELECT", "SELECT", "SELECT", "COMMIT"],  # by name, by account, by network
        *["BEGIN", "SELECT", "SELECT", "SELECT", "COMMIT"],
        *["BEGIN", "SELECT", "INSERT", "INSERT", "SELECT", "COMMIT"],
    ],
}
"""As ``STATEMENTS``, of one with a right password. What begins with several at once counts once."""

Said = Callable[[], list[str]]
"""The first words of what was said since the last time."""


@asynccontextmanager
async def postgres_overheard(server: Server) -> AsyncIterator[tuple[Store, Said]]:
    """A new database, and what its server logs: all that arrives, whoever sends it."""
    url = await server.new_database()
    store = await PostgresStore.open(url, create=True)
    database = re.findall(r"/(\w+)\?", url)[0]
    await server.execute(f"ALTER DATABASE {database} SET log_statement = 'all'")
    log = server.folder / "log"
    heard = log.stat().st_size

    def said() -> list[str]:
        nonlocal heard
        whole = log.read_bytes()
        news, heard = whole[heard:].decode(), len(whole)
        return re.findall(r"LOG:  (?:statement|execute [^:]*):\s+(\w+)", news)

    try:
        yield store, said
    finally:
        await store.close()


@asynccontextmanager
async def sqlite_overheard(file: Path) -> AsyncIterator[tuple[Store, Said]]:
    store = await SQLiteStore.open(str(file), create=True)
    words: list[str] = []

    def hear(_: object, sql: str, __: object) -> bool:
        words.append(sql.split(maxsplit=1)[0])
        return True

    def said() -> list[str]:
        news = words.copy()
        words.clear()
        return news

    def overhear(connection: apsw.Connection) -> None:
        connection.exec_trace = hear

    await store.engine.read(overhear)
    await store.engine.read_batch(overhear)
    await store.engine.write(overhear)
    try:
        yield store, said
    finally:
        await store.close()


@pytest.fixture(params=list(STATEMENTS))
async def overheard(
    request: pytest.FixtureRequest, postgresql: Server, tmp_path: Path
) -> AsyncIterator[tuple[str, Store, Said]]:
    """The name of a database, a store on it, and what was said to it."""
    hearing = {
        "PostgreSQL": lambda: postgres_overheard(postgresql),
        "SQLite": lambda: sqlite_overheard(tmp_path / "keyturn.db"),
    }
    async with hearing[request.param]() as (store, said):
        yield request.param, store, said


async def heard_of(store: Store, said: Said) -> dict[str, list[str]]:
    """What is said for each thing that a client does, once it was all done before."""
    clock = Clock()
    async with loaded(store, clock) as sessions:
        crowd = await Crowd.sign_in(sessions, clock)
        client = await Client.sign_in(sessions, clock)
        actions = {
            "turn": client.turn,
            "64 turns at once": crowd.turn,
            "echo": client.echo,
            "replay": client.replay,
            "check": client.check,
        }
        await crowd.turn()
        heard = {}
        for what, act in actions.items():
            if what in {"echo", "replay"}:
                await client.turn()  # what is presented must be of this moment
            said()
            await act()
            heard[what] = said()
        return heard


async def test_a_turn_is_one_read_and_one_write(overheard: tuple[str, Store, Said]) -> None:
    """Many at once share them. What turns nothing writes nothing, and a check asks nothing."""
    name, store, said = overheard

    assert await heard_of(store, said) == STATEMENTS[name]


async def heard_of_login(store: Store, said: Said) -> list[str]:
    """What is said once somebody has logged in before."""
    async with loaded(store, Clock()) as sessions:
        with closing(PasswordHashing(InstantHasher())) as hashing:
            accounts = Accounts(open_users(store), sessions, hashing=hashing)
            await accounts.register("Ada", "ada@example.com", "Ada Lovelace", PASSWORD)
            await accounts.login("Ada", PASSWORD, device=LAPTOP)
            said()
            await accounts.login("Ada", PASSWORD, device=LAPTOP)
            return said()


async def test_a_login_says_no_more_than_it_has_to(overheard: tuple[str, Store, Said]) -> None:
    name, store, said = overheard

    assert await heard_of_login(store, said) == LOGIN[name]


class ReadsTwice(Altered):
    async def get(self, sids: Any) -> Any:
        await self.store.get(sids)
        return await self.store.get(sids)


class WritesTwice(Altered):
    async def swap(self, swaps: Any) -> Any:
        await self.store.check()
        return await self.store.swap(swaps)


@pytest.mark.parametrize("wasteful", [ReadsTwice, WritesTwice])
async def test_a_statement_too_many_is_noticed(
    overheard: tuple[str, Store, Said], wasteful: type[Altered]
) -> None:
    """Planted into a store that gives the same answers."""
    name, store, said = overheard

    heard = await heard_of(wasteful(store), said)

    for what in ("turn", "64 turns at once"):
        assert len(heard[what]) > len(STATEMENTS[name][what])
