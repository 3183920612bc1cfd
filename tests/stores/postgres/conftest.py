"""A database for each test of a store, where that was asked to be."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Final

import asyncpg
import pytest

from keyturn.stores.postgres import PostgresStore
from tests.postgresql import Server

from .support import opened

GIVEN: Final = os.environ.get("KEYTURN_TEST_POSTGRES_URL")
"""A database whose schema ``keyturn`` the tests may drop. Tests that stop their server, or look
into it, run on one of their own all the same.
"""


@pytest.fixture(scope="session")
def server(postgresql: Server) -> Server:
    return postgresql


@pytest.fixture
async def any_database(server: Server) -> str:
    """The URL of a database without tables, wherever that was asked to be."""
    url = GIVEN or server.url()
    connection = await asyncpg.connect(url)
    await connection.execute("DROP SCHEMA IF EXISTS keyturn CASCADE")
    await connection.close()
    return url


@pytest.fixture(params=["gathered", "sharded"])
def layout(request: pytest.FixtureRequest) -> str:
    """Each of the two, for whoever asks for a store of either."""
    return str(request.param)


@pytest.fixture
async def store(any_database: str, layout: str) -> AsyncIterator[PostgresStore]:
    async with opened(any_database, sharded=layout == "sharded") as store:
        yield store
