"""The browser client by itself, in a page of its service; what it asks is answered in the page."""

from __future__ import annotations

import msgspec
import pytest
from playwright.async_api import expect

from keyturn.wire.http import Request, Response
from tests.browser.support import Person, Place

pytestmark = pytest.mark.asyncio(loop_scope="session")

ANSWERED_HERE = """
  const { Keyturn } = await import("/keyturn.js");
  const asked = [];
  const answers = (path) => {
    asked.push(path);
    const now = Date.now() / 1000;
    return { data: { expiresIn: 0.2, refreshAt: now + 0.1 } };
  };
  window.fetch = async (url) => new Response(JSON.stringify(answers(new URL(url).pathname)));
  const until = async (condition) => {
    for (let tries = 0; tries < 1000 && !condition(); tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
"""


async def test_when_it_is_time_each_page_exchanges(ada: Person) -> None:
    """Browsers cut what a timer waits to whole milliseconds, so it is early by a fraction."""
    page = await ada.tab("/login")

    exchanged = await page.evaluate(
        f"""async () => {{
          {ANSWERED_HERE}
          for (let number = 0; number < 40; number += 1) {{
            const base = new URL(`/${{number}}/`, location);
            new Keyturn({{ base }}).keepFresh({{ expiresIn: 0.2 }});
          }}
          await until(() => new Set(asked).size === 40);
          return new Set(asked).size;
        }}"""
    )

    assert exchanged == 40


@pytest.mark.parametrize("base", ["/auth", "/auth/"])
async def test_the_public_url_is_taken_as_it_is_written(ada: Person, base: str) -> None:
    """A path without a slash at its end is not cut off."""
    page = await ada.tab("/login")

    asked = await page.evaluate(
        f"""async (base) => {{
          {ANSWERED_HERE}
          await new Keyturn({{ base: new URL(base, location) }}).me();
          return asked;
        }}""",
        base,
    )

    assert asked == ["/auth/me"]


async def test_a_page_that_was_over_goes_on_after_a_sign_in_elsewhere(ada: Person) -> None:
    """It has the new cookies too, and keeps them fresh."""
    page = await ada.tab("/login")

    kinds = await page.evaluate(
        f"""async () => {{
          {ANSWERED_HERE}
          const base = new URL("/app/", location);
          const kept = new Keyturn({{ base }});
          const elsewhere = new Keyturn({{ base }});
          const heard = [];
          for (const kind of ["signedout", "signedin", "refreshed"]) {{
            kept.addEventListener(kind, () => heard.push(kind));
          }}
          kept.keepFresh({{ expiresIn: 600 }});
          await elsewhere.logout();
          await until(() => heard.length === 1);
          await elsewhere.login({{ username: "ada", password: "" }});
          await until(() => heard.length === 3);
          return heard.slice(0, 3);
        }}"""
    )

    assert kinds == ["signedout", "signedin", "refreshed"]


async def test_a_tab_that_stands_still_holds_up_no_other_for_ever(ada: Person) -> None:
    """As before a box that waits for an answer: what it has locked is done without the lock."""
    page = await ada.tab("/login")

    asked = await page.evaluate(
        f"""async () => {{
          {ANSWERED_HERE}
          navigator.locks.request("keyturn /", () => new Promise(() => {{}}));
          const real = AbortSignal.timeout.bind(AbortSignal);
          AbortSignal.timeout = (milliseconds) => real(milliseconds / 100);
          await new Keyturn().refresh();
          return asked;
        }}"""
    )

    assert asked == ["/refresh-token"]


async def test_a_503_that_is_not_the_servers_own_signs_nobody_out(here: Place, ada: Person) -> None:
    """A proxy's took no cookie away: who believed it would leave a session behind."""
    await ada.hold(await here.here.log_in())
    page = await ada.tab("/account")

    async def deploying(request: Request) -> Response:
        if request.path == "/logout" and request.method == "POST":
            return Response(503, [(b"content-type", b"text/html")], b"<h1>We are deploying</h1>")
        return await here.pages.handle(request)

    here.meddle = deploying
    code, is_over = await page.evaluate(
        """async () => {
          const { Keyturn } = await import("/keyturn.js");
          const keyturn = new Keyturn();
          let isOver = false;
          keyturn.addEventListener("signedout", () => { isOver = true; });
          const { code } = await keyturn.logout().catch((problem) => problem);
          return [code, isOver];
        }"""
    )

    assert (code, is_over) == ("unexpected", False)
    ada.forgive(503)


async def test_nobody_who_types_is_led_to_another_field(here: Place, ada: Person) -> None:
    """The rest of a password would be there in clear."""
    tokens = await here.here.log_in()
    await ada.hold(tokens)
    answers = [503]

    async def in_trouble(request: Request) -> Response:
        kept = [header for header in request.headers if not header[0].startswith(b"sec-fetch")]
        if request.path != "/refresh-token":
            return await here.pages.handle(msgspec.structs.replace(request, headers=kept))
        if answers:
            return Response(answers.pop(), [(b"retry-after", b"1")], b"")
        await here.here.sessions.logout(tokens.refresh_token)
        return await here.pages.handle(request)

    here.meddle = in_trouble
    here.clock.sleep(601)
    page = await ada.tab("/change-password")
    password = page.get_by_label("Password", exact=True)
    await password.press_sequentially("correct")
    await expect(page.locator("body:not([data-resume])")).to_be_visible()
    seen = here.count("POST /refresh-token")
    await page.wait_for_function("() => performance.now() > 2500")
    await password.page.keyboard.type(" horse")

    assert seen >= 1
    assert here.count("POST /refresh-token") >= 2
    await expect(password).to_have_value("correct horse")
    ada.forgive(401, 503)


async def test_what_is_done_once_is_not_said_to_be_tried_again(here: Place, ada: Person) -> None:
    """Whoever left the page would leave the thief signed in."""
    for _ in range(2):
        await ada.hold(await here.here.log_in())
    page = await ada.tab("/account")

    async def never_ends(request: Request) -> Response:
        if request.method == "DELETE":
            return Response(502, [(b"content-type", b"text/html")], b"")
        return await here.pages.handle(request)

    here.meddle = never_ends
    await page.get_by_role("button", name="Sign out", exact=False).first.click()

    devices = page.get_by_role("region", name="Your devices")
    await expect(devices.get_by_role("alert")).to_have_text(
        "The server cannot answer right now. Please try again."
    )
    ada.forgive(502)


async def test_a_reset_link_outlives_the_loading_of_its_page(here: Place, ada: Person) -> None:
    """Phones load a page anew that was left for the password manager."""
    user = await here.here.accounts.find_user("ada")
    token = await here.here.accounts.make_reset_token(user.id)
    page = await ada.tab(f"/reset-password#token={token}")
    await expect(page).to_have_url(f"{here.url}/reset-password")
    await page.reload()

    await page.get_by_label("New password").fill("verdant anvils sing")
    await page.get_by_role("button", name="Set password").click()

    await expect(page.get_by_text("Your new password is set")).to_be_visible()


async def test_a_reset_whose_answer_was_lost_is_not_called_a_bad_link(
    here: Place, ada: Person
) -> None:
    """The password is set, and the link is spent by that."""
    user = await here.here.accounts.find_user("ada")
    token = await here.here.accounts.make_reset_token(user.id)
    page = await ada.tab(f"/reset-password#token={token}")
    lost = [502]

    async def lose_answer(request: Request) -> Response:
        response = await here.pages.handle(request)
        if request.method == "POST" and lost:
            return Response(lost.pop(), [], b"")
        return response

    here.meddle = lose_answer
    await page.get_by_label("New password").fill("verdant anvils sing")
    await page.get_by_role("button", name="Set password").click()

    await expect(page.get_by_role("alert")).to_contain_text("try to log in with it")
    ada.forgive(400, 502)
