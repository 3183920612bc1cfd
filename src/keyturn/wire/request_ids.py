"""The id of a request, by which its answer, its lines in the log and its trace are found."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextvars import ContextVar
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from .client import is_trusted
from .http import Request

__all__ = ["REQUEST_ID", "given_id", "request_id", "serve_under"]

REQUEST_ID: Final = b"x-request-id"
"""The header, of requests and of answers."""

_WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")

_current: Final[ContextVar[str]] = ContextVar("keyturn_request_id", default="")


def request_id() -> str:
    """That of the request that is being served; empty outside of any. What is done for several at
    once is done under that of the first.
    """
    return _current.get()


def given_id(request: Request, trusted_proxies: Sequence[IPv4Network | IPv6Network]) -> str:
    """What a trusted proxy calls the request; empty if that is not well-formed, and what anybody
    else calls it is not asked.
    """
    given = request.header(REQUEST_ID)
    if given is None or not is_trusted(request.client, trusted_proxies):
        return ""
    return given.decode() if _WELL_FORMED.fullmatch(given) else ""


def serve_under(given: str) -> None:
    """Call the request so that this task serves, from now on: it serves no other one."""
    _current.set(given)
