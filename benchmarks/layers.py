"""The layers of a server, each asked by itself in one process: what it takes of CPU with all that
is below it. ``python -m benchmarks.layers`` measures a round for each line that it is sent, and
answers with its figures in a line of JSON. Its environment is that of a server.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

import msgspec
import uvicorn
import uvloop
from uvicorn.server import ServerState

from keyturn import Claims, Sessions, open_store
from keyturn.core import access_token, base64url, refresh_token
from keyturn.core.access_token import AccessToken
from keyturn.core.model import Session
from keyturn.core.rotation import decide
from keyturn.integrations.asgi import App
from keyturn.server.assembly import application, open_parts, wire_settings_of
from keyturn.server.connections import SECONDS_IDLE, Connection
from keyturn.server.run import _collect_rarely
from keyturn.server.settings import load_settings
from keyturn.wire.endpoints import Endpoints
from keyturn.wire.http import Request

from .contenders.keyturn import KEYTURN
from .contenders.model import Ask
from .measure import in_turns_us
from .turning import sessions_on

__all__ = ["CALLERS", "LEAVES", "Round"]

CALLERS: Final = 32
SLICES: Final = 4
SECONDS: Final = 0.15
"""Of a slice: they take turns, so a machine that is slow for a while is slow for all layers."""
CALLS: Final = 500
UNSEEN: Final = 1000

LEAVES: Final = ("signature", "HMACs", "base64url", "JSON", "decision")
"""What is timed alone, of that of which a turn in memory is made."""

Round = dict[str, float]
"""CPU microseconds of one, by what was asked."""

_Ask = Callable[[int], Awaitable[object]]
"""Has the caller of that number ask once."""


async def _serve_rounds() -> None:
    """A round for each line of the standard input."""
    settings = load_settings(os.environ)
    async with AsyncExitStack() as stack:
        parts = await open_parts(settings, create=True)
        stack.push_async_callback(parts.close)
        sessions = await stack.enter_async_context(parts.sessions)
        memory = await stack.enter_async_context(sessions_on(await open_store("memory:")))
        app = await stack.enter_async_context(application(settings))
        _collect_rarely()
        endpoints = Endpoints(sessions, parts.accounts, wire_settings_of(settings))
        callers = await _Callers.signed_in(sessions, memory)
        asked = callers.layers(endpoints, app)
        while await asyncio.to_thread(sys.stdin.readline):
            figures = await callers.in_turns_us(asked)
            figures |= await _checks(memory) | await _leaves(memory)
            print(msgspec.json.encode(figures).decode(), flush=True)


class _Callers:
    """Who ask one thing after the other, all at once, each with the tokens of a session."""

    def __init__(self, sessions: Sessions, memory: Sessions) -> None:
        self._sessions = sessions
        self._memory = memory
        self._held: list[str] = []
        self._held_in_memory: list[str] = []
        self._access: list[str] = []

    @classmethod
    async def signed_in(cls, sessions: Sessions, memory: Sessions) -> _Callers:
        callers = cls(sessions, memory)
        for number in range(CALLERS):
            user_id, claims = f"user-{number}", _claims(number)
            tokens = await sessions.create(user_id, claims)
            callers._held.append(tokens.refresh_token)
            callers._access.append(tokens.access_token)
            in_memory = await memory.create(user_id, claims)
            callers._held_in_memory.append(in_memory.refresh_token)
        return callers

    async def in_turns_us(self, asked: Mapping[str, _Ask]) -> Round:
        used, made = dict.fromkeys(asked, 0.0), dict.fromkeys(asked, 0)
        for _ in range(SLICES):
            for what, ask in asked.items():
                began = time.process_time()
                made[what] += await self._ask(ask)
                used[what] += time.process_time() - began
        return {what: used[what] / made[what] * 1e6 for what in asked}

    async def _ask(self, ask: _Ask) -> int:
        """How many answers they had in a slice."""
        until = time.perf_counter() + SECONDS

        async def call(caller: int) -> int:
            answers = 0
            while time.perf_counter() < until:
                await ask(caller)
                answers += 1
            return answers

        return sum(await asyncio.gather(*map(call, range(CALLERS))))

    def layers(self, endpoints: Endpoints, app: App) -> Mapping[str, _Ask]:
        """Each with all that are below it."""
        wires = [_Wire.to(app) for _ in range(CALLERS)]
        echo = [_Wire(_Echo()) for _ in range(CALLERS)]
        exchange, check = (_Written(KEYTURN[0].asks[what]) for what in ("exchange", "check"))

        async def turn_in_memory(caller: int) -> None:
            tokens = await self._memory.refresh(self._held_in_memory[caller])
            self._held_in_memory[caller] = tokens.refresh_token

        async def turn(caller: int) -> None:
            self._held[caller] = (await self._sessions.refresh(self._held[caller])).refresh_token

        async def turn_at_endpoints(caller: int) -> None:
            answer = await endpoints.handle(exchange.request(self._held[caller]))
            self._held[caller] = _successor(answer.body)

        async def turn_at_app(caller: int) -> None:
            answer = await app.respond(exchange.scope(self._held[caller]), b"")
            self._held[caller] = _successor(answer.body)

        async def turn_over_http(caller: int) -> None:
            answer = await wires[caller].ask(exchange.raw(self._held[caller]))
            self._held[caller] = _successor(answer)

        async def check_at_endpoints(caller: int) -> None:
            answer = await endpoints.handle(check.request(self._access[caller]))
            assert answer.status == 200

        async def check_at_app(caller: int) -> None:
            answer = await app.respond(check.scope(self._access[caller]), b"")
            assert answer.status == 200

        async def check_over_http(caller: int) -> None:
            answer = await wires[caller].ask(check.raw(self._access[caller]))
            assert answer.startswith(b"HTTP/1.1 200")

        async def asking(caller: int) -> None:
            await echo[caller].ask(check.raw(self._access[caller]))

        return {
            "turn in memory": turn_in_memory,
            "turn": turn,
            "turn at endpoints": turn_at_endpoints,
            "turn at app": turn_at_app,
            "turn over HTTP": turn_over_http,
            "check at endpoints": check_at_endpoints,
            "check at app": check_at_app,
            "check over HTTP": check_over_http,
            "asking": asking,
        }


def _claims(number: int) -> Claims:
    name = f"user{number}"
    return Claims(username=name, email=f"{name}@example.com", fullname=f"The {name}")


_MARKER: Final = KEYTURN[0].asks["exchange"].next_after.encode()


def _successor(body: bytes) -> str:
    """The refresh token of an answer.

    Raises:
        AssertionError: there is none, as it was no good answer.
    """
    _, found, rest = body.partition(_MARKER)
    assert found, body
    return rest[: refresh_token.LENGTH].decode()


class _Written:
    """What wrk asks for, as each layer is given it."""

    def __init__(self, ask: Ask) -> None:
        lines = ["Host: 127.0.0.1:8000", *ask.headers]
        if ask.method != "GET":
            lines.append("Content-Length: 0")
        self._method = ask.method
        self._path = ask.path
        self._raw = "\r\n".join([f"{ask.method} {ask.path} HTTP/1.1", *lines, "", ""])
        pairs = [line.split(": ", 1) for line in lines]
        self._headers = [(name.lower().encode(), value) for name, value in pairs]

    def raw(self, token: str) -> bytes:
        return self._raw.replace("{token}", token).encode()

    def request(self, token: str) -> Request:
        return Request(self._method, self._path, b"", self._filled(token), b"", "127.0.0.1")

    def scope(self, token: str) -> Mapping[str, Any]:
        return {
            "method": self._method,
            "path": self._path,
            "query_string": b"",
            "headers": self._filled(token),
            "client": ("127.0.0.1", 1),
        }

    def _filled(self, token: str) -> list[tuple[bytes, bytes]]:
        return [(name, value.replace("{token}", token).encode()) for name, value in self._headers]


# ── HTTP without a network ──────────────────────────────────────────────────────────────────────


class _Wire(asyncio.Transport):
    """The client's end of a connection that there is no socket of."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 8000)})
        self._protocol = protocol
        self._answered: asyncio.Future[bytes]
        self._received = b""
        protocol.connection_made(self)

    @classmethod
    def to(cls, app: App) -> _Wire:
        """One that ``keyturn serve`` would answer."""
        config = uvicorn.Config(
            app, http=Connection, ws="none", lifespan="off", log_config=None, access_log=False,
            proxy_headers=False, server_header=False, timeout_keep_alive=SECONDS_IDLE,
        )  # fmt: skip
        config.load()
        return cls(Connection(config, ServerState(), {}))

    async def ask(self, request: bytes) -> bytes:
        self._answered = asyncio.get_running_loop().create_future()
        self._protocol.data_received(request)
        return await self._answered

    def write(self, data: Any) -> None:
        self._received += data
        head, whole, body = self._received.partition(b"\r\n\r\n")
        if whole and len(body) == int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]):
            answer, self._received = self._received, b""
            self._answered.set_result(answer)

    def is_closing(self) -> bool:
        return False


class _Echo(asyncio.Protocol):
    """A server that does nothing: what is left is asking."""

    _ANSWER: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:  # noqa: ARG002
        self._transport.write(self._ANSWER)


# ── what is timed alone ─────────────────────────────────────────────────────────────────────────


async def _checks(sessions: Sessions) -> Round:
    """Of tokens whose making is not counted."""
    made = [await sessions.create(f"new-{each}", _claims(each)) for each in range(UNSEEN)]
    fresh = iter([tokens.access_token for tokens in made])
    seen = (await sessions.create("seen", _claims(0))).access_token.encode()
    sessions.verify(seen.decode())
    works = {
        "unseen": lambda: sessions.verify(next(fresh)),
        "seen": lambda: sessions.verify(seen.decode()),  # as a request brings it: a new string
    }
    return in_turns_us(works, UNSEEN)


async def _leaves(sessions: Sessions) -> Round:
    """The parts of a turn that compute, with the arguments that a turn has for them."""
    tokens = await sessions.create("leaves", _claims(0))
    session, access = tokens.session, sessions.verify(tokens.access_token)
    return in_turns_us(_leaf_works(sessions, session, tokens.refresh_token, access), CALLS)


def _leaf_works(
    sessions: Sessions, session: Session, token: str, access: AccessToken
) -> Mapping[str, Callable[[], object]]:
    now, secret, session_secret = sessions.now(), sessions.secrets.first, session.secret
    assert session_secret
    key = sessions.keyring.signing_key(now)
    raw = base64url.decode(token.removeprefix(refresh_token.PREFIX))
    name, proven, sid = raw[1:21], raw[:37], raw[1:17]
    payload = access_token._written(sessions.issuer, sessions.audience, access)  # noqa: SLF001
    signed = f"{key.header}.{base64url.encode(payload)}".encode()
    signature = key.sign(signed)

    def hmacs() -> None:
        """Of what is presented and of what is handed out."""
        for _ in range(2):
            refresh_token._tag(secret, proven)  # noqa: SLF001
            refresh_token._proof(session_secret, name)  # noqa: SLF001

    def texts() -> None:
        base64url.decode(token.removeprefix(refresh_token.PREFIX))
        base64url.encode(sid)
        base64url.decode(session.sid)
        base64url.encode(raw)
        base64url.encode(raw[:12])
        base64url.encode(payload)
        base64url.encode(signature)

    works = (
        lambda: key.sign(signed),
        hmacs,
        texts,
        lambda: access_token._written(sessions.issuer, sessions.audience, access),  # noqa: SLF001
        lambda: decide(session, session.generation, now, sessions.policy),
    )
    return dict(zip(LEAVES, works, strict=True))


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve_rounds())
