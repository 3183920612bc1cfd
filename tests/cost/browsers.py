"""A browser that exchanges and checks, with no server between it and the application."""

from __future__ import annotations

from typing import Any

from keyturn.integrations.asgi import App
from tests.wire.support import CLIENT, REFRESH, Site

__all__ = ["Browser"]


class Browser:
    """It keeps the cookies that it is given, and presents them all."""

    def __init__(self, here: Site, refresh_token: str) -> None:
        self._app = App(here.endpoints)
        self._cookies = {REFRESH: refresh_token}

    async def turn(self) -> None:
        before = self._cookies[REFRESH]
        await self._ask("POST", "/refresh-token")
        assert self._cookies[REFRESH] != before

    async def check(self) -> None:
        await self._ask("GET", "/me")

    async def _ask(self, method: str, path: str) -> None:
        cookies = "; ".join("=".join(each) for each in self._cookies.items())
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": [(b"user-agent", b"Mozilla/5.0"), (b"cookie", cookies.encode())],
            "client": (CLIENT, 4711),
        }
        await self._app(scope, _no_body, self._take)

    async def _take(self, message: Any) -> None:
        for name, value in message.get("headers", ()):
            if name == b"set-cookie":
                cookie, _, token = value.decode().partition(";")[0].partition("=")
                self._cookies[cookie] = token
        assert message.get("status", 200) == 200


async def _no_body() -> dict[str, Any]:
    return {"type": "http.request", "body": b""}
