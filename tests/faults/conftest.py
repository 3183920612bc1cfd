"""A PostgreSQL of this folder's own, as its tests stop it; two servers on a store of each kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.faults.proxy import Proxy, proxied
from tests.faults.stage import RunningStage, on_stage
from tests.postgresql import Server, running


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """Each test that stops it starts it again. It has few connections, so that they can be taken
    away.
    """
    with running("max_connections=40") as server:
        yield server


@pytest.fixture
async def proxy(postgresql: Server) -> AsyncIterator[Proxy]:
    """In front of that one."""
    async with proxied(postgresql.port) as proxy:
        yield proxy


@pytest.fixture
async def stage(tmp_path: Path, database: str, proxy: Proxy) -> AsyncIterator[RunningStage]:
    """On PostgreSQL, which the servers reach through the proxy."""
    async with on_stage(tmp_path, database, through=proxy.url(database)) as stage:
        yield stage


@pytest.fixture
async def stage_on_file(tmp_path: Path) -> AsyncIterator[RunningStage]:
    """On SQLite."""
    async with on_stage(tmp_path, f"sqlite:///{tmp_path / 'keyturn.db'}") as stage:
        yield stage
