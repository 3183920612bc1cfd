"""The reference of the HTTP interface: by keyboard, and without a script."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from tests.browser.support import Person, Place, person

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_contents_can_be_skipped(ada: Person) -> None:
    """By the first press of Tab; what comes next is in the reference."""
    page = await ada.tab("/docs")

    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip the contents")).to_be_focused()
    await page.keyboard.press("Enter")

    await expect(page.locator("#reference")).to_be_focused()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="POST /register").nth(1)).to_be_focused()


async def test_the_contents_lead_to_operations_and_those_to_codes(ada: Person) -> None:
    """Each has an address of its own."""
    page = await ada.tab("/docs")

    await page.get_by_role("navigation").get_by_role("link", name="PATCH /me").click()
    operation = page.get_by_role("region", name="PATCH /me")
    await expect(operation.get_by_role("heading", name="PATCH /me")).to_be_in_viewport()
    assert page.url.endswith("/docs#changeProfile")

    await operation.get_by_role("link", name="identifier_taken").click()
    await expect(page.get_by_text("Somebody has that username or email.")).to_be_in_viewport()
    assert page.url.endswith("/docs#identifier_taken")


async def test_it_needs_no_script(browser: Browser, here: Place) -> None:
    """Nor loads one, or says that there should be one."""
    async with person(browser, here.url, java_script_enabled=False) as somebody:
        page = await somebody.tab("/docs")

        await expect(page.get_by_role("heading", name="POST /login")).to_be_visible()
        await expect(page.get_by_text("need JavaScript")).to_have_count(0)

    assert [asked for asked in here.seen if asked.endswith(".js")] == []
