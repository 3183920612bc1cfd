"""Connections of strangers: what they may send, and how long they may take."""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from keyturn.complaints import Complaints
from keyturn.core.model import ALL_VERSIONS, Cutoff
from keyturn.integrations.asgi import App
from keyturn.server import connections
from keyturn.server.connections import Connection, raise_file_limit
from keyturn.wire.http import Response
from tests.support import START, Clock
from tests.wire.support import FEED_TOKEN, site

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"
WHOLE = HEAD + b"Content-Length: 2\r\n\r\nhi"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
KIB = 1024
PATIENCE = 20

Asgi = Callable[[Any, Any, Any], Awaitable[None]]


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the length of the body."""
    del scope
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message["body"])
        more = message["more_body"]
    body = b"%d" % length
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Client:
    """One open connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> bytes:
        """One answer with a body of one character."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(b"\r\n\r\n") + await self.reader.readexactly(1)

    async def rest(self) -> bytes:
        """What comes until the server closes."""
        received = b""
        try:
            async with asyncio.timeout(PATIENCE):
                while data := await self.reader.read(KIB):
                    received += data
        except ConnectionError:
            pass  # it was in the midst of our sending
        return received


Connect = Callable[[], Awaitable[Client]]


@asynccontextmanager
async def server(
    app: Asgi = echo, *, idle: float = PATIENCE, **limits: float
) -> AsyncIterator[Connect]:
    """What connects to a server with these limits; those not named are never reached."""
    patient = {name: PATIENCE for name in vars(Connection) if name.startswith("seconds_")}
    kind = type("Limited", (Connection,), patient | limits)
    config = uvicorn.Config(
        app, http=kind, lifespan="off", log_config=None, ws="none", proxy_headers=False
    )
    config.timeout_keep_alive = idle  # type: ignore[assignment]
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: kind(config, state, {}), "127.0.0.1", 0)
    clients: list[Client] = []

    async def connect() -> Client:
        address = listening.sockets[0].getsockname()
        clients.append(Client(*await asyncio.open_connection(*address)))
        return clients[-1]

    try:
        yield connect
    finally:
        listening.close()
        for client in clients:
            client.writer.transport.abort()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)


# ── how much ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "endless",
    [
        HEAD + b"".join(b"x-%d: %b\r\n" % (number, b"a" * KIB) for number in range(65)),
        HEAD + b"x: " + b"a" * 65 * KIB,
        b"GET /" + b"a" * 65 * KIB,
        CHUNKED + b"1;" + b"a" * 65 * KIB,
        CHUNKED + b"0\r\n" + b"".join(b"x-%d: %b\r\n" % (n, b"a" * KIB) for n in range(65)),
    ],
    ids=["headers", "one header", "request line", "chunk extension", "trailers"],
)
async def test_what_is_not_the_body_is_bounded(endless: bytes) -> None:
    """H6: 431 and the end, whatever of a request goes on for ever."""
    async with server() as connect:
        client = await connect()
        client.send(endless)

        assert (await client.rest()).startswith(b"HTTP/1.1 431 ")


async def test_headers_that_the_wire_judges_reach_it() -> None:
    """H6: its limit is lower, and its answer says more."""
    async with server() as connect:
        client = await connect()
        client.send(HEAD + b"x: " + b"a" * 40 * KIB + b"\r\n\r\n")

        assert (await client.answer()).startswith(b"HTTP/1.1 200 ")


async def test_a_body_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """H6: its length is the application's business; and one request does not add to the next."""
    monkeypatch.setattr(Connection, "most_beyond_body", 300)
    async with server() as connect:
        client = await connect()
        for _ in range(10):
            client.send(HEAD + b"Content-Length: 1000000\r\n\r\n" + b"a" * 1_000_000)
            headers = await client.reader.readuntil(b"\r\n\r\n")
            body = await client.reader.readexactly(7)

            assert headers.startswith(b"HTTP/1.1 200 ")
            assert body == b"1000000"


async def test_requests_are_not_piled_up() -> None:
    """H6: who sends a thousand without waiting for an answer is refused."""
    async with server() as connect:
        client = await connect()
        client.send(WHOLE * 1000)

        assert b"HTTP/1.1 400 " in await client.rest()


async def test_a_few_requests_may_come_at_once() -> None:
    """As HTTP/1.1 allows."""
    async with server() as connect:
        client = await connect()
        client.send(WHOLE * 10)

        for _ in range(10):
            assert (await client.answer()).startswith(b"HTTP/1.1 200 ")


async def test_beyond_the_most_connections_the_next_is_told_to_come_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """H6: 503, and those that are open go on; one that ends makes room. The log tells of it."""
    monkeypatch.setattr(Connection, "turned_away", 0)
    monkeypatch.setattr(connections, "_complaints", Complaints(lambda: 0))
    async with server(most_connections=1) as connect:
        first = await connect()
        first.send(WHOLE)
        await first.answer()
        second = await connect()
        refused = await second.rest()
        first.send(WHOLE)
        await first.answer()
        first.send(WHOLE.replace(b"Host: a", b"Host: a\r\nConnection: close"))
        await first.rest()
        third = await connect()
        third.send(WHOLE)

        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in refused
        assert Connection.turned_away == 1
        assert "as many are open as one worker may have" in caplog.text
        assert (await third.answer()).startswith(b"HTTP/1.1 200 ")


# ── where a request ends ────────────────────────────────────────────────────────────────────────

UPGRADES = {
    "websocket": b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
    "h2c": b"POST / HTTP/1.1\r\nHost: a\r\nConnection: HTTP2-Settings, Upgrade\r\nUpgrade: h2c\r\n",
    "anything": b"PUT / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nConnection: keep-alive, upgrade\r\n",
    "tunnel": b"CONNECT / HTTP/1.1\r\nHost: a\r\n",
}
a_request_for_another_protocol = pytest.mark.parametrize("head", UPGRADES.values(), ids=UPGRADES)


@a_request_for_another_protocol
@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: %d\r\n\r\n" % len(WHOLE), b"Transfer-Encoding: chunked\r\n\r\n"],
    ids=["by length", "in chunks"],
)
async def test_no_body_is_taken_for_a_request(head: bytes, framing: bytes) -> None:
    """B2: behind a proxy it would run as another user's, whose request it swallows."""
    async with server() as connect:
        client = await connect()
        client.send(head + framing)
        refused = await client.rest()

        assert refused.startswith(b"HTTP/1.1 400 ")
        assert refused.count(b"HTTP/1.1 ") == 1


@a_request_for_another_protocol
async def test_what_follows_a_request_for_another_protocol_is_not_answered(head: bytes) -> None:
    """It is answered as any other, and is the last one of its connection."""
    async with server() as connect:
        client = await connect()
        client.send(head + b"\r\n")
        client.send(WHOLE)
        answered = await client.rest()

        assert answered.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 "))
        assert answered.count(b"HTTP/1.1 ") == 1


# ── how long ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "sent", [b"", b"\r\n", b"PO", HEAD], ids=["nothing", "line end", "word", "half a header"]
)
async def test_headers_must_come_in_time(sent: bytes) -> None:
    """H6: from the opening of the connection on, however little of them has come."""
    async with server(seconds_for_headers=0.05) as connect:
        client = await connect()
        client.send(sent)

        assert await client.rest() == b""


@pytest.mark.parametrize("sent", [b"\r\n", b"PO", HEAD], ids=["line end", "word", "half a header"])
async def test_headers_of_a_further_request_must_come_in_time(sent: bytes) -> None:
    """H6: from their first byte on."""
    async with server(seconds_for_headers=0.05) as connect:
        client = await connect()
        client.send(WHOLE)
        await client.answer()
        client.send(sent)

        assert await client.rest() == b""


@pytest.mark.parametrize("sent", [HEAD + b"Content-Length: 5\r\n\r\nhi", CHUNKED + b"2\r\nhi\r\n"])
async def test_a_body_must_come_in_time(sent: bytes) -> None:
    """H6: from the end of the headers on."""
    async with server(seconds_for_body=0.05) as connect:
        client = await connect()
        client.send(sent)

        assert await client.rest() == b""


async def test_between_requests_a_connection_may_be_idle() -> None:
    """For longer than headers may take, as proxies keep their connections."""
    async with server(seconds_for_headers=0.05) as connect:
        client = await connect()
        client.send(WHOLE)
        await client.answer()
        await (await connect()).rest()  # which takes as long as headers may
        client.send(WHOLE)

        assert (await client.answer()).startswith(b"HTTP/1.1 200 ")


async def test_an_idle_connection_is_closed_at_last() -> None:
    """H6: it would be held for ever."""
    async with server(idle=0.05) as connect:
        client = await connect()
        client.send(WHOLE)
        await client.answer()

        assert await client.rest() == b""


Timers = list[tuple[str, asyncio.TimerHandle]]


@pytest.fixture
async def timers(monkeypatch: pytest.MonkeyPatch) -> Timers:
    """Those that are started, with the names of what they call."""
    started: Timers = []
    loop = asyncio.get_running_loop()
    call_at = loop.call_at

    def call_at_and_tell(when: float, callback: Any, *arguments: Any, **named: Any) -> Any:
        timer = call_at(when, callback, *arguments, **named)
        started.append((getattr(callback, "__name__", ""), timer))
        return timer

    monkeypatch.setattr(loop, "call_at", call_at_and_tell)
    return started


async def test_a_connection_is_idle_from_its_last_answer(
    monkeypatch: pytest.MonkeyPatch, timers: Timers
) -> None:
    """Not from the one before it, not while it sends the next request, nor while it waits."""
    loop = asyncio.get_running_loop()
    clock, ahead = loop.time, 0
    monkeypatch.setattr(loop, "time", lambda: clock() + ahead)
    asked, may_answer = asyncio.Event(), asyncio.Event()

    class Slow(Mirror):
        async def respond(self, scope: Any, body: bytes) -> Response:
            asked.set()
            await may_answer.wait()
            return Response(200, [(b"content-length", b"1")], b"%d" % len(body))

    async with server(Slow(), idle=750, seconds_for_headers=5000) as connect:
        client = await connect()
        may_answer.set()
        client.send(WHOLE)
        await client.answer()
        for _ in range(3):
            ahead += 700
            await asyncio.sleep(0)
            client.send(WHOLE)
            assert (await client.answer()).startswith(b"HTTP/1.1 200 ")
        timers.clear()
        client.send(WHOLE[:10])
        while "abort" not in dict(timers):  # noqa: ASYNC110  until it is read
            await asyncio.sleep(0)
        ahead += 800
        await asyncio.sleep(0)
        client.send(WHOLE[10:])
        assert (await client.answer()).startswith(b"HTTP/1.1 200 ")
        may_answer.clear()
        asked.clear()
        client.send(WHOLE)
        await asked.wait()
        ahead += 800
        await asyncio.sleep(0)
        may_answer.set()
        assert (await client.answer()).startswith(b"HTTP/1.1 200 ")
        ahead += 760

        assert await client.rest() == b""


async def test_no_timer_outlives_its_connection(timers: Timers) -> None:
    """Else those of the last minute would be held, were they a thousand a second."""
    before = Connection.open_now
    async with server(Mirror()) as connect:
        client = await connect()
        client.send(WHOLE)
        await client.answer()
        client.writer.close()
        while Connection.open_now > before:  # noqa: ASYNC110  it is told by nobody
            await asyncio.sleep(0)

    assert "timeout_keep_alive_handler" in dict(timers)
    assert all(timer.cancelled() for _, timer in timers)


async def test_the_time_that_an_answer_takes_is_not_the_clients() -> None:
    """A request that came in time is answered, however long that takes."""
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        asked.set()
        await may_answer.wait()
        await echo(scope, receive, send)

    async with server(slow, seconds_for_headers=0.05, seconds_for_body=0.05) as connect:
        client = await connect()
        client.send(WHOLE)
        await asked.wait()
        await (await connect()).rest()  # which takes as long as headers may
        may_answer.set()

        assert (await client.answer()).startswith(b"HTTP/1.1 200 ")


async def test_a_stream_may_be_idle() -> None:
    """For longer than anything else may take: it is not the client's turn."""
    asked, may_end = asyncio.Event(), asyncio.Event()

    async def idle(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        asked.set()
        await may_end.wait()
        await send({"type": "http.response.body", "body": b"b"})

    limits = {name: 0.05 for name in vars(Connection) if name.startswith("seconds_")}
    async with server(idle, idle=0.05, **limits) as connect:
        client = await connect()
        client.send(WHOLE.replace(b"Host: a", b"Host: a\r\nConnection: close"))
        await asked.wait()
        await (await connect()).rest()  # which takes as long as headers may
        may_end.set()

        assert (await client.rest()).endswith(b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")


async def test_answers_must_be_taken_in_time() -> None:
    """H6: who asks and does not read is not waited for."""
    given_up = asyncio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": []})
        chunk = {"type": "http.response.body", "body": b"a" * 64 * KIB, "more_body": True}
        for _ in range(1000):
            await send(chunk)
        given_up.set()

    async with server(endless, seconds_to_take_answers=0.05) as connect:
        client = await connect()
        client.reader._transport.pause_reading()  # type: ignore[attr-defined]
        client.send(WHOLE)

        async with asyncio.timeout(PATIENCE):
            await given_up.wait()


async def test_a_follower_that_does_not_read_is_cut_off() -> None:
    """H6: nobody who has the token can make the server keep more than a buffer for them."""
    given_up = asyncio.Event()

    async with site(Clock()) as here:
        cutoffs = [Cutoff(f"{number:022}", ALL_VERSIONS, START + 720) for number in range(100_000)]
        here.sessions.apply(cutoffs)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await App(here.endpoints)(scope, receive, send)
            given_up.set()

        async with server(app, seconds_to_take_answers=0.05) as connect:
            client = await connect()
            client.reader._transport.pause_reading()  # type: ignore[attr-defined]
            client.send(
                f"GET /revocations HTTP/1.1\r\nHost: a\r\n"
                f"Authorization: Bearer {FEED_TOKEN}\r\n\r\n".encode()
            )

            async with asyncio.timeout(PATIENCE):
                await given_up.wait()
            assert len(asyncio.all_tasks()) == 1


# ── open files ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("soft", "hard", "raised"), [(1024, 524_288, 4196), (1024, 2048, 2048), (8192, 8192, None)]
)
def test_connections_may_be_open_files(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised: int | None
) -> None:
    """The usual soft limit is lower than the number of connections, and may be raised."""
    limits = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))

    raise_file_limit()

    assert limits == ([] if raised is None else [(raised, hard)])


# ── answers that are there as a whole ───────────────────────────────────────────────────────────


class Mirror(App):
    """Answers with the method, the path and the body of what it is asked, or as it is told to."""

    def __init__(self, *headers: tuple[bytes, bytes], error: Exception | None = None) -> None:
        self._headers = headers
        self._error = error

    async def respond(self, scope: Any, body: bytes) -> Response:
        if self._error is not None:
            raise self._error
        told = b"%b %b %b" % (scope["method"].encode(), scope["path"].encode(), body)
        return Response(200, [*self._headers, (b"content-length", b"%d" % len(told))], told)


async def told_to(asked: bytes, app: App) -> bytes:
    """All that is answered, until the server closes."""
    async with server(app, idle=0) as connect:
        client = await connect()
        client.send(asked)
        return await client.rest()


async def test_a_whole_answer_has_what_http_wants() -> None:
    """The status line, the headers in their order, a blank line, and the body."""
    told = await told_to(
        b"GET /there HTTP/1.1\r\nHost: a\r\n\r\n", Mirror((b"a", b"1"), (b"b", b"2"))
    )

    assert told == b"HTTP/1.1 200 OK\r\na: 1\r\nb: 2\r\ncontent-length: 11\r\n\r\nGET /there "


async def test_requests_on_one_connection_are_answered_in_their_order() -> None:
    """Also where a client does not wait for the answer of the one before."""
    asked = b"".join(
        b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi" % number
        for number in range(3)
    )

    told = await told_to(asked, Mirror())
    assert [line for line in told.split(b"\r\n") if b"POST" in line] == [
        b"POST /0 hiHTTP/1.1 200 OK",
        b"POST /1 hiHTTP/1.1 200 OK",
        b"POST /2 hi",
    ]


async def test_to_head_there_is_no_body() -> None:
    """RFC 9110, section 9.3.2: with the length that it would have."""
    told = await told_to(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", Mirror())

    assert told == b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n"


@pytest.mark.parametrize(
    "asked",
    [b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"],
)
async def test_who_wants_one_answer_is_told_that_it_is_the_last(asked: bytes) -> None:
    """And the connection is closed."""
    async with server(Mirror()) as connect:
        client = await connect()
        client.send(asked)
        told = await client.rest()

    assert told.endswith(b"\r\nconnection: close\r\n\r\nGET / ")


async def test_a_body_that_comes_in_pieces_is_put_together() -> None:
    """As is one that waits to be asked for."""
    async with server(Mirror(), idle=0) as connect:
        client = await connect()
        client.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            asked_for = await client.reader.readuntil(b"\r\n\r\n")
        for piece in (b"h", b"i"):
            client.send(piece)
            await asyncio.sleep(0)
        told = await client.rest()

    assert asked_for == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert told.endswith(b"POST / hi")


@pytest.mark.parametrize(
    "app",
    [
        Mirror(error=RuntimeError("a secret")),
        Mirror((b"location", b"/\r\nset-cookie: a=secret")),
        Mirror((b"location", b"/\nset-cookie: a=secret")),
    ],
)
async def test_what_cannot_be_answered_is_our_fault(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    """C12, H3: 503 with Retry-After, nothing of what went wrong, and the next request goes on."""
    with caplog.at_level(logging.ERROR, logger="keyturn"):
        told = await told_to(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2, app)

    once = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n"
    assert told == once * 2
    assert [record.message for record in caplog.records] == ["a request was not answered"] * 2
