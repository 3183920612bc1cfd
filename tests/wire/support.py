"""What tests of the wire need: a site with one user, clients of it, and a browser's cookie jar."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from keyturn.accounts import Accounts, PasswordHashing, open_users
from keyturn.core.model import Policy, Tokens
from keyturn.sessions import Sessions
from keyturn.stores.memory import MemoryStore
from keyturn.wire.endpoints import Endpoints
from keyturn.wire.http import Header, Request, Response
from keyturn.wire.openapi import describe
from keyturn.wire.routes import METADATA_PATH, routes_of
from keyturn.wire.settings import WireSettings
from tests.accounts.support import PASSWORD, InstantHasher
from tests.support import ISSUER, Clock, loaded

ORIGIN: Final = ISSUER
TRUSTED: Final = "https://app.example.com"
STRANGER: Final = "https://evil.example"
CLIENT: Final = "192.0.2.1"
FEED_TOKEN: Final = "a-token-of-the-services-that-follow"
PAGE: Final = {"sec-fetch-site": "same-origin", "origin": ORIGIN}

ACCESS: Final = "__Host-accessToken"
REFRESH: Final = "__Host-refreshToken"


class Answer:
    """A response, as easy to read as a sentence."""

    def __init__(self, response: Response) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.body
        self.stream = response.stream

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        return self.json["data"]

    @property
    def code(self) -> str:
        return str(self.json["code"])

    @property
    def verdict(self) -> tuple[int, str]:
        return self.status, self.code

    @property
    def set_cookies(self) -> list[str]:
        return self.all("set-cookie")

    def all(self, name: str) -> list[str]:
        return [value.decode() for key, value in self.headers if key == name.encode()]

    def __getitem__(self, name: str) -> str:
        (value,) = self.all(name)
        return value


class Breakable:
    """A store that fails at every method while it has a ``fault``."""

    lanes = 1
    batch = 64

    def __init__(self, store: Any) -> None:
        self._store = store
        self.fault: Exception | None = None

    def __getattr__(self, method: str) -> Any:
        async def call(*arguments: Any, **named: Any) -> Any:
            if self.fault is not None:
                raise self.fault
            return await getattr(self._store, method)(*arguments, **named)

        return call


class Site:
    """A server with one user, Ada, on a memory store whose time passes when told to."""

    def __init__(
        self, store: Breakable, users: Breakable, sessions: Sessions, settings: WireSettings
    ) -> None:
        self.store = store
        self.users = users
        self.sessions = sessions
        self.hashing = PasswordHashing(InstantHasher())
        self.accounts = Accounts(users, sessions, hashing=self.hashing)
        self.endpoints = Endpoints(sessions, self.accounts, settings)
        self.documented = describe(routes_of(settings), settings)["paths"]

    def break_down(self, fault: Exception | None) -> None:
        self.store.fault = self.users.fault = fault

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        cookies: dict[str, str] | None = None,
        bearer: str | None = None,
        query: str = "",
        client: str = CLIENT,
    ) -> Answer:
        """Ask with a JSON body, or with one of bytes as it is."""
        sent: list[Header] = [
            (name.encode(), value.encode("latin-1")) for name, value in (headers or {}).items()
        ]
        if cookies:
            pairs = "; ".join(f"{name}={value}" for name, value in cookies.items())
            sent.append((b"cookie", pairs.encode("latin-1")))
        if bearer is not None:
            sent.append((b"authorization", f"Bearer {bearer}".encode("latin-1")))
        if isinstance(body, bytes):
            content = body
        else:
            content = b"" if body is None else json.dumps(body).encode()
            if body is not None:
                sent.append((b"content-type", b"application/json"))
        return await self.send(Request(method, path, query.encode(), sent, content, client))

    def request(
        self, method: str, path: str, headers: Sequence[Header], body: bytes = b""
    ) -> Request:
        return Request(method, path, b"", headers, body, CLIENT)

    async def send(self, request: Request) -> Answer:
        answer = Answer(await self.endpoints.handle(request))
        check_documented(request, answer, self.documented)
        return answer

    async def log_in(self, *, remember: bool = True) -> Tokens:
        """A session of Ada's, begun behind the wire's back."""
        _, tokens = await self.accounts.login("ada", PASSWORD, remember=remember)
        return tokens

    async def living(self) -> Sequence[str]:
        user = await self.accounts.find_user("ada")
        return [session.sid for session in await self.sessions.list(user.id)]


def check_documented(request: Request, answer: Answer, paths: dict[str, Any]) -> None:
    """Whatever a test provokes, the OpenAPI document has to know it. What belongs to no route, no
    route can document.
    """
    path = re.sub("^/sessions/[^/]*$", "/sessions/{sid}", request.path)
    path = re.sub(f"^{METADATA_PATH}/.*", METADATA_PATH, path)
    method = {"HEAD": "get"}.get(request.method, request.method.lower())
    operation = paths.get(path, {}).get(method)
    if operation is None or not request.method.isupper():
        assert answer.status in {204, 403, 404, 405, 413, 431}
        return
    described = operation["responses"][str(answer.status)]
    if answer.status >= 400:
        assert answer["content-type"] == "application/problem+json"
        if answer.body:
            schema = described["content"]["application/problem+json"]["schema"]
            assert answer.code in schema["properties"]["code"]["enum"]


def cookies_of(tokens: Tokens) -> dict[str, str]:
    return {ACCESS: tokens.access_token, REFRESH: tokens.refresh_token}


EVERYTHING: Final = WireSettings(public_url=ORIGIN, revocations_tokens=(FEED_TOKEN,))
"""Settings with which there is every endpoint."""


@asynccontextmanager
async def site(
    clock: Clock,
    settings: WireSettings | None = None,
    *,
    policy: Policy | None = None,
    **options: Any,
) -> AsyncIterator[Site]:
    memory = MemoryStore()
    store, users = Breakable(memory), Breakable(open_users(memory))
    async with loaded(store, clock, policy=policy, **options) as sessions:
        place = Site(store, users, sessions, settings or EVERYTHING)
        await place.accounts.register("Ada", "ada@example.com", "Ada Lovelace", PASSWORD)
        yield place
        place.break_down(None)
        place.hashing.close()


class _SetsCookies(Protocol):
    @property
    def set_cookies(self) -> Sequence[str]: ...


class Jar:
    """The cookies that a browser at https://example.com keeps, as RFC 6265bis has it."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str, str], str] = {}

    def take(self, answer: _SetsCookies) -> None:
        for line in answer.set_cookies:
            pair, *attributes = (part.strip() for part in line.split(";"))
            name, _, value = pair.partition("=")
            known = {key.lower(): rest for key, _, rest in (a.partition("=") for a in attributes)}
            domain, path = known.get("domain", ""), known.get("path", "")
            if name.startswith("__") and "secure" not in known:
                continue
            if name.startswith("__Host-") and (domain or path != "/"):
                continue
            if known.get("max-age") == "0":
                self.kept.pop((name, domain, path), None)
            else:
                self.kept[name, domain, path] = value

    def cookie_header(self, path: str) -> str:
        """Longest path first, as section 5.8.3 says."""
        sent = [key for key in self.kept if _matches(path, key[2])]
        sent.sort(key=lambda key: -len(key[2]))
        return "; ".join(f"{key[0]}={self.kept[key]}" for key in sent)


def _matches(path: str, cookie_path: str) -> bool:
    return path == cookie_path or path.startswith(cookie_path.rstrip("/") + "/")
