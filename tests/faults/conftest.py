"""A PostgreSQL of this folder's own, as its tests stop it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.faults.proxy import Proxy, proxied
from tests.postgresql import Server, running


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """Each test that stops it starts it again."""
    with running() as server:
        yield server


@pytest.fixture
async def proxy(postgresql: Server) -> AsyncIterator[Proxy]:
    """In front of that one."""
    async with proxied(postgresql.port) as proxy:
        yield proxy
