"""What an exchange costs a server before anything is done for it: the request is read, and answered
with two cookies and as much JSON as a pair of tokens takes, which are the same ones for everybody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

_Message = dict[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class _Exchange(msgspec.Struct, rename="camel"):
    refresh_token: str = ""


class _Pair(msgspec.Struct, rename="camel"):
    access_token: str
    refresh_token: str
    expires_in: int = 600
    refresh_at: int = 1_800_000_340
    refresh_expires_in: int = 2_592_000


class _User(msgspec.Struct):
    id: str = "x6CJiUClB2RYMk9PG5TU7Q"
    username: str = "ada"
    email: str = "ada@example.com"
    fullname: str = "Ada Lovelace"


class _Answer(msgspec.Struct):
    data: _Pair | _User
    message: str


_ACCESS: Final = "a" * 520
_REFRESH: Final = "r" * 76
_ATTRIBUTES: Final = b"; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age="
_HEADERS: Final = [
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
]

_read = msgspec.json.Decoder(_Exchange).decode
_write = msgspec.json.Encoder().encode


async def app(scope: _Message, receive: _Receive, send: _Send) -> None:
    """Serve ``POST /refresh-token`` and ``GET /me``."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
    elif scope["method"] == "POST":
        given = _read(await _body(receive)).refresh_token or _REFRESH
        cookies = [_cookie(b"__Host-accessToken", _ACCESS), _cookie(b"__Host-refreshToken", given)]
        await _answer(send, _Answer(_Pair(_ACCESS, given), "Tokens refreshed"), cookies)
    else:
        await _answer(send, _Answer(_User(), "Current user"), [])


def _cookie(name: bytes, value: str) -> tuple[bytes, bytes]:
    return b"set-cookie", name + b"=" + value.encode() + _ATTRIBUTES + b"2592000"


async def _body(receive: _Receive) -> bytes:
    message = await receive()
    body: bytes = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    return body or b"{}"


async def _answer(send: _Send, answer: _Answer, cookies: list[tuple[bytes, bytes]]) -> None:
    body = _write(answer)
    length = (b"content-length", b"%d" % len(body))
    headers = [*_HEADERS, *cookies, length]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(receive: _Receive, send: _Send) -> None:
    for stage in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{stage}.complete"})
