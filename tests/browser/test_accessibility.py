"""Whoever sees little, or has no mouse, uses the pages as well; checked by axe-core and by hand."""

from __future__ import annotations

from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from keyturn.core.errors import StoreUnavailable
from tests.accounts.support import PASSWORD
from tests.browser.screenshots import SHOTS, furnish
from tests.browser.support import Person, Place, person

pytestmark = pytest.mark.asyncio(loop_scope="session")

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
CONTRAST = ["color-contrast"]


async def faults(page: Page, rules: list[str]) -> list[str]:
    """What axe-core finds, each with its place."""
    await page.evaluate("document.getAnimations().forEach((animation) => animation.finish())")
    found = await Axe().run(page, options={"runOnly": rules, "resultTypes": ["violations"]})
    return [
        f"{violation['id']}: {node['html']} {node['failureSummary']}"
        for violation in found.response["violations"]
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize(("scheme", "rules"), [("light", RULES), ("dark", CONTRAST)])
async def test_axe_finds_nothing_on_any_page(
    browser: Browser, here: Place, scheme: Literal["light", "dark"], rules: list[str]
) -> None:
    """Names, roles, contrast, order; also of what is said when something is refused."""
    tokens = await furnish(here)
    found: dict[str, list[str]] = {}
    async with person(browser, here.url, color_scheme=scheme) as ada:
        for name, path, signed_in, prepare in SHOTS:
            if signed_in:
                await ada.hold(tokens)
            page = await ada.tab(path)
            await prepare(page)
            found[name] = await faults(page, rules)
            await page.close()
        ada.forgive(400, 401, 404)

    assert found == {name: [] for name in found}
    assert len(found) == len(SHOTS)


async def test_nor_on_the_page_that_says_that_we_are_in_trouble(here: Place, ada: Person) -> None:
    """It is a page as good as any other."""
    await ada.hold(await here.here.log_in())
    here.break_down(StoreUnavailable())

    page = await ada.tab("/account")

    assert await faults(page, RULES) == []
    ada.forgive(503)


async def test_axe_finds_what_is_wrong(ada: Person) -> None:
    """The check can fail."""
    page = await ada.tab("/login")
    await page.evaluate("document.querySelector('label').remove()")

    assert "label" in {fault.partition(":")[0] for fault in await faults(page, RULES)}


async def test_one_logs_in_by_keyboard_alone(ada: Person) -> None:
    """The first field has the focus; Enter sends."""
    page = await ada.tab("/login")
    await expect(page.get_by_label("Username or email")).to_be_focused()

    await page.keyboard.type("ada")
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")

    await expect(page).to_have_url(f"{ada.url}/account")


async def test_nothing_is_wider_than_the_screen(here: Place, ada: Person) -> None:
    """WCAG 1.4.10: also with a name that has no end."""
    await here.here.accounts.register("G" * 64, "g@example.com", "G" * 128, "verdant-owls")
    _, tokens = await here.here.accounts.login("G" * 64, "verdant-owls")
    await ada.hold(tokens)
    page = await ada.tab("/")

    for path in ("/account", "/change-password", "/edit-profile", "/logout", "/docs"):
        await page.goto(here.url + path)
        for width in (320, 600, 1024):
            await page.set_viewport_size({"width": width, "height": 800})
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
