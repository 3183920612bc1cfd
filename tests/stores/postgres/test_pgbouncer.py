"""The store behind a PgBouncer that lends a session of the server for one transaction at a time."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from keyturn.stores.conformance import StoreConformance
from keyturn.stores.postgres import PostgresStore, connecting
from tests.postgresql import Server, free_port, give_away, unprivileged, wait_for

from .support import connected, opened

PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin")

pytestmark = pytest.mark.skipif(
    PGBOUNCER is None, reason="PgBouncer is needed: sudo apt-get install -y pgbouncer"
)


SETTINGS_FOR_NOTHING = "ignore_startup_parameters = " + ",".join(connecting._SETTINGS)


@contextmanager
def pgbouncer(server: Server, *settings: str) -> Iterator[str]:
    """One before the server; yields its address, as a part of a URL. It has two sessions for all,
    so that they do change hands.
    """
    port = free_port()
    folder = server.folder / f"pgbouncer-{port}"
    folder.mkdir()
    lines = [
        "[databases]",
        f"* = host={server.folder} port={server.port} user=keyturn",
        "[pgbouncer]",
        "pool_mode = transaction",
        "default_pool_size = 2",
        "server_idle_timeout = 1",  # seconds; else it keeps two for every database there was
        "listen_addr = 127.0.0.1",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = any",
        *settings,
    ]
    (folder / "pgbouncer.ini").write_text("\n".join(lines))
    give_away(folder)
    process = subprocess.Popen(
        [*unprivileged(), str(PGBOUNCER), "--quiet", str(folder / "pgbouncer.ini")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port)
        yield f"keyturn@127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def through(pooler: str, database: str) -> str:
    """The same database, by way of the pooler."""
    return f"postgresql://{pooler}{urlsplit(database).path}"


@pytest.fixture(scope="module")
def pooler(server: Server) -> Iterator[str]:
    with pgbouncer(server) as address:
        yield address


class TestBehindPgBouncer(StoreConformance):
    """Every law holds there too."""

    @pytest.fixture
    async def store(self, pooler: str, database: str, layout: str) -> AsyncIterator[PostgresStore]:
        async with opened(through(pooler, database), sharded=layout == "sharded") as store:
            yield store


@pytest.mark.parametrize("settings", [[], [SETTINGS_FOR_NOTHING]], ids=["refuses", "forgets"])
async def test_our_settings_are_in_force(
    server: Server, database: str, settings: list[str]
) -> None:
    """Whether it refuses those of a session, or takes them for nothing."""
    in_force = """
        SELECT string_agg(setting, ' ' ORDER BY name) FROM pg_settings
        WHERE name IN ('lock_timeout', 'synchronous_commit', 'transaction_isolation')"""
    async with connected(database) as connection:
        name = await connection.fetchval("SELECT current_database()")
        for default in ("synchronous_commit = off", "default_transaction_isolation = serializable"):
            await connection.execute(f"ALTER DATABASE {name} SET {default}")

    with pgbouncer(server, *settings) as pooler:
        async with opened(through(pooler, database)) as store:
            alone = await store.engine.run(lambda connection: connection.fetchval(in_force))
            several = await store.engine.transact(lambda connection: connection.fetchval(in_force))

    assert (alone, several) == ("200 on read committed", "2000 on read committed")


async def test_nobody_listens_through_it(pooler: str, database: str) -> None:
    """A session that another will have next would be told in our place; polling is enough."""
    async with opened(through(pooler, database)) as store:
        await store.wait_for_change(0.01)

        assert store._listener._listening is None
