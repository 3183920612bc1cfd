"""Pages of other origins in a real browser: what they may ask, and what they may read."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
import uvicorn
from playwright.async_api import Browser, Page

from keyturn.core.errors import StoreUnavailable
from tests.browser.support import Person, Place, person, place

pytestmark = pytest.mark.asyncio(loop_scope="session")

ASK = """
async ({ url, method, headers }) => {
  try {
    const answer = await fetch(url, { method, headers, credentials: "include" });
    return {
      status: answer.status,
      told: ["Retry-After", "WWW-Authenticate"].filter((name) => answer.headers.has(name)),
      ...(await answer.json()),
    };
  } catch ({ name }) {
    return { refused: name };
  }
}
"""
BY_CLIENT = """
async (url) => {
  const { Keyturn } = await import(`${url}/keyturn.js`);
  return (await new Keyturn({ base: url }).me()).user.username;
}
"""
PROBLEM_OF_CLIENT = """
async (url) => {
  const { Keyturn } = await import(`${url}/keyturn.js`);
  const { code, requestId } = await new Keyturn({ base: url })
    .login({ username: "ada", password: "wrong" })
    .catch((problem) => problem);
  return { code, requestId };
}
"""
REFUSED = {"refused": "TypeError"}


async def _answer_with_a_page(
    _scope: object,
    _receive: object,
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    headers = [(b"content-type", b"text/html; charset=utf-8")]
    page = b"<!doctype html><title>An application</title><link rel='icon' href='data:,'>"
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": page})


@pytest_asyncio.fixture(loop_scope="session")
async def port() -> AsyncIterator[int]:
    """Where an application is served."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(_answer_with_a_page, lifespan="off", log_config=None, server_header=False)
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    yield listener.getsockname()[1]
    server.should_exit = server.force_exit = True
    await serving


@pytest_asyncio.fixture(loop_scope="session")
async def trusting(port: int) -> AsyncIterator[Place]:
    """A site that trusts the application under both of its names."""
    origins = (f"http://127.0.0.1:{port}", f"http://localhost:{port}")
    async with place(trusted_origins=origins) as served:
        yield served


async def application(somebody: Person, host: str, port: int) -> Page:
    """A page of the application, as somebody sees it who is signed in at the site."""
    page = await somebody.context.new_page()
    await page.goto(f"http://{host}:{port}/")
    return page


async def ask(page: Page, here: Place, request: str, **headers: str) -> Any:
    method, path = request.split()
    return await page.evaluate(ASK, {"url": here.url + path, "method": method, "headers": headers})


async def test_a_page_of_a_trusted_site_asks_with_a_bearer(
    browser: Browser, trusting: Place, port: int
) -> None:
    """B5: after a preflight; it reads refusals too, and the headers that say what to do."""
    tokens = await trusting.here.log_in()
    async with person(browser, trusting.url) as ada:
        page = await application(ada, "localhost", port)

        user = await ask(page, trusting, "GET /me", Authorization=f"Bearer {tokens.access_token}")
        refused = await ask(page, trusting, "GET /me")

        ada.forgive(401)
    assert user["data"]["user"]["username"] == "Ada"
    assert trusting.count("OPTIONS /me") == 1
    assert (refused["status"], refused["code"]) == (401, "access_token_missing")
    assert refused["told"] == ["WWW-Authenticate"]


async def test_a_page_of_the_same_site_asks_with_the_cookies(
    browser: Browser, trusting: Place, port: int
) -> None:
    """B5: another port is another origin, but the same site; the browser client works there."""
    async with person(browser, trusting.url) as ada:
        await ada.hold(await trusting.here.log_in())
        page = await application(ada, "127.0.0.1", port)

        username = await page.evaluate(BY_CLIENT, trusting.url)
        ended = await ask(page, trusting, "POST /logout-others")

    assert username == "Ada"
    assert (ended["status"], ended["data"]) == (200, {"ended": 0})


async def test_the_browser_client_tells_what_the_log_calls_the_request(
    browser: Browser, trusting: Place, port: int
) -> None:
    """H3: so that a user who asks for help can name it."""
    async with person(browser, trusting.url) as ada:
        page = await application(ada, "127.0.0.1", port)

        async with page.expect_response("**/login") as answer:
            problem = await page.evaluate(PROBLEM_OF_CLIENT, trusting.url)

        told = await (await answer.value).json()
        ada.forgive(401)
    assert problem == {"code": "invalid_credentials", "requestId": told["requestId"]}


async def test_it_is_told_when_to_come_again(browser: Browser, trusting: Place, port: int) -> None:
    """B5, C12: our faults can be read as such."""
    async with person(browser, trusting.url) as ada:
        await ada.hold(await trusting.here.log_in())
        page = await application(ada, "127.0.0.1", port)
        trusting.break_down(StoreUnavailable())

        answer = await ask(page, trusting, "GET /sessions")

        ada.forgive(503)
    assert (answer["status"], answer["told"]) == (503, ["Retry-After"])


async def test_the_exchange_is_for_pages_of_the_own_origin(
    browser: Browser, trusting: Place, port: int
) -> None:
    """B5: also with the cookie, and from a trusted page; nothing has turned."""
    tokens = await trusting.here.log_in()
    async with person(browser, trusting.url) as ada:
        await ada.hold(tokens)
        page = await application(ada, "127.0.0.1", port)

        answer = await ask(page, trusting, "POST /refresh-token")

        ada.errors.clear()  # Chromium's own words for what it withholds
    assert answer == REFUSED
    user = await trusting.here.accounts.find_user("ada")
    (session,) = await trusting.here.sessions.list(user.id)
    assert session.generation == 0


async def test_a_page_that_is_not_trusted_reads_and_changes_nothing(
    browser: Browser, here: Place, port: int
) -> None:
    """B5: neither with the cookies of whoever looks at it, nor with a token of its own."""
    tokens = await here.here.log_in()
    async with person(browser, here.url) as ada:
        await ada.hold(tokens)
        page = await application(ada, "127.0.0.1", port)

        answers = [
            await ask(page, here, "GET /me"),
            await ask(page, here, "GET /me", Authorization=f"Bearer {tokens.access_token}"),
            await ask(page, here, "POST /logout"),
            await ask(page, here, "DELETE /me"),
        ]

        ada.errors.clear()  # Chromium's own words for what it withholds
    assert answers == [REFUSED] * 4
    assert len(await here.here.living()) == 1
