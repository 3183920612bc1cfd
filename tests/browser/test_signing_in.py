"""Registering, logging in, logging out: as people do it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from keyturn.core.errors import StoreUnavailable
from keyturn.wire.http import Request, Response
from tests.accounts.support import NEW_PASSWORD, PASSWORD
from tests.browser.support import Person, Place, log_in, pass_time, person, place
from tests.server.processes import serving

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def fill_in_registration(page: Page, username: str = "grace") -> None:
    await page.get_by_label("Your name").fill("Grace Hopper")
    await page.get_by_label("Username").fill(username)
    await page.get_by_label("Email").fill("grace@example.com")
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Create account").click()


# ── the server that people run ──────────────────────────────────────────────────────────────────


async def test_a_new_user_stays_signed_in_past_the_access_token(
    browser: Browser, tmp_path: Path
) -> None:
    """A2: from the first page to the second access token, and no script ever sees a cookie."""
    with serving(tmp_path, KEYTURN_ACCESS_TTL="2") as server:
        async with person(browser, server.url) as grace:
            page = await grace.tab("/")
            await page.get_by_role("link", name="Create an account").click()
            await fill_in_registration(page)
            await expect(page.get_by_role("heading", level=1)).to_have_text("Hello, Grace Hopper")
            assert await page.evaluate("document.cookie") == ""
            assert (await grace.cookies()).keys() == {
                "__Host-accessToken",
                "__Host-refreshToken",
            }

            await page.goto("about:blank")
            while "__Host-accessToken" in await grace.cookies():
                await page.wait_for_timeout(50)
            await page.goto(server.url + "/account")

            await expect(page.get_by_role("heading", level=1)).to_have_text("Hello, Grace Hopper")


# ── registering ─────────────────────────────────────────────────────────────────────────────────


async def test_what_cannot_be_taken_is_said_beside_its_field(ada: Person) -> None:
    """And nothing that was typed is lost; the field is where one types on."""
    page = await ada.tab("/register")

    await fill_in_registration(page, "g@")

    field = page.get_by_label("Username")
    await expect(field).to_be_focused()
    await expect(field).to_have_accessible_description(
        "Must have 3 to 64 characters. What you log in with. Others may see it."
    )
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(page.get_by_label("Email")).to_have_value("grace@example.com")
    ada.forgive(400)


async def test_an_empty_form_is_not_sent(here: Place, ada: Person) -> None:
    """Each field says that it is missing, and the first one is where to begin."""
    page = await ada.tab("/register")

    await page.get_by_role("button", name="Create account").click()

    await expect(page.get_by_text("Please fill this in.")).to_have_count(4)
    await expect(page.get_by_label("Your name")).to_be_focused()
    assert here.count("POST /register") == 0


async def test_a_taken_name_is_said(ada: Person) -> None:
    """In words that tell what to do."""
    page = await ada.tab("/register")

    await fill_in_registration(page, "ada")

    await expect(page.get_by_role("alert")).to_contain_text("log in instead")
    ada.forgive(409)


async def test_a_registration_whose_answer_was_lost_goes_on(here: Place, ada: Person) -> None:
    """C12: the second try finds the name taken, by this very user, who is signed in then."""

    async def lose_the_first(request: Request) -> Response:
        response = await here.pages.handle(request)
        if request.path == "/register" and response.status == 201:
            here.break_down(StoreUnavailable())
            response = await here.pages.handle(request)
            here.break_down(None)
        return response

    here.meddle = lose_the_first
    page = await ada.tab("/register")

    await fill_in_registration(page)

    await expect(page.get_by_text("Your account is ready.")).to_be_visible()
    assert here.count("POST /register") == 2
    ada.forgive(503, 409)


async def test_where_registration_is_closed_nothing_leads_to_it(browser: Browser) -> None:
    """Neither a link nor a page."""
    async with place(registration="closed") as here, person(browser, here.url) as somebody:
        page = await somebody.tab("/login")
        await expect(page.get_by_role("button", name="Log in")).to_be_enabled()
        await expect(page.get_by_role("link", name="Create an account")).to_have_count(0)

        await page.goto(here.url + "/register")

        await expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing here")
        somebody.forgive(405)


# ── logging in ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["ada@example.com", " Ada "])
async def test_one_logs_in_by_name_or_email(ada: Person, name: str) -> None:
    """And is led to the account."""
    page = await ada.tab("/")

    await log_in(page, name)

    await expect(page).to_have_url(f"{ada.url}/account")


async def test_a_wrong_password_is_said_and_the_name_kept(ada: Person) -> None:
    """F7: in words that tell nobody which of the two is wrong."""
    page = await ada.tab("/login")

    await log_in(page, password="wrong horse battery")

    await expect(page.get_by_role("alert")).to_have_text(
        "That username and password do not belong together."
    )
    await expect(page.get_by_label("Username or email")).to_have_value("ada")
    ada.forgive(401)


async def test_who_guesses_too_often_is_told_how_long_to_wait(ada: Person) -> None:
    """F6: not retried by itself."""
    page = await ada.tab("/login")
    for _ in range(6):
        await log_in(page, password="wrong horse battery")
        await page.get_by_role("alert").wait_for()
        await expect(page.get_by_role("button", name="Log in")).to_be_enabled()

    await expect(page.get_by_role("alert")).to_have_text(
        "Too many attempts. Try again in 1 seconds."
    )
    ada.forgive(401, 429)


@pytest.mark.parametrize(
    ("asked", "led_to"),
    [("/logout", "/logout"), ("//evil.example", "/account")],
)
async def test_one_is_led_to_where_one_was_going(ada: Person, asked: str, led_to: str) -> None:
    """Unless that is elsewhere."""
    page = await ada.tab(f"/login?next={asked}")

    await log_in(page)

    await expect(page).to_have_url(ada.url + led_to)


async def test_a_page_that_needs_a_user_asks_for_one_and_comes_back(ada: Person) -> None:
    """Through the login page, which then is not in the way of going back."""
    page = await ada.tab("/change-password")
    await expect(page).to_have_url(f"{ada.url}/login?next=/change-password")

    await log_in(page)

    await expect(page).to_have_url(f"{ada.url}/change-password")


async def test_without_remember_the_cookies_end_with_the_browser(ada: Person) -> None:
    """As the box says."""
    page = await ada.tab("/login")
    await page.get_by_label("Keep me signed in").uncheck()

    await log_in(page)

    await expect(page).to_have_url(f"{ada.url}/account")
    assert {cookie["expires"] for cookie in await ada.context.cookies()} == {-1}


async def test_the_password_can_be_looked_at(ada: Person) -> None:
    """By a button whose name says what it does."""
    page = await ada.tab("/login")
    field = page.get_by_label("Password", exact=True)
    await field.fill("sesame")

    await page.get_by_role("button", name="Show Password").click()
    await expect(field).to_have_attribute("type", "text")
    await page.get_by_role("button", name="Hide Password").click()

    await expect(field).to_have_attribute("type", "password")
    await expect(field).to_have_value("sesame")


async def test_a_login_page_in_another_tab_goes_on_too(ada: Person) -> None:
    """Who has signed in is not asked again."""
    waiting, used = await ada.tab("/login?next=/change-password"), await ada.tab("/login")

    await log_in(used)

    await expect(waiting).to_have_url(f"{ada.url}/change-password")


async def test_without_scripts_no_form_can_be_sent(browser: Browser, here: Place) -> None:
    """A browser would send it as no endpoint takes it."""
    async with person(browser, here.url, java_script_enabled=False) as somebody:
        page = await somebody.tab("/login")

        await expect(page.get_by_role("button", name="Log in")).to_be_disabled()


# ── in times of trouble ─────────────────────────────────────────────────────────────────────────


async def test_a_login_during_trouble_waits_and_goes_on_by_itself(here: Place, ada: Person) -> None:
    """C12: what was typed stays, and the form is sent again."""
    page = await ada.tab("/login")
    here.break_down(StoreUnavailable())
    await log_in(page)
    await expect(page.get_by_role("alert")).to_contain_text("it tries again by itself")
    await expect(page.get_by_label("Username or email")).to_have_value("ada")
    await expect(page.get_by_label("Password", exact=True)).to_have_value(PASSWORD)

    here.break_down(None)

    await expect(page).to_have_url(f"{ada.url}/account")
    ada.forgive(503)


async def test_so_does_one_without_a_network(ada: Person) -> None:
    """And the button sends it at once."""
    page = await ada.tab("/login")
    await ada.context.set_offline(True)
    await log_in(page)
    await expect(page.get_by_role("alert")).to_contain_text("We cannot reach the server.")

    await ada.context.set_offline(False)
    await page.get_by_role("button", name="Try again now").click()

    await expect(page).to_have_url(f"{ada.url}/account")
    ada.errors = [text for text in ada.errors if "ERR_INTERNET_DISCONNECTED" not in text]


async def test_whoever_types_on_is_not_interrupted(here: Place, ada: Person) -> None:
    """A form that is being changed is not sent by itself."""
    await ada.context.clock.install()
    page = await ada.tab("/login")
    here.break_down(StoreUnavailable(retry_after=25))
    await log_in(page)
    await page.get_by_role("alert").wait_for()
    tried = here.count("POST /login")

    await page.get_by_label("Password", exact=True).press_sequentially("x")
    await ada.context.clock.fast_forward(60_000)

    await expect(page.get_by_role("button", name="Log in")).to_be_visible()
    assert here.count("POST /login") == tried
    ada.forgive(503)


# ── logging out ─────────────────────────────────────────────────────────────────────────────────


async def signed_in(ada: Person, here: Place, path: str = "/account") -> Page:
    await ada.hold(await here.here.log_in())
    return await ada.tab(path)


async def test_one_logs_out_by_a_button(here: Place, ada: Person) -> None:
    """B1: the page itself changes nothing; then the cookies are gone and the session is over."""
    page = await signed_in(ada, here)
    await page.get_by_role("link", name="Log out").click()
    await expect(page.get_by_text("You are signed in as Ada Lovelace.")).to_be_visible()
    assert len(await here.here.living()) == 1

    await page.get_by_role("button", name="Log out").click()

    await expect(page.get_by_role("heading", level=1)).to_have_text("You are signed out")
    await expect(page.get_by_text("You have logged out on this device.")).to_be_visible()
    assert await ada.cookies() == {}
    assert list(await here.here.living()) == []


async def test_a_logout_shows_in_the_other_tabs(here: Place, ada: Person) -> None:
    """At once, and with the reason."""
    other = await signed_in(ada, here)
    page = await ada.tab("/logout")

    await page.get_by_role("button", name="Log out").click()

    await expect(other.get_by_text("You have logged out on this device.")).to_be_visible()


async def test_an_old_browsers_tabs_see_it_when_somebody_comes_back(
    here: Place, ada: Person
) -> None:
    """Where tabs cannot tell each other, the server is asked on focus; never more than it takes."""
    await ada.context.clock.install()
    await ada.context.add_init_script("delete globalThis.BroadcastChannel")
    other = await signed_in(ada, here)
    page = await ada.tab("/logout")
    await page.get_by_role("button", name="Log out").click()
    await page.get_by_role("link", name="Log in again").wait_for()
    await pass_time(here, ada, 20)

    await other.evaluate("window.dispatchEvent(new Event('focus'))")

    await expect(other.get_by_text("You have logged out on this device.")).to_be_visible()
    ada.forgive(401)


async def test_going_back_after_a_logout_shows_nothing_private(here: Place, ada: Person) -> None:
    """A9: neither from a cache nor from the browser's memory."""
    page = await signed_in(ada, here)
    await page.get_by_role("link", name="Change password").click()
    await page.get_by_role("link", name="Back to your account").click()
    await page.get_by_role("link", name="Log out").click()
    await page.get_by_role("button", name="Log out").click()
    await page.get_by_role("link", name="Log in again").wait_for()

    for _ in range(3):
        await page.go_back()

        await page.get_by_role("heading", name="Log in").wait_for()
        assert "Ada Lovelace" not in await page.content()


async def test_a_page_out_of_the_browsers_memory_is_asked_for_again(
    here: Place, ada: Person
) -> None:
    """What it shows may be over; until that is known, it shows nothing."""
    page = await signed_in(ada, here)
    before = here.count("GET /account")

    hidden = await page.evaluate(
        """() => {
          window.dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }));
          return document.body.hidden;
        }"""
    )

    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert hidden
    assert here.count("GET /account") == before + 1


async def test_a_logout_that_could_not_be_recorded_says_so(here: Place, ada: Person) -> None:
    """The cookies are gone all the same."""
    page = await signed_in(ada, here, "/logout")
    here.break_down(StoreUnavailable())

    await page.get_by_role("button", name="Log out").click()

    await expect(page.get_by_text("we could not record it")).to_be_visible()
    assert await ada.cookies() == {}
    ada.forgive(503)


# ── changing the password ───────────────────────────────────────────────────────────────────────


async def change_password(page: Page, current: str, new: str) -> None:
    await page.get_by_label("Current password").fill(current)
    await page.get_by_label("New password").fill(new)
    await page.get_by_role("button", name="Change password").click()


async def test_the_password_is_changed_and_one_stays_signed_in(
    here: Place, ada: Person, browser: Browser
) -> None:
    """F8: here; everywhere else one is signed out, and told why."""
    page = await signed_in(ada, here, "/change-password")
    async with person(browser, here.url) as elsewhere:
        other = await signed_in(elsewhere, here)
        await change_password(page, PASSWORD, NEW_PASSWORD)

        await expect(page.get_by_text("Your password was changed")).to_be_visible()
        await expect(page).to_have_url(f"{ada.url}/account")
        await other.reload()
        await expect(other.get_by_text("because your password was changed")).to_be_visible()
        await other.get_by_role("link", name="Log in again").click()
        await log_in(other, password=NEW_PASSWORD)
        await expect(other).to_have_url(f"{ada.url}/account")


async def reset_link(here: Place) -> str:
    """As `keyturn users reset-link` prints it, without the host."""
    user = await here.here.accounts.find_user("ada")
    return f"/reset-password#token={await here.here.accounts.make_reset_token(user.id)}"


async def test_a_forgotten_password_is_set_anew_by_a_link(here: Place, ada: Person) -> None:
    """Its token is gone from the address at once; then one logs in."""
    page = await ada.tab(await reset_link(here))
    await expect(page).to_have_url(f"{here.url}/reset-password")

    await page.get_by_label("New password").fill(NEW_PASSWORD)
    await page.get_by_role("button", name="Set password").click()

    await expect(page.get_by_text("Your new password is set")).to_be_visible()
    await page.get_by_role("link", name="Log in again").click()
    await log_in(page, password=NEW_PASSWORD)
    await expect(page).to_have_url(f"{here.url}/account")


async def test_a_link_that_is_over_says_so(here: Place, ada: Person) -> None:
    """And what to do."""
    link = await reset_link(here)
    await reset_link(here)
    page = await ada.tab(link)

    await page.get_by_label("New password").fill(NEW_PASSWORD)
    await page.get_by_role("button", name="Set password").click()

    await expect(page.get_by_role("alert")).to_contain_text("Ask for another one.")
    ada.forgive(400)


@pytest.mark.parametrize(
    ("current", "new", "field", "said"),
    [
        ("wrong horse", NEW_PASSWORD, "Current password", "That is not your current password."),
        (PASSWORD, "password1", "New password", "Password is one of those that are guessed first."),
    ],
)
async def test_a_password_that_will_not_do_is_said(
    here: Place, ada: Person, current: str, new: str, field: str, said: str
) -> None:
    """F3: beside its field."""
    page = await signed_in(ada, here, "/change-password")

    await change_password(page, current, new)

    await expect(page.get_by_text(said)).to_be_visible()
    await expect(page.get_by_label(field)).to_be_focused()
    ada.forgive(400, 403)
