"""The store behind a PgBouncer that lends a session of the server for one transaction at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from keyturn.stores.conformance import StoreConformance
from keyturn.stores.postgres import PostgresStore, connecting
from tests.pgbouncer import PGBOUNCER, pgbouncer, through
from tests.postgresql import Server

from .support import connected, opened

pytestmark = pytest.mark.skipif(
    PGBOUNCER is None, reason="PgBouncer is needed: sudo apt-get install -y pgbouncer"
)

SETTINGS_FOR_NOTHING = "ignore_startup_parameters = " + ",".join(connecting._SETTINGS)


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
