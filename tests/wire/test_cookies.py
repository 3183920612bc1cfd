"""How cookies are read and set, to the letter."""

from __future__ import annotations

import pytest

from keyturn.core.access_token import LONGEST_TOKEN
from keyturn.wire.cookies import LONGEST_AGE, access_cookie, read, refresh_cookie
from keyturn.wire.settings import CookieSettings, WireSettings

OURS = b"__Host-refreshToken"


@pytest.mark.parametrize(
    ("header", "values"),
    [
        (b"__Host-refreshToken=a", ["a"]),
        (b"x=1; __Host-refreshToken=a; y=2", ["a"]),
        (b"x=1;__Host-refreshToken=a", ["a"]),
        (b" \t__Host-refreshToken \t=\t a \t;", ["a"]),
        (b"__Host-refreshToken=a=b==", ["a=b=="]),
        (b"__Host-refreshToken=", [""]),
        (b"__Host-refreshToken=a; __Host-refreshToken=b", ["a", "b"]),
        (b"__Host-refreshToken=a; __Host-refreshToken=a", ["a"]),
        (b"__Host-refreshToken", []),
        (b"=__Host-refreshToken=a", []),
        (b"__host-refreshToken=a", []),
        (b"__HOST-REFRESHTOKEN=a", []),
        (b"__Host-refreshtoken=a", []),
        (b"refreshToken=a; __Secure-refreshToken=a", []),
        (b"\x85__Host-refreshToken=a", []),
        (b"\x1c__Host-refreshToken=a", []),
        (b"\xa0__Host-refreshToken=a", []),
        (b"\xe2\x80\x80__Host-refreshToken=a", []),
        (b"\x0b__Host-refreshToken=a", []),
        (b"\x00__Host-refreshToken=a", []),
        (b"\n__Host-refreshToken=a", []),
        (b"__Host-refreshToken\xa0=a", []),
        (b"x=1, __Host-refreshToken=a", []),
        (b"$Version=1; __Host-refreshToken=a; $Path=/", ["a"]),
        (b'__Host-refreshToken="a"', ['"a"']),
        (b"__Host-refreshToken=%61", ["%61"]),
        (b'__Host-refreshToken="\\141"', ['"\\141"']),
        (b"__Host-refreshToken=\xff", ["\xff"]),
    ],
)
def test_a_name_is_compared_byte_for_byte_and_a_value_taken_as_it_is(
    header: bytes, values: list[str]
) -> None:
    """A6: only spaces and tabs around a name are taken off, and nothing is unquoted."""
    assert read([(b"cookie", header)], OURS) == values


@pytest.mark.parametrize(
    ("header", "values"),
    [
        (b'x="1; __Host-refreshToken=a; 2"', []),
        (b'x="1; __Host-refreshToken=a"', []),
        (b'x= "1; __Host-refreshToken=a; 2" ; y=3', []),
        (b'x="; __Host-refreshToken=a; "; __Host-refreshToken=b', ["b"]),
        (b'x="1"; __Host-refreshToken=a; y="2"', ["a"]),
        (b'x="1; __Host-refreshToken=a', ["a"]),
        (b'x=1"; __Host-refreshToken=a; y=2"', ["a"]),
        (b'x={"a":1}; __Host-refreshToken=a; y={"b":2}', ["a"]),
    ],
)
def test_a_cookie_inside_a_quoted_string_is_not_ours(header: bytes, values: list[str]) -> None:
    """A6: two servers never read different cookies from one header; lone quotes mean nothing."""
    assert read([(b"cookie", header)], OURS) == values


def test_cookies_may_come_in_several_headers() -> None:
    """HTTP/2 splits them (RFC 9113, section 8.2.3); other headers are none."""
    headers = [(b"cookie", b"x=1"), (b"cookie2", OURS + b"=no"), (b"cookie", OURS + b"=a")]

    assert read(headers, OURS) == ["a"]


HOST = WireSettings(public_url="https://example.com")
SHARED = WireSettings(
    public_url="https://login.example.com/auth",
    cookies=CookieSettings(
        prefix="__Secure-",
        domain="example.com",
        refresh_path="/auth/refresh-token",
        samesite="strict",
    ),
)
DEVELOPMENT = WireSettings(
    public_url="http://localhost:8000", cookies=CookieSettings(insecure_http=True)
)


STRICT = b"; HttpOnly; SameSite=Strict; Domain=example.com; Secure; Max-Age=9"


@pytest.mark.parametrize(
    ("settings", "access", "refresh"),
    [
        (
            HOST,
            b"__Host-accessToken=t; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=9",
            b"__Host-refreshToken=t; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=9",
        ),
        (
            SHARED,
            b"__Secure-accessToken=t; Path=/" + STRICT,
            b"__Secure-refreshToken=t; Path=/auth/refresh-token" + STRICT,
        ),
        (
            DEVELOPMENT,
            b"accessToken=t; Path=/; HttpOnly; SameSite=Lax; Max-Age=9",
            b"refreshToken=t; Path=/; HttpOnly; SameSite=Lax; Max-Age=9",
        ),
    ],
)
def test_a_cookie_says_all_that_browsers_are_to_hold_to(
    settings: WireSettings, access: bytes, refresh: bytes
) -> None:
    """A1, A2, A3: prefix and Secure, HttpOnly, SameSite, and Domain only where it is asked for."""
    assert access_cookie(settings).set("t", 9) == (b"set-cookie", access)
    assert refresh_cookie(settings).set("t", 9) == (b"set-cookie", refresh)


def test_a_cookie_without_an_age_ends_with_the_browser() -> None:
    """Neither Max-Age nor Expires is said."""
    _, line = refresh_cookie(HOST).set("t", None)

    assert line == b"__Host-refreshToken=t; Path=/; HttpOnly; SameSite=Lax; Secure"


def test_no_cookie_is_promised_more_than_400_days() -> None:
    """A5: browsers would cut it."""
    _, line = refresh_cookie(HOST).set("t", LONGEST_AGE + 1)

    assert line.endswith(b"; Max-Age=34560000")


def test_the_longest_token_fits_into_the_cookie_of_the_longest_name() -> None:
    """A4: browsers drop what is over 4096 bytes with its name, in silence."""
    longest = CookieSettings(prefix="x" * 32)
    cookie = access_cookie(WireSettings(public_url="https://example.com", cookies=longest))

    assert len(cookie.name + b"=") + LONGEST_TOKEN <= 4096


@pytest.mark.parametrize("settings", [HOST, SHARED, DEVELOPMENT])
def test_a_cookie_is_deleted_with_the_attributes_it_was_set_with(settings: WireSettings) -> None:
    """A8: but for its value and age."""
    for cookie in (access_cookie(settings), refresh_cookie(settings)):
        _, set_line = cookie.set("t", 9)
        assert cookie.delete() == (
            b"set-cookie",
            set_line.replace(b"=t;", b"=;").replace(b"Max-Age=9", b"Max-Age=0"),
        )


def test_a_cookie_bound_to_the_host_has_no_twin() -> None:
    """Its prefix leaves neither another path nor a domain."""
    assert refresh_cookie(HOST).twins == []


def test_the_twins_of_a_cookie_are_wherever_other_settings_put_it() -> None:
    """At either path, for the host alone or a domain that it is in; each but the cookie itself."""
    lines = [twin.delete()[1].decode() for twin in refresh_cookie(SHARED).twins]

    narrow, wide = "Path=/auth/refresh-token", "Path=/"
    login, above = "Domain=login.example.com", "Domain=example.com"
    places = [
        (narrow, None),
        (narrow, login),
        (wide, None),
        (wide, login),
        (wide, above),
    ]
    assert [place_of(line) for line in lines] == places
    assert all(line.startswith("__Secure-refreshToken=;") for line in lines)


def place_of(line: str) -> tuple[str, str | None]:
    attributes = line.split("; ")[1:]
    domains = [attribute for attribute in attributes if attribute.startswith("Domain=")]
    return attributes[0], domains[0] if domains else None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_a_host_without_a_domain_has_no_twin_in_one(host: str) -> None:
    """Only at another path."""
    settings = WireSettings(
        public_url=f"http://{host}:8000", cookies=CookieSettings(insecure_http=True)
    )

    lines = [twin.delete()[1].decode() for twin in refresh_cookie(settings).twins]
    assert [place_of(line) for line in lines] == [("Path=/refresh-token", None)]
