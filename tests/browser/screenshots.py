"""Every page in both schemes and at two widths, for docs/screenshots; see scripts/screenshots."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, Page

from keyturn.core.errors import StoreUnavailable
from keyturn.core.model import Device, EndReason
from tests.accounts.support import PASSWORD
from tests.browser.support import Person, Place, chromium, person, place
from tests.support import START, Clock

FOLDER: Final = Path(__file__).parents[2] / "docs" / "screenshots"
WIDTHS: Final = {"wide": (1024, 720), "phone": (390, 760)}
LONGEST: Final = 4000
"""Pixels; of what is longer, what is seen without scrolling."""
SCHEMES: Final = ("light", "dark")

FIREFOX: Final = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SAFARI: Final = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15"
    " (KHTML, like Gecko) Version/19.0 Mobile/15E148 Safari/604.1"
)
EDGE: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/150.0.0.0 Safari/537.36 Edg/150.0.0.0"
)
HOUR: Final = 3600


async def furnish(here: Place) -> Any:
    """Give Ada devices and a story; return the tokens of the one that she looks from."""

    async def begin(user_agent: str, address: str) -> Any:
        device = Device(user_agent=user_agent, address=address)
        _, tokens = await here.here.accounts.login("ada", PASSWORD, device=device)
        return tokens

    copied = await begin(EDGE, "203.0.113.80")
    here.clock.sleep(20 * HOUR)
    await here.here.sessions.revoke(copied.session.sid, reason=EndReason.REUSE_DETECTED)
    here.clock.sleep(7 * HOUR)
    await begin(EDGE, "192.0.2.15")
    here.clock.sleep(26 * HOUR)
    phone = await begin(SAFARI, "2001:db8:7a::21")
    here.clock.sleep(2 * HOUR)
    lost = await here.here.sessions.refresh(phone.refresh_token)
    here.clock.sleep(2 * HOUR)
    assert lost != await here.here.sessions.refresh(phone.refresh_token)
    here.clock.sleep(3 * HOUR)
    return await begin(FIREFOX, "192.0.2.15")


async def show_trouble(page: Page) -> None:
    await page.get_by_label("Username or email").fill("charles")  # Ada would be told of it
    await page.get_by_label("Password", exact=True).fill("correct horse")
    await page.get_by_role("button", name="Log in").click()
    await page.get_by_role("alert").wait_for()


async def show_errors(page: Page) -> None:
    await page.get_by_label("Your name").fill("Ada Lovelace")
    await page.get_by_label("Username").fill("a@")
    await page.get_by_label("Email").fill("ada@example.com")
    await page.get_by_label("Password", exact=True).fill("correct horse battery")
    await page.get_by_role("button", name="Create account").click()
    await page.get_by_text("Must").wait_for()


async def ask_to_end_others(page: Page) -> None:
    await page.get_by_role("button", name="Sign out all other devices").click()
    await page.get_by_role("dialog").wait_for()
    await page.evaluate("window.scrollTo(0, 300)")


async def refuse_email(page: Page) -> None:
    await page.get_by_label("Email").fill("countess@")
    await page.get_by_label("Current password").first.fill(PASSWORD)
    await page.get_by_role("button", name="Save").click()
    await page.get_by_text("Must be").wait_for()


async def nothing(page: Page) -> None:
    pass


Shot = tuple[str, str, bool, Callable[[Page], Awaitable[None]]]

SHOTS: Final[tuple[Shot, ...]] = (
    ("login", "/login", False, nothing),
    ("login-refused", "/login", False, show_trouble),
    ("register", "/register", False, nothing),
    ("register-refused", "/register", False, show_errors),
    ("reset-password", "/reset-password#token=x", False, nothing),
    ("signed-out", "/signed-out?reason=revoked_by_user", False, nothing),
    ("not-found", "/nothing", False, nothing),
    ("account", "/account", True, nothing),
    ("end-others", "/account", True, ask_to_end_others),
    ("change-password", "/change-password", True, nothing),
    ("edit-profile", "/edit-profile", True, nothing),
    ("edit-profile-refused", "/edit-profile", True, refuse_email),
    ("delete-account", "/delete-account", True, nothing),
    ("logout", "/logout", True, nothing),
    ("docs", "/docs", False, nothing),
    ("docs-operation", "/docs#changeProfile", False, nothing),
)


async def shoot(page: Page, name: str) -> None:
    await page.evaluate("document.activeElement.blur()")
    has_dialog = await page.get_by_role("dialog").count() > 0
    height = await page.evaluate("document.documentElement.scrollHeight")
    whole = height < LONGEST and not has_dialog
    await page.screenshot(path=FOLDER / f"{name}.png", full_page=whole, animations="disabled")


async def shoot_all(browser: Browser) -> None:
    FOLDER.mkdir(exist_ok=True)
    async with place(Clock(START - 60 * HOUR)) as here:
        tokens = await furnish(here)
        for scheme in SCHEMES:
            for width, (across, down) in WIDTHS.items():
                options = {
                    "viewport": {"width": across, "height": down},
                    "color_scheme": scheme,
                    "user_agent": FIREFOX,
                }
                async with person(browser, here.url, **options) as somebody:
                    await shoot_each(here, somebody, tokens, f"-{width}-{scheme}")


async def shoot_each(here: Place, somebody: Person, tokens: Any, ending: str) -> None:
    for name, path, signed_in, prepare in SHOTS:
        if signed_in:
            await somebody.hold(tokens)
        page = await somebody.tab(path)
        await prepare(page)
        await shoot(page, name + ending)
        await page.close()
    here.break_down(StoreUnavailable())
    page = await somebody.tab("/account")
    await shoot(page, "unavailable" + ending)
    await page.close()
    page = await somebody.tab("/register")
    here.break_down(None)
    await page.close()
    somebody.forgive(400, 401, 404, 503)


async def main() -> None:
    """Shoot."""
    async with chromium() as browser:
        await shoot_all(browser)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
