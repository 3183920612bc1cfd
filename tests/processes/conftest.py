"""Where the processes of a test keep what they share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pgbouncer import PGBOUNCER, pgbouncer, through
from tests.postgresql import Server
from tests.processes.servers import made


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """Of store. A test may name others: ``pgbouncer`` is a PostgreSQL that nobody can listen to."""
    return str(request.param)


@pytest.fixture
async def url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store of that kind, which nobody has made yet."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'keyturn.db'}"
    server: Server = request.getfixturevalue("postgresql")
    database = await server.new_database()
    return through(request.getfixturevalue("pooler"), database) if kind == "pgbouncer" else database


@pytest.fixture
def pooler(postgresql: Server) -> Iterator[str]:
    """The address of a PgBouncer before the tests' own server."""
    if PGBOUNCER is None:
        pytest.skip("PgBouncer is needed: sudo apt-get install -y pgbouncer")
    with pgbouncer(postgresql) as address:
        yield address


@pytest.fixture
def settings(url: str, tmp_path: Path) -> dict[str, str]:
    """Those of servers on that store, which is there already."""
    return made(tmp_path, url)
