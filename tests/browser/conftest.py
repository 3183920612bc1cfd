from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser

from tests.browser.support import Person, Place, chromium, person, place


@pytest_asyncio.fixture(loop_scope="session", scope="package")
async def browser() -> AsyncIterator[Browser]:
    """For these tests, and closed after them: it is not idle when nobody asks it for anything."""
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
