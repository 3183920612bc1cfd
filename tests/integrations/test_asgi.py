"""The ASGI application: by hand, and on uvicorn where the wire matters."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from httpx_sse import aconnect_sse

from keyturn.core.errors import ConfigurationError
from keyturn.integrations.asgi import App
from keyturn.wire.endpoints import Endpoints
from keyturn.wire.http import Request, Response
from keyturn.wire.request_ids import request_id
from keyturn.wire.settings import WireSettings
from tests.accounts.support import PASSWORD
from tests.processes.servers import Application
from tests.support import Clock
from tests.wire.support import CLIENT, FEED_TOKEN, ORIGIN, PAGE, Site, site

from .support import served

MIB = 1 << 20
LOGIN = {"username": "ada", "password": PASSWORD}


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    async with site(Clock()) as place:
        yield place


# ── by hand ─────────────────────────────────────────────────────────────────────────────────────


class Wire:
    """One connection of a server to the application: what it says, and what it is told."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self.messages = list(messages)
        self.sent: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        return self.messages.pop(0)

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def serve(self, app: Application, **scope: Any) -> None:
        asked = {
            "type": "http",
            "method": "GET",
            "path": "/healthz",
            "query_string": b"",
            "headers": [],
            "client": ("192.0.2.1", 4711),
        }
        await app(asked | scope, self.receive, self.send)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])


def chunk(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


LAST = chunk(b"", more=False)
GONE = {"type": "http.disconnect"}


async def test_an_answer_is_one_start_and_one_body(here: Site) -> None:
    """As ASGI wants it; headers as bytes."""
    wire = Wire(LAST)

    await wire.serve(App(here.endpoints))

    start, body = wire.sent
    assert (start["type"], start["status"]) == ("http.response.start", 200)
    assert (b"content-type", b"application/json") in start["headers"]
    assert body == {
        "type": "http.response.body",
        "body": b'{"data":{"status":"up"},"message":"Up"}',
    }


async def test_a_body_is_read_chunk_by_chunk(here: Site) -> None:
    """However it was cut."""
    pieces = [b'{"username": "ada", ', b"", b'"password": "quixotic', b'-otters"}']
    wire = Wire(*map(chunk, pieces), LAST)
    headers = [(b"content-type", b"application/json")]

    await wire.serve(App(here.endpoints), method="POST", path="/login", headers=headers)

    assert wire.status == 200


async def test_a_body_that_is_too_long_is_not_read_to_its_end(here: Site) -> None:
    """H6: 413 as soon as that is known."""
    wire = Wire(*[chunk(b"x" * 1024)] * 100, LAST)

    await wire.serve(App(here.endpoints), method="POST", path="/login")

    assert wire.status == 413
    assert len(wire.messages) == 101 - 65


async def test_a_body_that_is_announced_to_be_too_long_is_not_read_at_all(here: Site) -> None:
    """H6: so a client that waits for 100 Continue never sends it."""
    wire = Wire(chunk(b"x"))
    headers = [(b"content-length", b"65537"), (b"expect", b"100-continue")]

    await wire.serve(App(here.endpoints), method="POST", path="/login", headers=headers)

    assert wire.status == 413
    assert len(wire.messages) == 1


async def test_what_a_client_did_not_finish_to_ask_is_not_done(here: Site) -> None:
    """Half a request is none."""
    complete_as_it_seems = b'{"username": "ada", "password": "quixotic-otters"}'
    wire = Wire(chunk(complete_as_it_seems), GONE)
    headers = [(b"content-type", b"application/json")]

    await wire.serve(App(here.endpoints), method="POST", path="/login", headers=headers)

    assert wire.sent == []
    assert await here.living() == []


async def test_a_unix_socket_has_no_client_address(here: Site) -> None:
    """Then there is none in lists and logs either."""
    wire = Wire(chunk(b'{"username": "ada", "password": "quixotic-otters"}', more=False))
    headers = [(b"content-type", b"application/json")]

    await wire.serve(
        App(here.endpoints), method="POST", path="/login", headers=headers, client=None
    )

    user = await here.accounts.find_user("ada")
    (session,) = await here.sessions.list(user.id)
    assert session.device.address == ""


async def test_a_websocket_is_closed(here: Site) -> None:
    """There is nothing to talk about."""
    wire = Wire({"type": "websocket.connect"})

    await wire.serve(App(here.endpoints), type="websocket")

    assert wire.sent == [{"type": "websocket.close"}]


@pytest.mark.parametrize(
    ("public_url", "root_path", "path", "status"),
    [
        ("https://example.com", "", "/healthz", 200),
        ("https://example.com/auth", "", "/auth/healthz", 200),
        ("https://example.com/auth", "", "/healthz", 200),  # the proxy took it off
        ("https://example.com/auth", "", "/authhealthz", 404),
        ("https://example.com/auth", "", "/auth/auth/healthz", 404),
        ("https://example.com/auth", "", "/auth", 404),
        ("https://example.com/auth", "", "/.well-known/oauth-authorization-server/auth", 200),
        ("https://example.com", "/mounted", "/mounted/healthz", 200),
        ("https://example.com/auth", "/mounted", "/auth/healthz", 404),
        ("https://example.com", "", "/other/healthz", 404),
    ],
)
async def test_the_base_path_is_taken_off(
    public_url: str, root_path: str, path: str, status: int
) -> None:
    """That of the public URL, or where the application was mounted."""
    wire = Wire(LAST)

    async with site(Clock(), WireSettings(public_url=public_url), issuer=public_url) as here:
        await wire.serve(App(here.endpoints), path=path, root_path=root_path)

    assert wire.status == status


# ── what a request is called ────────────────────────────────────────────────────────────────────


async def ids(here: Site, *given: bytes, client: str = "10.0.0.1") -> list[str]:
    """Of a request that is refused: that of the answer, and that of the problem document."""
    wire = Wire(LAST)
    headers = [(b"x-request-id", each) for each in given]
    await wire.serve(App(here.endpoints), path="/nowhere", headers=headers, client=(client, 1))
    start, body = wire.sent
    told = [value.decode() for name, value in start["headers"] if name == b"x-request-id"]
    return [*told, json.loads(body["body"])["requestId"]]


async def test_every_answer_has_an_id_of_its_own(here: Site) -> None:
    """128 random bits, the same in header and problem document."""
    answers = [await ids(here) for _ in range(3)]

    assert all(re.fullmatch("[0-9a-f]{32}", header) for header, _ in answers)
    assert all(header == body for header, body in answers)
    assert len({header for header, _ in answers}) == 3


@pytest.mark.parametrize(
    ("client", "given", "taken"),
    [("10.0.0.1", b"abc-1", True), ("10.0.0.1", b"abc\r\n1", False), (CLIENT, b"abc-1", False)],
)
async def test_the_id_of_a_trusted_proxy_is_kept(client: str, given: bytes, *, taken: bool) -> None:
    """H5: nobody else's, and no malformed one."""
    settings = WireSettings(public_url=ORIGIN, trusted_proxies=(ip_network("10.0.0.0/8"),))

    async with site(Clock(), settings) as here:
        header, body = await ids(here, given, client=client)

    assert header == body
    assert (header == given.decode()) is taken


async def test_requests_at_once_keep_their_ids_apart(here: Site) -> None:
    """Also those that share one exchange."""
    tokens = await here.log_in()
    seen = []

    class Slow(Endpoints):
        async def handle(self, request: Request) -> Response:
            before = request_id()
            response = await super().handle(request)
            seen.append((before, request_id()))
            return response

    app = App(Slow(here.sessions, here.accounts, here.endpoints.settings))
    body = json.dumps({"refreshToken": tokens.refresh_token}).encode()
    wires = [Wire(chunk(body, more=False)) for _ in range(3)]
    asked = {
        "method": "POST",
        "path": "/refresh-token",
        "headers": [(b"content-type", b"application/json")],
    }
    async with asyncio.TaskGroup() as group:
        for wire in wires:
            group.create_task(wire.serve(app, **asked))

    told = {dict(wire.sent[0]["headers"])[b"x-request-id"].decode() for wire in wires}
    assert [wire.status for wire in wires] == [200] * 3
    assert {before for before, _ in seen} == {after for _, after in seen} == told
    assert len(told) == 3


# ── streams ─────────────────────────────────────────────────────────────────────────────────────


class Follower(Wire):
    """A connection to the application that stays until it is told to go."""

    def __init__(self) -> None:
        super().__init__(LAST)
        self.gone = asyncio.Event()
        self.told = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        if self.messages:
            return await super().receive()
        await self.gone.wait()
        return GONE

    async def send(self, message: Any) -> None:
        await super().send(message)
        if b"event: alive" in message.get("body", b""):
            self.told.set()

    @asynccontextmanager
    async def follow(self, app: App) -> AsyncIterator[asyncio.Task[None]]:
        """The application's side, once it has told all."""
        headers = [(b"authorization", f"Bearer {FEED_TOKEN}".encode())]
        async with asyncio.timeout(20):
            serving = asyncio.create_task(self.serve(app, path="/revocations", headers=headers))
            await self.told.wait()
            yield serving
            await serving


async def test_a_stream_is_sent_as_it_comes(here: Site) -> None:
    """Chunk by chunk, and the end as the server stops."""
    wire, app = Follower(), App(here.endpoints)

    async with wire.follow(app):
        told = list(wire.sent)
        app.end_streams()

    start, *chunks = told
    assert (start["status"], dict(start["headers"])[b"content-type"]) == (200, b"text/event-stream")
    assert {chunk["more_body"] for chunk in chunks} == {True}
    assert wire.sent == [*told, {"type": "http.response.body", "body": b""}]


async def test_a_stream_ends_when_its_client_has_gone(here: Site) -> None:
    """Nothing is left running, and nothing is sent to nobody."""
    wire = Follower()

    async with wire.follow(App(here.endpoints)):
        told = list(wire.sent)
        wire.gone.set()

    assert wire.sent == told
    assert len(asyncio.all_tasks()) == 1


async def test_a_stream_ends_with_the_task_that_sends_it(here: Site) -> None:
    """A server that waits no longer leaves nothing behind."""
    with pytest.raises(asyncio.CancelledError):
        async with Follower().follow(App(here.endpoints)) as serving:
            serving.cancel()

    assert len(asyncio.all_tasks()) == 1


# ── lifespan ────────────────────────────────────────────────────────────────────────────────────

STARTUP, SHUTDOWN = {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}


@pytest.mark.parametrize("given", [True, False])
async def test_the_lifespan_is_entered_first_and_left_last(here: Site, *, given: bool) -> None:
    """Where there is one."""
    story: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        story.append("entered")
        yield
        story.append("left")

    wire = Wire(STARTUP, SHUTDOWN)
    app = App(here.endpoints, lifespan=lifespan) if given else App(here.endpoints)

    await wire.serve(app, type="lifespan")

    assert [message["type"] for message in wire.sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
    assert story == (["entered", "left"] if given else [])


@pytest.mark.parametrize("stage", ["startup", "shutdown"])
async def test_a_lifespan_that_fails_is_told_of(here: Site, stage: str) -> None:
    """A11: the server stops, with the sentence that says why."""

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        if stage == "shutdown":
            yield
        raise ConfigurationError("secret", "is missing")

    wire = Wire(STARTUP, SHUTDOWN)

    await wire.serve(App(here.endpoints, lifespan=lifespan), type="lifespan")

    assert wire.sent[-1] == {"type": f"lifespan.{stage}.failed", "message": "secret: is missing"}


async def test_endpoints_can_be_opened_when_the_server_starts(here: Site) -> None:
    """By each process that does, however many have loaded the application."""
    story: list[str] = []

    @asynccontextmanager
    async def opening() -> AsyncIterator[Endpoints]:
        story.append("opened")
        yield here.endpoints
        story.append("closed")

    app = App.opened_by(opening)
    request = Wire(LAST)

    class Life(Wire):
        async def receive(self) -> dict[str, Any]:
            if self.sent:
                await request.serve(app)
                story.append("served")
            return await super().receive()

    await Life(STARTUP, SHUTDOWN).serve(app, type="lifespan")

    assert request.status == 200
    assert story == ["opened", "served", "closed"]


async def test_a_server_that_does_not_start_applications_is_told_to(here: Site) -> None:
    """Rather than be left to guess."""

    @asynccontextmanager
    async def opening() -> AsyncIterator[Endpoints]:
        yield here.endpoints

    with pytest.raises(RuntimeError, match="the server must send the lifespan events"):
        await Wire(LAST).serve(App.opened_by(opening))


# ── on uvicorn ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def client(here: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with served(App(here.endpoints)) as client:
        yield client


async def test_a_user_comes_and_goes_over_http(client: httpx.AsyncClient) -> None:
    """The whole story of a program that keeps its tokens itself."""
    newcomer = {
        "username": "Grace",
        "email": "grace@example.com",
        "fullname": "Grace Hopper",
        "password": PASSWORD,
    }
    credentials = {"email": "grace@example.com", "password": PASSWORD}

    registered = await client.post("/register", json=newcomer)
    login = (await client.post("/login", json=credentials)).json()["data"]
    me = await client.get("/me", headers={"authorization": f"Bearer {login['accessToken']}"})
    held = {"refreshToken": login["refreshToken"]}
    exchanged = await client.post("/refresh-token", json=held)
    logout = await client.post("/logout", json=held)
    refused = await client.post("/refresh-token", json=held)

    assert registered.status_code == 201
    assert me.json()["data"]["user"] == registered.json()["data"]["user"]
    assert (exchanged.status_code, logout.status_code) == (200, 200)
    assert (refused.status_code, refused.json()["reason"]) == (401, "logged_out")


async def test_each_cookie_has_a_line_of_its_own(client: httpx.AsyncClient) -> None:
    """A10: two folded into one line are one broken cookie."""
    answer = await client.post("/login", json=LOGIN, headers=PAGE)

    lines = answer.headers.get_list("set-cookie")
    assert [line.partition("=")[0] for line in lines] == [
        "__Host-accessToken",
        "__Host-refreshToken",
    ]


async def test_the_server_does_not_say_what_it_is(client: httpx.AsyncClient) -> None:
    """H8: no Server header, also with refusals."""
    answers = [await client.get(path) for path in ("/healthz", "/nothing")]

    assert [answer.headers.get("server") for answer in answers] == [None, None]


@pytest.mark.parametrize("announced", [True, False])
async def test_ten_mebibytes_are_refused_and_the_connection_stays_good(
    client: httpx.AsyncClient, *, announced: bool
) -> None:
    """H6: announced or in chunks without an end in sight."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(160):
            yield b"x" * 65536

    answer = await client.post("/login", content=b"x" * 10 * MIB if announced else chunks())
    afterwards = await client.post("/login", json=LOGIN)

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert afterwards.status_code == 200


async def test_64_kib_of_headers_are_refused(client: httpx.AsyncClient) -> None:
    """H6: with a problem document, and the connection stays good."""
    answer = await client.get("/healthz", headers={"x": "y" * 65536})
    afterwards = await client.get("/healthz")

    assert (answer.status_code, answer.json()["code"]) == (431, "headers_too_large")
    assert afterwards.status_code == 200


async def test_answers_without_a_body_end_where_they_should(client: httpx.AsyncClient) -> None:
    """304 and HEAD, on one connection after another."""
    jwks = "/.well-known/jwks.json"
    tag = (await client.get(jwks)).headers["etag"]

    unchanged = await client.get(jwks, headers={"if-none-match": tag})
    head = await client.head(jwks)
    again = await client.get(jwks)

    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(again.content)


async def test_a_stream_does_not_hold_up_a_head(client: httpx.AsyncClient) -> None:
    """Which is answered at once, and the connection stays good."""
    following = {"authorization": f"Bearer {FEED_TOKEN}"}

    head = await client.head("/revocations", headers=following)
    afterwards = await client.get("/healthz")

    assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream")
    assert afterwards.status_code == 200


async def test_events_are_read_by_a_library_of_others(
    here: Site, client: httpx.AsyncClient
) -> None:
    """Over a connection as they happen."""
    following = {"authorization": f"Bearer {FEED_TOKEN}"}
    tokens = await here.log_in()
    names = []

    async with (
        asyncio.timeout(20),
        aconnect_sse(client, "GET", "/revocations", headers=following) as source,
    ):
        async for event in source.aiter_sse():
            names.append(event.event)
            if event.event == "alive":
                if len(names) > 3:
                    break
                await here.sessions.logout(tokens.refresh_token)

    assert names == ["keys", "cutoffs", "alive", "cutoffs", "alive"]


@pytest.mark.parametrize("path", ["/%00", "/%ff%fe", "/sessions/%ed%a0%80", "/%2e%2e/me", "/a%2fb"])
async def test_an_odd_path_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    """Whatever it decodes to."""
    answer = await client.get(path)

    assert answer.status_code in {404, 405}
    assert answer.json()["remedy"] == "none"
