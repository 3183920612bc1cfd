"""What tests in a browser need: Chromium, and a site whose time passes when told to."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

import uvicorn
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    async_playwright,
    expect,
)

from keyturn.core.model import Policy, Tokens
from keyturn.integrations.asgi import App
from keyturn.server.pages.routes import Pages
from keyturn.wire.http import Request, Response
from keyturn.wire.settings import WireSettings
from tests.accounts.support import PASSWORD
from tests.support import Clock
from tests.wire.support import Site, site

CHROMIUM: Final = "/usr/bin/chromium"
FLAGS: Final = (
    "--no-sandbox",  # which root cannot have
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE: Final = 20_000
"""Milliseconds until a stuck test is stopped."""
PAST_ACCESS: Final = 601
PAST_WINDOW: Final = 31
ACCESS: Final = "__Host-accessToken"
REFRESH: Final = "__Host-refreshToken"

expect.set_options(timeout=PATIENCE)

_PHONE: Final = {"width": 390, "height": 844}
_REFUSED: Final = "Failed to load resource: the server responded with a status of "


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser of its own, with an empty profile."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


class Place:
    """A site with pages on a free port, and one user, Ada.

    ``seen`` are the requests, once answered: each after ``delay()`` seconds, and by ``meddle``.
    """

    def __init__(self, here: Site, clock: Clock, url: str) -> None:
        self.here = here
        self.clock = clock
        self.url = url
        self.pages = Pages(
            here.endpoints,
            here.sessions,
            here.accounts,
            service_name="Keyturn",
            password_length=8,
        )
        self.delay: Callable[[], float] = lambda: 0
        self.meddle: Callable[[Request], Awaitable[Response]] = self.pages.handle
        self.seen: list[str] = []

    async def answer(self, request: Request) -> Response:
        if seconds := self.delay():
            await asyncio.sleep(seconds)
        response = await self.meddle(request)
        self.seen.append(f"{request.method} {request.path}")
        return response

    def count(self, request: str) -> int:
        """How often this was asked."""
        return self.seen.count(request)

    def break_down(self, fault: Exception | None) -> None:
        self.here.break_down(fault)


@asynccontextmanager
async def place(
    clock: Clock | None = None,
    *,
    registration: Literal["open", "closed"] = "open",
    policy: Policy | None = None,
    trusted_origins: tuple[str, ...] = (),
) -> AsyncIterator[Place]:
    """The site, being served."""
    clock = Clock(int(time.time())) if clock is None else clock
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    settings = WireSettings(
        public_url=url, registration=registration, trusted_origins=trusted_origins
    )
    async with site(clock, settings, policy=policy) as here:
        served = Place(here, clock, url)
        app = App(here.endpoints, answer=served.answer)
        config = uvicorn.Config(app, lifespan="off", log_config=None, server_header=False)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield served
        server.should_exit = server.force_exit = True
        await serving


class Person:
    """A browser of somebody, and what went wrong in it."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.errors: list[str] = []
        context.on("console", self._hear)
        context.on("weberror", lambda error: self.errors.append(str(error.error)))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(message.text)

    def forgive(self, *statuses: int) -> None:
        """Forget what Chromium says of every answer with one of these statuses."""
        refused = tuple(f"{_REFUSED}{status}" for status in statuses)
        self.errors = [text for text in self.errors if not text.startswith(refused)]

    async def tab(self, path: str = "/") -> Page:
        page = await self.context.new_page()
        page.set_default_timeout(PATIENCE)
        page.set_default_navigation_timeout(PATIENCE)
        await page.goto(self.url + path)
        return page

    async def cookies(self) -> dict[str, str]:
        return {cookie["name"]: cookie["value"] for cookie in await self.context.cookies()}

    async def hold(self, tokens: Tokens) -> None:
        """Be signed in with these tokens."""
        pair = ((ACCESS, tokens.access_token), (REFRESH, tokens.refresh_token))
        await self.context.add_cookies(
            [
                {
                    "name": name,
                    "value": value,
                    "url": self.url.replace("http:", "https:"),
                    "secure": True,
                    "httpOnly": True,
                    "sameSite": "Lax",
                }
                for name, value in pair
            ]
        )


@asynccontextmanager
async def person(browser: Browser, url: str, **options: Any) -> AsyncIterator[Person]:
    """Somebody with a browser of their own; in the end nothing may have gone wrong in it."""
    context = await browser.new_context(**{"viewport": _PHONE, "timezone_id": "UTC"} | options)
    somebody = Person(context, url)
    yield somebody
    await context.close()
    assert somebody.errors == []


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what the browser is about to do."""
    async with asyncio.timeout(PATIENCE / 1000):
        while not condition():  # noqa: ASYNC110  what is waited for is in another process
            await asyncio.sleep(0.01)


async def until_exchanges(here: Place, count: int) -> None:
    """Wait until a script has exchanged so often."""
    await until(lambda: here.count("POST /refresh-token") == count)


async def pass_time(here: Place, somebody: Person, seconds: int) -> None:
    """Let time pass in the server and in all tabs, whose clock must be installed."""
    here.clock.sleep(seconds)
    await somebody.context.clock.fast_forward(seconds * 1000)


async def log_in(page: Page, name: str = "ada", password: str = PASSWORD) -> None:
    """Fill in the page of that name and send it; where that leads, the test waits for."""
    await page.get_by_label("Username or email").fill(name)
    await page.get_by_label("Password", exact=True).fill(password)
    await page.get_by_role("button", name="Log in").click()
