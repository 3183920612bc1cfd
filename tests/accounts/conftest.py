from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.accounts.support import STORES, Town, town


@pytest.fixture(params=STORES)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Town]:
    async with town(request.param, tmp_path) as place:
        yield place


@pytest.fixture
async def memory(tmp_path: Path) -> AsyncIterator[Town]:
    async with town("memory", tmp_path) as place:
        yield place
