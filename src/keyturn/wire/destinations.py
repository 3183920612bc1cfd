"""Where a browser may be sent after a sign-in: the one decision against open redirects."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from .settings import WireSettings

__all__ = ["LONGEST_DESTINATION", "destination"]

LONGEST_DESTINATION: Final = 2048
"""Characters."""

_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))
_UNFIT: Final = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029\ud800-\udfff\ufeff]")
"""Browsers drop or trim some of these, and take a backslash for a slash."""
_HERE: Final = re.compile(r"/(?!/).*")
_ELSEWHERE: Final = re.compile(
    r"(?P<origin>https?://[a-z0-9.:\[\]-]+)(?P<rest>[/?#].*)?", re.IGNORECASE
)


def destination(asked: str, settings: WireSettings) -> str | None:
    """The URL to send the browser to, if ``asked`` is a path of this host, or a URL of our own or a
    trusted origin; else None.
    """
    if len(asked) > LONGEST_DESTINATION or _UNFIT.search(asked):
        return None
    if _HERE.fullmatch(asked):
        return _encoded(asked)
    match = _ELSEWHERE.fullmatch(asked)
    if match is None:
        return None
    origin = match["origin"].lower()
    if origin not in (settings.origin, *settings.trusted_origins):
        return None
    return origin + _encoded(match["rest"] or "/")


def _encoded(text: str) -> str:
    """``text`` as it may stand in a header."""
    return quote(text, safe=_VISIBLE)
