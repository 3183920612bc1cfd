"""Nobody is logged out by mistake: navigations, open pages, several tabs, times of trouble."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from keyturn.core.errors import StoreUnavailable
from keyturn.core.model import EndReason, Policy
from keyturn.wire.http import Request, Response
from tests.browser.support import (
    ACCESS,
    PAST_ACCESS,
    PAST_WINDOW,
    REFRESH,
    Person,
    Place,
    log_in,
    pass_time,
    person,
    place,
    until,
    until_exchanges,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROUNDS = 50

# In headless Chromium every tab is visible, so a page is told whether anybody looks at it.
LOOKED_AT = """
let looked = true;
Object.defineProperty(document, "visibilityState", { get: () => looked ? "visible" : "hidden" });
window.look = (whether) => {
  looked = whether;
  document.dispatchEvent(new Event("visibilitychange"));
};
"""


@pytest_asyncio.fixture(loop_scope="session")
async def signed_in(ada: Person, here: Place) -> AsyncIterator[Person]:
    """Ada's browser, signed in, whose clock goes with the server's."""
    await ada.context.clock.install()
    await ada.context.add_init_script(LOOKED_AT)
    await ada.hold(await here.here.log_in())
    yield ada


async def wake(page: Page) -> None:
    """Somebody comes back to the page."""
    await page.evaluate("window.dispatchEvent(new Event('focus'))")


async def look_away(page: Page) -> None:
    """Somebody goes to another tab."""
    await page.evaluate("look(false)")


async def look_again(page: Page) -> None:
    """Somebody comes back from there."""
    await page.evaluate("look(true)")


async def until_answered(page: Page) -> None:
    """Wait for the end of an exchange that is under way."""
    await page.evaluate("navigator.locks.request('keyturn /', () => {})")


async def ask_me(page: Page) -> None:
    """What an application's own page does."""
    await page.evaluate(
        """async () => {
          const { Keyturn } = await import("/keyturn.js");
          const answer = await new Keyturn().fetch("/me");
          if (!answer.ok) throw new Error(`refused: ${answer.status}`);
        }"""
    )


async def assert_signed_in(page: Page) -> None:
    await expect(page.get_by_role("heading", level=1)).to_have_text("Hello, Ada Lovelace")


# ── navigations ─────────────────────────────────────────────────────────────────────────────────


async def test_a_navigation_renews_in_passing(here: Place, signed_in: Person) -> None:
    """One request, one answer, with both new cookies: no login page, no detour."""
    before = await signed_in.cookies()
    here.clock.sleep(PAST_ACCESS)

    page = await signed_in.tab("/account")

    await assert_signed_in(page)
    after = await signed_in.cookies()
    assert [asked for asked in here.seen if "static" not in asked] == ["GET /account"]
    assert before[ACCESS] != after[ACCESS]
    assert before[REFRESH] != after[REFRESH]


async def test_whoever_comes_late_is_shown_the_page_all_the_same(
    here: Place, signed_in: Person
) -> None:
    """409 sends to the same page once, by when the jar holds the newer cookie."""
    oldest = await signed_in.cookies()
    here.clock.sleep(PAST_ACCESS)
    turned = await here.here.sessions.refresh(oldest[REFRESH])
    here.clock.sleep(PAST_WINDOW)
    latest = await here.here.sessions.refresh(turned.refresh_token)

    async def arrive_at_last(request: Request) -> Response:
        response = await here.pages.handle(request)
        if response.status == 303:
            await signed_in.hold(latest)
        return response

    here.meddle = arrive_at_last
    page = await signed_in.tab("/account?notice=registered")

    await assert_signed_in(page)
    await expect(page).to_have_url(f"{here.url}/account")
    assert here.count("GET /account") == 2


async def test_whoever_is_late_again_is_led_on_by_the_script(
    here: Place, signed_in: Person
) -> None:
    """Nothing loops: after one more try the login page is answered, which goes on trying."""
    cookies = await signed_in.cookies()
    here.clock.sleep(PAST_ACCESS)
    turned = await here.here.sessions.refresh(cookies[REFRESH])
    here.clock.sleep(PAST_WINDOW)
    latest = await here.here.sessions.refresh(turned.refresh_token)

    async def arrive_at_the_exchange(request: Request) -> Response:
        response = await here.pages.handle(request)
        if response.status == 409:
            await signed_in.hold(latest)
        return response

    here.meddle = arrive_at_the_exchange
    page = await signed_in.tab("/account")

    await assert_signed_in(page)
    assert (here.count("GET /account"), here.count("GET /login")) == (3, 2)
    signed_in.forgive(409)


async def test_an_old_browser_is_led_on_by_the_script(here: Place, signed_in: Person) -> None:
    """Without fetch metadata nothing is renewed in passing; the login page exchanges."""

    async def without_metadata(request: Request) -> Response:
        kept = [header for header in request.headers if not header[0].startswith(b"sec-fetch")]
        return await here.pages.handle(msgspec.structs.replace(request, headers=kept))

    here.meddle = without_metadata
    here.clock.sleep(PAST_ACCESS)

    page = await signed_in.tab("/change-password")

    await expect(page).to_have_url(f"{here.url}/change-password")
    assert here.count("POST /refresh-token") == 1


async def test_a_stranger_is_not_asked_to_exchange(here: Place, ada: Person) -> None:
    """Where there is nothing to exchange, nothing is tried."""
    page = await ada.tab("/account")

    await expect(page.get_by_role("button", name="Log in")).to_be_enabled()
    assert here.count("POST /refresh-token") == 0


# ── a page that stays open ──────────────────────────────────────────────────────────────────────


async def test_an_open_page_exchanges_before_its_access_token_ends(
    here: Place, signed_in: Person
) -> None:
    """Again and again, with no 401 on the way."""
    page = await signed_in.tab("/account")

    for exchanges in range(1, 4):
        await pass_time(here, signed_in, 541)
        await until_exchanges(here, exchanges)
        await until_answered(page)

    await assert_signed_in(page)


async def test_a_page_that_nobody_looks_at_waits(here: Place, signed_in: Person) -> None:
    """A session can grow idle; whoever comes back finds it fresh."""
    page = await signed_in.tab("/account")
    await look_away(page)
    await pass_time(here, signed_in, 3 * PAST_ACCESS)
    await wake(page)
    assert here.count("POST /refresh-token") == 0

    await page.evaluate("look(true)")

    await until_exchanges(here, 1)
    await assert_signed_in(page)


async def test_of_many_tabs_one_exchanges(here: Place, signed_in: Person) -> None:
    """The others hear of it."""
    tabs = [await signed_in.tab("/account") for _ in range(3)]
    for page in tabs:
        await look_away(page)
    await pass_time(here, signed_in, PAST_ACCESS)
    here.delay = lambda: 0.2

    await asyncio.gather(*(page.evaluate("look(true)") for page in tabs))
    await until(lambda: here.count("POST /refresh-token") > 0)
    await asyncio.gather(*(ask_me(page) for page in tabs))
    await asyncio.gather(*(until_answered(page) for page in tabs))

    assert here.count("POST /refresh-token") == 1


async def test_without_locks_several_tabs_do_no_harm(here: Place, signed_in: Person) -> None:
    """An old browser's tabs exchange at once, and are given the same token."""
    await signed_in.context.add_init_script(
        "Object.defineProperty(navigator, 'locks', { value: undefined });"
        "delete globalThis.BroadcastChannel;"
    )
    tabs = [await signed_in.tab("/account") for _ in range(3)]
    for page in tabs:
        await look_away(page)
    await pass_time(here, signed_in, PAST_ACCESS)

    await asyncio.gather(*(page.evaluate("look(true)") for page in tabs))

    await until_exchanges(here, 3)
    for page in tabs:
        await assert_signed_in(page)
    (session,) = await here.here.sessions.list((await here.here.accounts.find_user("ada")).id)
    assert session.generation == 1


async def test_a_request_of_an_own_page_is_repeated(here: Place, signed_in: Person) -> None:
    """SPEC 4.2: a 401 on an access token never means signed out."""
    page = await signed_in.tab("/account")
    here.clock.sleep(PAST_ACCESS)

    await ask_me(page)

    assert here.count("GET /me") == 2
    signed_in.forgive(401)


async def test_trouble_at_an_exchange_signs_nobody_out(here: Place, signed_in: Person) -> None:
    """C12: it is tried again, later each time."""
    page = await signed_in.tab("/account")
    here.break_down(StoreUnavailable())
    await pass_time(here, signed_in, 541)
    await until_exchanges(here, 1)
    await until_answered(page)
    here.break_down(None)

    await pass_time(here, signed_in, 5)

    await until_exchanges(here, 2)
    await assert_signed_in(page)
    signed_in.forgive(503)


# ── several tabs ────────────────────────────────────────────────────────────────────────────────


async def two_tabs(
    here: Place, somebody: Person, *, rounds: int = ROUNDS
) -> AsyncIterator[list[BaseException]]:
    """Rounds of waking, asking, reloading and waiting, at once and with answers delayed; what went
    wrong in each.
    """
    chance = random.Random(4)
    here.delay = lambda: chance.choice([0, 0, 0.01, 0.05])
    tabs = [await somebody.tab("/account") for _ in range(2)]
    actions: list[Callable[[Page], Awaitable[object]]] = [wake, ask_me, Page.reload, look_away]
    for _ in range(rounds):
        await pass_time(here, somebody, chance.choice([0, 1, 20, PAST_WINDOW, 300, 560, 2000]))
        done = await asyncio.gather(
            *(chance.choice(actions)(page) for page in tabs), return_exceptions=True
        )
        done += await asyncio.gather(*map(look_again, tabs), return_exceptions=True)
        yield [result for result in done if isinstance(result, BaseException)]


def were_led_away(here: Place) -> bool:
    return here.count("GET /login") + here.count("GET /signed-out") > 0


async def test_two_tabs_in_any_order_are_never_logged_out(here: Place, signed_in: Person) -> None:
    """Fifty rounds; at the end both show the account, of the one session that there was."""
    async for faults in two_tabs(here, signed_in):
        assert faults == []
        assert not were_led_away(here)

    for page in signed_in.context.pages:
        await expect(page).to_have_url(f"{here.url}/account")
        await page.reload()
        await assert_signed_in(page)
    assert not were_led_away(here)
    assert here.count("POST /refresh-token") > 5
    assert len(await here.here.living()) == 1
    signed_in.forgive(401, 409, 503)  # an exchange that a busy machine is slow with is asked again


async def test_two_tabs_of_a_server_that_takes_each_token_once_are_logged_out(
    browser: Browser,
) -> None:
    """The rounds are hard enough: what most servers do fails in them."""
    policy = Policy(retry_window=0, recover=False)
    async with place(policy=policy) as here, person(browser, here.url) as somebody:
        await somebody.context.clock.install()
        await somebody.context.add_init_script(LOOKED_AT)
        await somebody.hold(await here.here.log_in())
        async for _ in two_tabs(here, somebody, rounds=4 * ROUNDS):
            if were_led_away(here):
                break
        await somebody.context.close()  # until then it may tell of more that goes wrong on purpose
        somebody.errors.clear()

    assert were_led_away(here)


# ── when it is really over ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (EndReason.REVOKED_BY_USER, "because this device was signed out from another one"),
        (EndReason.REUSE_DETECTED, "a copy of this sign-in was used somewhere else"),
    ],
)
async def test_a_session_ended_elsewhere_says_why(
    here: Place, signed_in: Person, reason: EndReason, words: str
) -> None:
    """As soon as somebody looks; after a second refusal, and with no cookie deleted."""
    page = await signed_in.tab("/account")
    user = await here.here.accounts.find_user("ada")
    await here.here.sessions.revoke_all(user.id, reason=reason)
    await pass_time(here, signed_in, 20)

    await wake(page)

    await expect(page.get_by_text(words)).to_be_visible()
    assert here.count("POST /refresh-token") == 2
    assert (await signed_in.cookies()).keys() == {ACCESS, REFRESH}
    await page.get_by_role("link", name="Log in again").click()
    await log_in(page)
    await expect(page).to_have_url(f"{here.url}/account")
    signed_in.forgive(401)


async def test_so_does_a_navigation(here: Place, signed_in: Person) -> None:
    """To a page that needs a user; from there one comes back to it."""
    user = await here.here.accounts.find_user("ada")
    await here.here.sessions.revoke_all(user.id, reason=EndReason.REVOKED_BY_USER)

    page = await signed_in.tab("/change-password")

    await expect(page.get_by_text("signed out from another one")).to_be_visible()
    await page.get_by_role("link", name="Log in again").click()
    await log_in(page)
    await expect(page).to_have_url(f"{here.url}/change-password")


async def test_a_refusal_that_crossed_a_sign_in_signs_nobody_out(
    here: Place, signed_in: Person
) -> None:
    """The second try is made with the cookies that the browser holds by then."""
    page = await signed_in.tab("/account")
    user = await here.here.accounts.find_user("ada")
    await here.here.sessions.revoke_all(user.id)
    newer = await here.here.log_in()

    async def sign_in_meanwhile(request: Request) -> Response:
        response = await here.pages.handle(request)
        if request.path == "/refresh-token" and response.status == 401:
            await signed_in.hold(newer)
        return response

    here.meddle = sign_in_meanwhile
    await pass_time(here, signed_in, 20)
    await wake(page)
    await until_exchanges(here, 2)
    await ask_me(page)

    await assert_signed_in(page)
    signed_in.forgive(401)


# ── pages in times of trouble ───────────────────────────────────────────────────────────────────


async def test_a_page_that_needs_a_user_says_that_we_are_in_trouble(
    here: Place, signed_in: Person
) -> None:
    """C12: 503, never a login page; and it comes by itself once we are out of it."""
    here.clock.sleep(PAST_ACCESS)
    here.break_down(StoreUnavailable())
    page = await signed_in.tab("/account")
    await expect(page.get_by_role("heading", level=1)).to_have_text("We are having trouble")
    here.break_down(None)

    await signed_in.context.clock.fast_forward(3_000)

    await assert_signed_in(page)
    signed_in.forgive(503)


async def test_a_page_for_anybody_is_shown_and_goes_on_when_it_can(
    here: Place, signed_in: Person
) -> None:
    """The login page may be used at once; whoever was signed in all along need not."""
    here.clock.sleep(PAST_ACCESS)
    here.break_down(StoreUnavailable())
    page = await signed_in.tab("/login?next=/change-password")
    await expect(page.get_by_role("button", name="Log in")).to_be_visible()
    here.break_down(None)

    await signed_in.context.clock.fast_forward(2_000)

    await expect(page).to_have_url(f"{here.url}/change-password")
    signed_in.forgive(503)


async def test_two_people_in_one_browser_one_after_the_other(
    here: Place, browser: Browser, signed_in: Person
) -> None:
    """Whoever signs in anew in another tab is who all tabs are for."""
    await here.here.accounts.register("Grace", "grace@example.com", "Grace Hopper", "verdant-owls")
    page = await signed_in.tab("/account")
    async with person(browser, here.url):
        other = await signed_in.tab("/logout")
        await other.get_by_role("button", name="Log out").click()
        await other.get_by_role("link", name="Log in again").click()
        await log_in(other, "grace", "verdant-owls")

    await expect(page.get_by_role("heading", level=1)).to_have_text("Hello, Grace Hopper")
