"""A request and a response, as values."""

from __future__ import annotations

from collections.abc import Sequence
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


class Request(msgspec.Struct, frozen=True):
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
        values = [value for key, value in self.headers if key == name]
        return b", ".join(values) if values else None


class Response(msgspec.Struct, frozen=True):
    """What the client is answered."""

    status: int
    headers: Sequence[Header] = ()
    body: bytes = b""


def check_size(request: Request) -> None:
    """Refuse what is longer than anything that makes sense here.

    Raises:
        HeadersTooLarge: the headers are over ``LONGEST_HEADERS``.
        BodyTooLarge: the body is over ``LONGEST_BODY``, or is announced to be.
    """
    if sum(len(name) + len(value) for name, value in request.headers) > LONGEST_HEADERS:
        raise HeadersTooLarge
    if len(request.body) > LONGEST_BODY or announces_too_much(request.headers):
        raise BodyTooLarge


def announces_too_much(headers: Sequence[Header]) -> bool:
    """Whether the body need not be read, as it is going to be refused for its length."""
    return any(
        name == b"content-length"
        and value.isdigit()
        and (len(value) > len(str(LONGEST_BODY)) or int(value) > LONGEST_BODY)
        for name, value in headers
    )
