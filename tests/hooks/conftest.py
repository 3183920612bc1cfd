from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keyturn.hooks import Outbox, open_outbox
from keyturn.stores import Store, open_store
from tests.postgresql import Server


@pytest.fixture(params=["memory", "sqlite", "gathered", "sharded"])
async def store(
    request: pytest.FixtureRequest, postgresql: Server, tmp_path: Path
) -> AsyncIterator[Store]:
    url = {"memory": "memory:", "sqlite": f"sqlite:///{tmp_path / 'keyturn.db'}"}.get(
        request.param
    ) or await postgresql.new_database()
    store = await open_store(url, create=True, sharded=request.param == "sharded")
    yield store
    await store.close()


@pytest.fixture
def outbox(store: Store) -> Outbox:
    return open_outbox(store)
