"""The headers of every answer, and those that let a page of a trusted origin read it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from .http import Header
from .settings import WireSettings

__all__ = ["NO_STORE", "cors", "preflight", "standing"]

NO_STORE: Final = (b"cache-control", b"no-store")

_STANDING: Final = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    # Answers depend on them: pages are told less than other clients, some are told nothing.
    (b"vary", b"Origin, Sec-Fetch-Site"),
    (b"x-content-type-options", b"nosniff"),
)


def standing(settings: WireSettings) -> tuple[Header, ...]:
    """What is sent with every answer, errors too."""
    if not settings.https:
        return _STANDING
    hsts = b"max-age=%d" % settings.hsts_max_age
    return (*_STANDING, (b"strict-transport-security", hsts))


def cors(origin: bytes | None, trusted: Collection[bytes]) -> Sequence[Header]:
    """What lets a page of a trusted origin read the answer; nothing for any other."""
    if origin is None or origin not in trusted:
        return ()
    return (
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", b"Retry-After, WWW-Authenticate, X-Request-Id"),
    )


def preflight(methods: str) -> Sequence[Header]:
    """What lets a page of a trusted origin ask, besides ``cors``."""
    return (
        (b"access-control-allow-headers", b"Authorization, Content-Type"),
        (b"access-control-allow-methods", methods.encode()),
        (b"access-control-max-age", b"600"),
    )
