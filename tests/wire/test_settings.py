"""What the wire refuses to be told."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from keyturn.core.errors import ConfigurationError
from keyturn.wire.settings import CookieSettings, WireSettings
from tests.wire.support import FEED_TOKEN

PUBLIC_URL = "https://example.com"


@pytest.mark.parametrize(
    ("setting", "given"),
    [
        ("cookie_prefix", {"prefix": "my cookie"}),
        ("cookie_prefix", {"prefix": "a;"}),
        ("cookie_prefix", {"prefix": "__HOST-"}),
        ("cookie_prefix", {"prefix": "__secure-"}),
        ("cookie_domain", {"domain": "example.com"}),
        ("cookie_domain", {"prefix": "", "domain": "example.com; Secure"}),
        ("cookie_domain", {"prefix": "", "domain": ".example.com"}),
        ("cookie_domain", {"prefix": "", "domain": ""}),
        ("cookie_domain", {"prefix": "", "domain": "com"}),
        ("cookie_refresh_path", {"refresh_path": "/refresh-token"}),
        ("cookie_refresh_path", {"prefix": "", "refresh_path": "refresh-token"}),
        ("cookie_refresh_path", {"prefix": "", "refresh_path": "/a;b"}),
        ("cookie_refresh_path", {"prefix": "", "refresh_path": "/a b"}),
        ("cookie_prefix", {"prefix": "x" * 33}),
        ("cookie_samesite", {"samesite": "none", "insecure_http": True}),
        ("cookie_samesite", {"samesite": "Lax"}),
    ],
)
def test_cookies_that_browsers_would_refuse_are_refused_first(
    setting: str, given: dict[str, Any]
) -> None:
    """A1: the error names the setting."""
    with pytest.raises(ConfigurationError) as error:
        CookieSettings(**given)

    assert error.value.setting == setting


SHARED = CookieSettings(prefix="__Secure-", domain="example.com")


@pytest.mark.parametrize(
    ("setting", "given"),
    [
        ("public_url", {"public_url": "example.com"}),
        ("public_url", {"public_url": "ftp://example.com"}),
        ("public_url", {"public_url": "https://"}),
        ("public_url", {"public_url": "https://example.com/"}),
        ("public_url", {"public_url": "https://example.com//auth"}),
        ("public_url", {"public_url": "https://example.com/auth?x=1"}),
        ("public_url", {"public_url": "https://example.com/#x"}),
        ("public_url", {"public_url": "https://user@example.com"}),
        ("public_url", {"public_url": "https://Example.com"}),
        ("public_url", {"public_url": "https://example.com:443"}),
        ("public_url", {"public_url": "https://example.com:99999"}),
        ("public_url", {"public_url": "https://exam\nple.com"}),
        ("public_url", {"public_url": "http://example.com"}),
        ("public_url", {"public_url": "http://127.0.0.1.example.com"}),
        ("trusted_origins", {"trusted_origins": ("*",)}),
        ("trusted_origins", {"trusted_origins": ("null",)}),
        ("trusted_origins", {"trusted_origins": ("https://app.example.com/",)}),
        ("trusted_origins", {"trusted_origins": ("https://*.example.com",)}),
        ("tokens_in_body", {"tokens_in_body": "sometimes"}),
        ("registration", {"registration": "shut"}),
        ("trusted_proxies", {"trusted_proxies": ("10.0.0.0/8",)}),
        ("trusted_proxies", {"trusted_proxies": "10.0.0.0/8"}),
        ("trusted_proxies", {"trusted_proxies": (ip_address("10.0.0.1"),)}),
        ("hsts_max_age", {"hsts_max_age": -1}),
        ("revocations_token", {"revocations_tokens": ("",)}),
        ("revocations_token", {"revocations_tokens": ("x" * 31,)}),
        ("revocations_token", {"revocations_tokens": ("x" * 32,)}),
        ("revocations_token", {"revocations_tokens": ("a token with blanks " * 2,)}),
        ("revocations_token", {"revocations_tokens": (FEED_TOKEN, "é" * 32)}),
        ("cookie_insecure_http", {"cookies": CookieSettings(insecure_http=True)}),
        ("cookie_domain", {"public_url": "https://example.org", "cookies": SHARED}),
        ("cookie_domain", {"public_url": "https://badexample.com", "cookies": SHARED}),
        (
            "cookie_refresh_path",
            {"cookies": CookieSettings(prefix="__Secure-", refresh_path="/refresh")},
        ),
        (
            "cookie_refresh_path",
            {
                "public_url": "https://example.com/auth",
                "cookies": CookieSettings(prefix="__Secure-", refresh_path="/refresh-token"),
            },
        ),
    ],
)
def test_an_impossible_setting_is_named(setting: str, given: dict[str, Any]) -> None:
    """A11, B5: no http beyond loopback, no pattern for an origin, no cookie out of reach."""
    with pytest.raises(ConfigurationError) as error:
        WireSettings(**{"public_url": PUBLIC_URL} | given)

    assert error.value.setting == setting


@pytest.mark.parametrize(
    "given",
    [
        {"public_url": "http://127.0.0.1:8000"},
        {"public_url": "http://localhost:8000", "cookies": CookieSettings(insecure_http=True)},
        {"public_url": "http://[::1]:8000"},
        {"public_url": "https://example.com:8443/auth"},
        {"trusted_origins": ("https://app.example.com", "http://[::1]:3000")},
        {"public_url": "https://login.example.com", "cookies": SHARED},
        {"cookies": CookieSettings(prefix="__Secure-", refresh_path="/refresh-token")},
        {"cookies": CookieSettings(samesite="none")},
    ],
)
def test_what_works_is_taken(given: dict[str, Any]) -> None:
    """A11: loopback may be plain http, and cookies may be shared where that is asked for."""
    settings = WireSettings(**{"public_url": PUBLIC_URL} | given)

    assert settings.public_url == settings.origin + settings.base_path


def test_a_feed_token_shows_in_no_representation() -> None:
    """H3: settings may be printed."""
    settings = WireSettings(public_url=PUBLIC_URL, revocations_tokens=(FEED_TOKEN,))

    assert FEED_TOKEN not in repr(settings)
    assert f"WireSettings(public_url='{PUBLIC_URL}', " in repr(settings)
