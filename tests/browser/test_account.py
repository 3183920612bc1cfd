"""The account: devices, and what happened."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from keyturn.core.errors import StoreUnavailable
from keyturn.core.model import Device, Tokens
from tests.accounts.support import PASSWORD
from tests.browser.screenshots import EDGE, FIREFOX, SAFARI
from tests.browser.support import Person, Place

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def account(here: Place, ada: Person) -> AsyncIterator[Page]:
    """The account page of Ada, who has two other devices."""
    for user_agent in (EDGE, SAFARI):
        await sign_in(here, user_agent)
    await ada.hold(await sign_in(here, FIREFOX))
    yield await ada.tab("/account")


async def sign_in(here: Place, user_agent: str) -> Tokens:
    device = Device(user_agent=user_agent, address="192.0.2.7")
    _, tokens = await here.here.accounts.login("ada", PASSWORD, device=device)
    return tokens


async def test_devices_are_told_in_words(account: Page) -> None:
    """G4: this one marked and first; none can be signed out from itself."""
    rows = account.get_by_role("region", name="Your devices").get_by_role("listitem")

    await expect(rows).to_have_count(3)
    await expect(rows.nth(0)).to_contain_text("Firefox on Linux This device")
    await expect(rows.nth(0).get_by_role("button")).to_have_count(0)
    names = {await rows.nth(number).locator(".name").inner_text() for number in (1, 2)}
    assert names == {"Edge on Windows", "Safari on iPhone"}
    await expect(rows.nth(1)).to_contain_text("192.0.2.7")
    await expect(rows.nth(1)).to_contain_text("Used today")


async def test_one_device_is_signed_out(here: Place, account: Page) -> None:
    """It goes from the list, which is said, and its session is over."""
    await account.get_by_role("button", name="Sign out Edge on Windows").click()

    await expect(account.get_by_role("status")).to_have_text("Edge on Windows was signed out.")
    await expect(account.get_by_role("heading", name="Your devices")).to_be_focused()
    await expect(account.get_by_text("Safari on iPhone").first).to_be_visible()
    assert len(await here.here.living()) == 2


async def test_one_that_has_ended_meanwhile_is_as_good_as_signed_out(
    here: Place, account: Page
) -> None:
    """Nobody is told of an error that is none."""
    user = await here.here.accounts.find_user("ada")
    await here.here.sessions.revoke_all(user.id, keep=(await here.here.living())[0])

    await account.get_by_role("button", name="Sign out Edge on Windows").click()

    await expect(account.get_by_role("status")).to_have_text("Edge on Windows was signed out.")


async def test_all_others_are_signed_out_after_a_question(
    here: Place, ada: Person, account: Page
) -> None:
    """By keyboard alone; whoever thinks better of it presses Escape."""
    await account.get_by_role("button", name="Sign out all other devices").press("Enter")
    await expect(account.get_by_role("dialog")).to_be_visible()
    await account.keyboard.press("Escape")
    await expect(account.get_by_role("dialog")).to_be_hidden()
    assert len(await here.here.living()) == 3

    await account.get_by_role("button", name="Sign out all other devices").press("Enter")
    await account.get_by_role("button", name="Sign out the others").press("Enter")

    await expect(account.get_by_role("status")).to_have_text("All other devices were signed out.")
    await expect(account.get_by_text("You are signed in nowhere else.")).to_be_visible()
    assert len(await here.here.living()) == 1


async def test_trouble_is_said_and_nothing_vanishes(
    here: Place, ada: Person, account: Page
) -> None:
    """C12: what was not done is not shown as done."""
    here.break_down(StoreUnavailable())

    await account.get_by_role("button", name="Sign out Edge on Windows").click()

    await expect(account.get_by_role("alert")).to_contain_text("The server cannot answer right now")
    await expect(account.get_by_role("button", name="Sign out Edge on Windows")).to_be_enabled()
    ada.forgive(503)


async def test_what_happened_is_told_in_words(account: Page) -> None:
    """The latest first, in the reader's time."""
    rows = account.get_by_role("region", name="Recent activity").get_by_role("listitem")

    await expect(rows).to_have_count(3)
    await expect(rows.nth(0)).to_contain_text("Signed in")
    await expect(rows.nth(0)).to_contain_text("Firefox on Linux")
    times = account.locator("time")
    assert "UTC" not in " ".join(await times.all_inner_texts())
