"""Where a sign-in may lead: the decision against open redirects, as one table."""

from __future__ import annotations

import pytest

from keyturn.wire.destinations import LONGEST_DESTINATION, destination
from keyturn.wire.settings import WireSettings
from tests.wire.support import ORIGIN, TRUSTED

SETTINGS = WireSettings(
    public_url=ORIGIN + "/auth", trusted_origins=(TRUSTED, "https://other.example:8443")
)


@pytest.mark.parametrize(
    ("asked", "led_to"),
    [
        ("/", "/"),
        ("/account", "/account"),
        ("/a/b?c=//d&e=%2F#f", "/a/b?c=//d&e=%2F#f"),
        ("/früh/雪?q=ü", "/fr%C3%BCh/%E9%9B%AA?q=%C3%BC"),
        ("/%5Cevil.example", "/%5Cevil.example"),
        ("/@evil.example", "/@evil.example"),
        ("/https://evil.example", "/https://evil.example"),
        (ORIGIN, ORIGIN + "/"),
        (ORIGIN + "/x", ORIGIN + "/x"),
        (TRUSTED, TRUSTED + "/"),
        (TRUSTED + "/x?y#z", TRUSTED + "/x?y#z"),
        (TRUSTED + "?y", TRUSTED + "?y"),
        (TRUSTED + "#z", TRUSTED + "#z"),
        ("HTTPS://App.Example.COM/X", TRUSTED + "/X"),
        ("https://other.example:8443/", "https://other.example:8443/"),
    ],
)
def test_paths_of_our_own_and_trusted_origins_are_led_to(asked: str, led_to: str) -> None:
    """Fit for a ``Location`` as they come out."""
    assert destination(asked, SETTINGS) == led_to


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "account",
        "./account",
        "?next=/",
        "#x",
        "//evil.example",
        "//example.com",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "\\/evil.example",
        "/a\\b",
        "/\t/evil.example",
        "/\n/evil.example",
        "\t//evil.example",
        " //evil.example",
        " /account",
        "/account\r\nset-cookie: a=b",
        "/a\0b",
        "/a\x7fb",
        "/a\x85b",
        "/a\xa0b",
        "/a\u2028b",
        "/a\ud800b",
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "java\nscript:alert(1)",
        "javascript://example.com/%0Aalert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
        "blob:https://example.com/x",
        "https:evil.example",
        "https:/evil.example",
        "https:///evil.example",
        "http://example.com/",
        "https://evil.example",
        "https://example.com.evil.example",
        "https://example.com@evil.example",
        "https://evil.example@example.com/",
        "https://user:password@example.com/",
        "https://@example.com/",
        "https://example.com:443/",
        "https://example.com:8443/",
        "https://example.com./",
        "https://app.example.com:8443/",
        "https://other.example/",
        "https://eviL.example",
        "https://example.com\\@evil.example",
        "https://example.com\t.evil.example",
        "https://exаmple.com/",  # noqa: RUF001  a Cyrillic letter
        "https://example.com%2eevil.example",
        "https://[::1]/",
        "ftp://example.com/",
        "/" + "a" * LONGEST_DESTINATION,
    ],
)
def test_nothing_else_is(asked: str) -> None:
    """Neither what is elsewhere, nor what some browser might take to be."""
    assert destination(asked, SETTINGS) is None
