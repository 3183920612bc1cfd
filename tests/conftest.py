"""A PostgreSQL for whichever tests need one, and fresh databases on it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgresql import Server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """The tests' own server."""
    folder = Path(tempfile.mkdtemp(prefix="keyturn-test-"))
    folder.chmod(0o755)
    server = Server(folder)
    server.start()
    yield server
    server.remove()


@pytest.fixture
async def database(postgresql: Server) -> str:
    """The URL of an empty database on the tests' own server."""
    return await postgresql.new_database()
