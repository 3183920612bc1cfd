from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser

from tests.browser.support import Person, Place, chromium, person, place


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def here() -> AsyncIterator[Place]:
    async with place() as served:
        yield served


@pytest_asyncio.fixture(loop_scope="session")
async def ada(browser: Browser, here: Place) -> AsyncIterator[Person]:
    """Ada's browser; she is not signed in yet."""
    async with person(browser, here.url) as somebody:
        yield somebody
