"""Whether a page may ask for this: the one decision against cross-site request forgery.

Browsers say where a request comes from, and pages cannot forge it; so there is no token to hand
out. After the OWASP cheat sheet on CSRF, "Fetch Metadata headers", with the fallback for browsers
that do not send them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

__all__ = ["allows"]

_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})  # they change nothing here
_NO_OTHER_SITE: Final = frozenset({b"same-origin", b"none"})


def allows(
    method: str,
    fetch_site: bytes | None,
    origin: bytes | None,
    *,
    own_origin: bytes,
    trusted: Collection[bytes],
) -> bool:
    """Decide.

    Args:
        method: of the request.
        fetch_site: its ``Sec-Fetch-Site``, if it has one.
        origin: its ``Origin``, if it has one. ``null`` is nobody's.
        own_origin: of the public URL; never what ``Host`` says.
        trusted: other origins whose pages may ask.
    """
    if method in _SAFE_METHODS or fetch_site in _NO_OTHER_SITE:
        return True
    if fetch_site is None and origin in (None, own_origin):
        return True  # not a browser, or an old one
    return origin in trusted
