from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support import Clock
from tests.wire.support import Site, site


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def here(clock: Clock) -> AsyncIterator[Site]:
    async with site(clock) as place:
        yield place
