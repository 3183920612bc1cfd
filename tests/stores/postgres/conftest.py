"""A server for all tests of this folder, and a fresh database for each."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from keyturn.stores.postgres import PostgresStore

from .server import Server

GIVEN: Final = os.environ.get("KEYTURN_TEST_POSTGRES_URL")
"""A database whose schema ``keyturn`` the tests may drop. Tests that stop their server, or look
into it, run on one of their own all the same.
"""


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="keyturn-test-"))
    folder.chmod(0o755)
    server = Server(folder)
    server.start()
    yield server
    server.remove()


@pytest.fixture
async def database(server: Server) -> str:
    """The URL of an empty database on the tests' own server."""
    return await server.new_database()


@pytest.fixture
async def any_database(server: Server) -> str:
    """The URL of a database without tables, wherever that was asked to be."""
    url = GIVEN or server.url()
    connection = await asyncpg.connect(url)
    await connection.execute("DROP SCHEMA IF EXISTS keyturn CASCADE")
    await connection.close()
    return url


@pytest.fixture
async def store(any_database: str) -> AsyncIterator[PostgresStore]:
    store = await PostgresStore.open(any_database, create=True)
    yield store
    await store.close()
