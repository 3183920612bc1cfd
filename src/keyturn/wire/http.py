"""A request and a response, as values."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from itertools import chain
from typing import Final

import msgspec

from .errors import BodyTooLarge, HeadersTooLarge

__all__ = [
    "LONGEST_BODY",
    "LONGEST_HEADERS",
    "Header",
    "Request",
    "Response",
    "announces_too_much",
    "check_size",
]

Header = tuple[bytes, bytes]
"""Name in lower case, and value, as they are sent."""

LONGEST_BODY: Final = 64 * 1024
"""Bytes."""
LONGEST_HEADERS: Final = 32 * 1024
"""Bytes of all names and values together."""

_BLANK: Final = b" \t"


class Request(msgspec.Struct, frozen=True, dict=True):
    """What a client asks. ``path`` is without percent-encoding and base path, ``client`` the
    address of the connection's other end.
    """

    method: str
    path: str
    query: bytes
    headers: Sequence[Header]
    body: bytes
    client: str

    def header(self, name: bytes) -> bytes | None:
        """The value of a header. Of one that is repeated all values, joined as in RFC 9110,
        section 5.3: where only one makes sense, that is no value that anything is compared with.
        """
        # Several look for headers, and a cached_property has a lock to take.
        found: dict[bytes, bytes] | None = self.__dict__.get("headers by name")
        if found is None:
            found = self.__dict__["headers by name"] = _by_name(self.headers)
        return found.get(name)

    def cookie(self, name: bytes) -> Sequence[str]:
        """The different values of a cookie, in their order.

        Names are compared byte for byte, with nothing but spaces and tabs around them taken off, so
        no look-alike passes for ours. Values are never unquoted, and a semicolon always ends one:
        no cookie that a browser sends has a semicolon in it (RFC 6265bis, section 5.6).
        """
        found: dict[bytes, dict[str, None]] | None = self.__dict__.get("cookies by name")
        if found is None:
            found = self.__dict__["cookies by name"] = _cookies_in(self.headers)
        return list(found.get(name, ()))


def _by_name(headers: Iterable[Header]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    repeated: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        if name in found:
            repeated.setdefault(name, [found[name]]).append(value)
        else:
            found[name] = value
    for name, values in repeated.items():
        found[name] = b", ".join(values)
    return found


def _cookies_in(headers: Iterable[Header]) -> dict[bytes, dict[str, None]]:
    """The values of each, once, as the keys of a dict: they stay in their order."""
    found: dict[bytes, dict[str, None]] = {}
    for header, line in headers:
        if header != b"cookie":
            continue
        for pair in line.split(b";"):
            name, equals, value = pair.partition(b"=")
            if equals:
                values = found.setdefault(name.strip(_BLANK), {})
                values[value.strip(_BLANK).decode("latin-1")] = None
    return found


class Response(msgspec.Struct, frozen=True):
    """What the client is answered: a body, or a stream of chunks that come in their own time."""

    status: int
    headers: Sequence[Header] = ()
    body: bytes = b""
    stream: AsyncGenerator[bytes, None] | None = None


def check_size(request: Request) -> None:
    """Refuse what is longer than anything that makes sense here.

    Raises:
        HeadersTooLarge: the headers are over ``LONGEST_HEADERS``.
        BodyTooLarge: the body is over ``LONGEST_BODY``, or is announced to be.
    """
    if len(b"".join(chain.from_iterable(request.headers))) > LONGEST_HEADERS:
        raise HeadersTooLarge
    if len(request.body) > LONGEST_BODY or announces_too_much(request.headers):
        raise BodyTooLarge


def announces_too_much(headers: Sequence[Header]) -> bool:
    """Whether the body need not be read, as it is going to be refused for its length."""
    for name, value in headers:
        if (
            name == b"content-length"
            and value.isdigit()
            and (len(value) > len(str(LONGEST_BODY)) or int(value) > LONGEST_BODY)
        ):
            return True
    return False
