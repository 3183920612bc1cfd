"""The proxy does what it is told, and tells commits from all else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import asyncpg
import pytest

from tests.faults.proxy import Frontend, Proxy
from tests.postgresql import Server

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

Write: TypeAlias = Callable[[Connection, str], Awaitable[None]]

LOST = (asyncpg.ConnectionDoesNotExistError, ConnectionError)


@pytest.fixture
async def table(postgresql: Server) -> AsyncIterator[str]:
    """An empty one."""
    await postgresql.execute("CREATE TABLE met (word text)")
    yield "met"
    await postgresql.execute("DROP TABLE met")


async def connect(proxy: Proxy) -> Connection:
    return await asyncpg.connect(proxy.url("/postgres"), timeout=10)


async def test_it_passes_everything_on(proxy: Proxy) -> None:
    """In both directions, however long."""
    connection = await connect(proxy)
    text = "x" * 1_000_000

    assert await connection.fetchval("SELECT $1::text", text) == text
    await connection.close()


async def test_cut_connections_are_lost_on_both_sides(proxy: Proxy, postgresql: Server) -> None:
    """And the next one is made as ever."""
    connection = await connect(proxy)
    backend = connection.get_server_pid()

    proxy.cut()

    with pytest.raises(LOST):
        await connection.execute("SELECT 1")
    await postgresql.until(f"SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = {backend}")
    await (await connect(proxy)).close()


async def test_it_refuses_connections_until_it_listens(proxy: Proxy) -> None:
    """Those that there are go on; afterwards it is at the same port."""
    older = await connect(proxy)

    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        await connect(proxy)
    assert await older.fetchval("SELECT 1") == 1
    await proxy.listen()

    await (await connect(proxy)).close()
    await older.close()


async def test_connections_lead_to_the_target_of_the_moment(proxy: Proxy) -> None:
    """New ones, that is."""
    older = await connect(proxy)

    async with await asyncio.start_server(_greet, "127.0.0.1", 0) as other:
        proxy.target = other.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        greeting = await reader.read()
        writer.close()

    assert greeting == b"another server"
    assert await older.fetchval("SELECT 1") == 1
    await older.close()


async def _greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"another server")
    writer.close()


async def test_what_was_held_back_comes_late(proxy: Proxy, postgresql: Server, table: str) -> None:
    """Also what a client sent who has long gone."""
    connection = await connect(proxy)

    proxy.fall_silent()
    with pytest.raises(TimeoutError):
        await connection.execute(f"INSERT INTO {table} VALUES ('late')", timeout=0.05)
    connection.terminate()
    before = await postgresql.fetch(f"SELECT count(*) FROM {table}")
    proxy.speak()

    await postgresql.until(f"SELECT count(*) = 1 FROM {table}")
    assert before == 0


async def test_what_was_cut_meanwhile_is_lost(proxy: Proxy, postgresql: Server, table: str) -> None:
    """As by a firewall that forgot a connection."""
    connection = await connect(proxy)

    proxy.fall_silent()
    with pytest.raises(TimeoutError):
        await connection.execute(f"INSERT INTO {table} VALUES ('lost')", timeout=0.05)
    proxy.cut()
    await asyncio.sleep(0)
    proxy.speak()

    await (await connect(proxy)).close()
    assert await postgresql.fetch(f"SELECT count(*) FROM {table}") == 0


async def test_stranded_connections_are_silent_for_ever(proxy: Proxy) -> None:
    """And nobody is told; new ones go on."""
    stranded = await connect(proxy)

    proxy.strand()

    with pytest.raises(TimeoutError):
        await stranded.execute("SELECT", timeout=0.05)
    await (await connect(proxy)).close()
    stranded.terminate()


async def test_a_delay_is_waited_for(proxy: Proxy) -> None:
    """By each message."""
    connection = await connect(proxy)
    proxy.delay = 0.1
    began = asyncio.get_running_loop().time()

    await connection.execute("SELECT 1")

    assert asyncio.get_running_loop().time() - began >= 0.1
    await connection.close()


INSERT = "INSERT INTO met VALUES ($1)"


async def by_itself(connection: Connection, word: str) -> None:
    await connection.execute(INSERT, word)


async def in_a_transaction(connection: Connection, word: str) -> None:
    async with connection.transaction():
        await connection.execute(INSERT, word)


@pytest.mark.parametrize("write", [by_itself, in_a_transaction])
async def test_the_answer_of_a_commit_is_lost(
    proxy: Proxy,
    postgresql: Server,
    table: str,
    write: Callable[[Connection, str], Awaitable[None]],
) -> None:
    """Every time; what was asked for is done, and nothing before it was lost."""
    proxy.loses_answer = lambda _: True

    for word in ("one", "two"):
        with pytest.raises(LOST):
            await write(await connect(proxy), word)

    await postgresql.until(f"SELECT count(*) = 2 FROM {table}")
    assert proxy.answers_lost == 2


async def test_answers_are_lost_by_choice(proxy: Proxy, table: str) -> None:
    """It is asked at each commit, with its statement, and at nothing else."""
    asked = []

    def keep(statement: str) -> bool:
        asked.append(statement)
        return False

    proxy.loses_answer = keep
    connection = await connect(proxy)
    await connection.fetchval("SELECT count(*) FROM met")
    await by_itself(connection, "one")
    await in_a_transaction(connection, "two")
    await connection.close()

    assert asked == [INSERT, "COMMIT;"]


def test_messages_are_told_apart_however_they_arrive() -> None:
    """Byte by byte as well as all at once."""
    sent = b"".join((b"\0\0\0\x08\0\x03\0\0", b"Q\0\0\0\x0bBEGIN;\0", b"Q\0\0\0\x0bCOMMIT\0"))

    at_once = list(Frontend().read(sent))
    frontend = Frontend()
    byte_by_byte = [message for byte in sent for message in frontend.read(bytes([byte]))]

    assert at_once == byte_by_byte
    assert [statement for _, statement in at_once] == ["", "", "COMMIT"]
