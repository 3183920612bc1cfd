"""The decision whether a page may ask, as one table."""

from __future__ import annotations

import pytest

from keyturn.wire.csrf import allows

OWN = b"https://example.com"
TRUSTED = b"https://app.example.com"
STRANGER = b"https://evil.example"
NULL = b"null"
SAME_HOST_ELSEWHERE = b"http://example.com"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "post"])
@pytest.mark.parametrize(
    ("fetch_site", "origin", "allowed"),
    [
        (b"same-origin", OWN, True),
        (b"same-origin", None, True),
        (b"same-origin", NULL, True),  # with Referrer-Policy no-referrer, old Chromium
        (b"none", None, True),
        (b"same-site", None, False),
        (b"same-site", OWN, False),
        (b"same-site", STRANGER, False),
        (b"same-site", TRUSTED, True),
        (b"cross-site", None, False),
        (b"cross-site", NULL, False),
        (b"cross-site", OWN, False),
        (b"cross-site", STRANGER, False),
        (b"cross-site", TRUSTED, True),
        (b"", None, False),
        (b"Same-Origin", None, False),
        (b"same-origin, same-origin", None, False),
        (None, None, True),
        (None, OWN, True),
        (None, TRUSTED, True),
        (None, NULL, False),
        (None, b"", False),
        (None, STRANGER, False),
        (None, SAME_HOST_ELSEWHERE, False),
        (None, OWN + b":443", False),
        (None, OWN + b".evil.example", False),
        (None, OWN + b", " + OWN, False),
    ],
)
def test_a_change_is_allowed_to_our_own_pages_trusted_ones_and_programs(
    method: str, fetch_site: bytes | None, origin: bytes | None, *, allowed: bool
) -> None:
    """B2: Fetch Metadata decides, Origin where a browser does not send it; null is nobody's."""
    assert allows(method, fetch_site, origin, own_origin=OWN, trusted={TRUSTED}) is allowed


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("fetch_site", [None, b"cross-site", b"same-site", b"none"])
@pytest.mark.parametrize("origin", [None, NULL, STRANGER])
def test_reading_is_allowed_from_everywhere(
    method: str, fetch_site: bytes | None, origin: bytes | None
) -> None:
    """B1: it changes nothing, and no other origin's page is let to see the answer."""
    assert allows(method, fetch_site, origin, own_origin=OWN, trusted=())
