"""What people do with their own account: other names, all that is known of them, the end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from keyturn.accounts.errors import UserUnknown
from keyturn.core.errors import StoreUnavailable
from keyturn.wire.http import Request, Response
from tests.accounts.support import PASSWORD
from tests.browser.support import Person, Place, until

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def account(here: Place, ada: Person) -> AsyncIterator[Page]:
    """The account page of Ada."""
    await ada.hold(await here.here.log_in())
    yield await ada.tab("/account")


@pytest_asyncio.fixture(loop_scope="session")
async def profile(account: Page) -> AsyncIterator[Page]:
    """The page to edit it."""
    await account.get_by_role("link", name="Edit profile").click()
    await expect(account.get_by_role("heading", name="Edit profile")).to_be_visible()
    yield account


@pytest_asyncio.fixture(loop_scope="session")
async def farewell(account: Page) -> AsyncIterator[Page]:
    """The page to delete it."""
    await account.get_by_role("link", name="Delete my account").click()
    await expect(account.get_by_role("heading", name="Delete your account")).to_be_visible()
    yield account


# ── other names ─────────────────────────────────────────────────────────────────────────────────


async def test_another_name_needs_no_password(here: Place, profile: Page) -> None:
    """And is shown at once, by the next page already."""
    await profile.get_by_label("Your name").fill("Ada King")
    await profile.get_by_role("button", name="Save").click()

    await expect(profile.get_by_role("status")).to_have_text("Your profile was saved.")
    await expect(profile.get_by_role("heading", name="Hello, Ada King")).to_be_visible()
    assert (await here.here.accounts.find_user("ada")).fullname == "Ada King"


async def test_another_email_needs_the_password(here: Place, ada: Person, profile: Page) -> None:
    """Beside its field it is asked for; a wrong one is told there too, and signs nobody out."""
    email, password = profile.get_by_label("Email"), profile.get_by_label("Current password").first
    save = profile.get_by_role("button", name="Save")

    await email.fill("countess@example.com")
    await save.click()
    await expect(profile.get_by_text("Please fill this in.")).to_be_visible()
    assert here.count("PATCH /me") == 0
    await password.fill("wrong-wrong")
    await save.click()
    await expect(profile.get_by_text("That is not your current password.")).to_be_visible()
    await expect(password).to_be_focused()
    await password.fill(PASSWORD)
    await save.click()

    await expect(profile.get_by_role("status")).to_have_text("Your profile was saved.")
    assert (await here.here.accounts.find_user("ada")).email == "countess@example.com"
    ada.forgive(403)


@pytest.mark.parametrize(
    ("label", "value", "said", "status"),
    [
        ("Your name", " Ada", "Must not begin or end with white space.", 400),
        ("Email", "ada", "Must be of the form name@domain.", 400),
        ("Email", "grace@example.com", "Somebody else has that email.", 409),
    ],
)
async def test_what_cannot_be_taken_is_told_beside_its_field(
    here: Place, ada: Person, profile: Page, label: str, value: str, said: str, status: int
) -> None:
    """What was typed stays there."""
    await here.here.accounts.register("grace", "grace@example.com", "Grace", "verdant-owls")

    await profile.get_by_label(label).fill(value)
    await profile.get_by_label("Current password").first.fill(PASSWORD)
    await profile.get_by_role("button", name="Save").click()

    await expect(profile.get_by_text(said)).to_be_visible()
    await expect(profile.get_by_label(label)).to_be_focused()
    await expect(profile.get_by_label(label)).to_have_value(value)
    ada.forgive(status)


async def test_where_nothing_was_changed_nothing_is_asked(here: Place, profile: Page) -> None:
    """Saving is then a way back."""
    await profile.get_by_role("button", name="Save").click()

    await expect(profile).to_have_url(f"{here.url}/account")
    await expect(profile.get_by_role("status")).to_be_hidden()
    assert here.count("PATCH /me") == 0


# ── all that is known ───────────────────────────────────────────────────────────────────────────


async def test_all_that_is_known_is_downloaded(account: Page) -> None:
    """As a file, which the browser keeps; and that is said."""
    async with account.expect_download() as started:
        await account.get_by_role("button", name="Download my data").click()
    download = await started.value

    known = json.loads(Path(await download.path()).read_text(encoding="utf-8"))
    assert download.suggested_filename == "my-data.json"
    assert known["account"]["username"] == "Ada"
    assert [session["current"] for session in known["sessions"]] == [True]
    await expect(account.get_by_role("status")).to_have_text("Your data was downloaded.")
    await expect(account.get_by_role("button", name="Download my data")).to_be_enabled()


async def test_trouble_with_the_download_is_said_beside_it(
    here: Place, ada: Person, account: Page
) -> None:
    """C12: and it can be tried again."""
    here.break_down(StoreUnavailable())

    await account.get_by_role("button", name="Download my data").click()

    card = account.get_by_role("region", name="Your data")
    await expect(card.get_by_role("alert")).to_contain_text("The server cannot answer right now")
    await expect(card.get_by_role("button", name="Download my data")).to_be_enabled()
    ada.forgive(503)


# ── the end ─────────────────────────────────────────────────────────────────────────────────────


async def test_an_account_is_deleted_with_its_password(
    here: Place, ada: Person, farewell: Page
) -> None:
    """After a plain warning; then nothing is left in the browser, in other tabs neither."""
    other = await ada.tab("/account")
    await expect(farewell.get_by_text("gone for good")).to_be_visible()

    await farewell.get_by_label("Current password").first.fill(PASSWORD)
    await farewell.get_by_role("button", name="Delete my account for good").click()

    for page in (farewell, other):
        await expect(page.get_by_text("because your account was deleted")).to_be_visible()
    assert await ada.cookies() == {}
    with pytest.raises(UserUnknown):
        await here.here.accounts.find_user("ada")


async def test_a_wrong_password_deletes_nothing(here: Place, ada: Person, farewell: Page) -> None:
    """It is told beside the field; whoever thinks better of it goes back."""
    await farewell.get_by_label("Current password").first.fill("wrong-wrong")
    await farewell.get_by_role("button", name="Delete my account for good").click()
    await expect(farewell.get_by_text("That is not your current password.")).to_be_visible()

    await farewell.get_by_role("link", name="Keep it, and go back").click()

    await expect(farewell).to_have_url(f"{here.url}/account")
    assert len(await here.here.living()) == 1
    ada.forgive(403)


async def test_a_lost_answer_does_not_hide_that_it_is_done(
    here: Place, ada: Person, farewell: Page
) -> None:
    """C12: the repeated request finds the session over, and why."""

    async def lose_it(request: Request) -> Response:
        answer = await here.pages.handle(request)
        if request.method != "DELETE":
            return answer
        here.meddle = here.pages.handle
        return Response(503, [(b"retry-after", b"1")])

    here.meddle = lose_it
    await farewell.get_by_label("Current password").first.fill(PASSWORD)
    await farewell.get_by_role("button", name="Delete my account for good").click()
    await until(lambda: here.count("DELETE /me") == 1)

    await expect(farewell.get_by_text("because your account was deleted")).to_be_visible()
    ada.forgive(401, 503)
