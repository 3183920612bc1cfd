"""How cookies are read and set, to the letter."""

from __future__ import annotations

from typing import cast

import pytest

from keyturn.core.access_token import LONGEST_TOKEN
from keyturn.wire.cookies import LONGEST_AGE, access_cookie, refresh_cookie
from keyturn.wire.http import LONGEST_HEADERS, Header, Request
from keyturn.wire.settings import CookieSettings, WireSettings

OURS = b"__Host-refreshToken"


def read(*headers: Header) -> list[str]:
    return list(asking(*headers).cookie(OURS))


def asking(*headers: Header) -> Request:
    return Request("GET", "/me", b"", headers, b"", "")


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
    assert read((b"cookie", header)) == values


@pytest.mark.parametrize(
    ("header", "values"),
    [
        (b'x="__Host-refreshToken=a"', []),
        (b'x="1; __Host-refreshToken=a; 2"', ["a"]),
        (b'x="1; __Host-refreshToken=a"', ['a"']),
        (b'x="1"; __Host-refreshToken=a; y="2"', ["a"]),
        (b'x="1; __Host-refreshToken=a', ["a"]),
        (b'x=1"; __Host-refreshToken=a; y=2"', ["a"]),
        (b'x={"a":1}; __Host-refreshToken=a; y={"b":2}', ["a"]),
    ],
)
def test_a_quote_means_nothing_and_a_semicolon_ends_every_value(
    header: bytes, values: list[str]
) -> None:
    """A6: no cookie of another application, however odd, hides ours from us."""
    assert read((b"cookie", header)) == values


def test_cookies_may_come_in_several_headers() -> None:
    """HTTP/2 splits them (RFC 9113, section 8.2.3); other headers are none."""
    headers = [(b"cookie", b"x=1"), (b"cookie2", OURS + b"=no"), (b"cookie", OURS + b"=a")]

    assert read(*headers) == ["a"]


class Walked:
    """Bytes that count how many of them each method walks over, and fit no regular expression."""

    steps = 0

    def __init__(self, content: bytes) -> None:
        self._content = content

    def _walk(self) -> bytes:
        Walked.steps += len(self._content) + 1
        return self._content

    def split(self, separator: bytes) -> list[Walked]:
        return [Walked(part) for part in self._walk().split(separator)]

    def partition(self, separator: bytes) -> tuple[Walked, bytes, Walked]:
        before, found, after = self._walk().partition(separator)
        return Walked(before), found, Walked(after)

    def strip(self, characters: bytes) -> Walked:
        return Walked(self._walk().strip(characters))

    def decode(self, encoding: str) -> str:
        return self._walk().decode(encoding)

    def __hash__(self) -> int:
        return hash(self._walk())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Walked) and self._walk() == other._walk()


@pytest.mark.parametrize(
    "line",
    [
        b'a="' + b";" * 31_000,
        b'a="' + b";" * 16_000 + b'"' + b" " * 15_000 + b"x",
        b'="; ' * 7_750,
        b"=" * 31_000,
        b" \t" * 15_500,
        b"a=b;" * 7_750,
        OURS + b"=" + b'"' * 30_900,
        (OURS + b"=x;") * 1_400,
    ],
)
def test_hostile_cookies_cost_no_more_than_their_length(line: bytes) -> None:
    """H6: a few steps for each byte of the longest header, however often cookies are looked up."""
    assert len(line) < LONGEST_HEADERS
    Walked.steps = 0
    request = asking((b"cookie", cast("bytes", Walked(line))))

    for name in (OURS, b"__Host-accessToken", b"refreshToken"):
        request.cookie(name)

    assert len(line) < Walked.steps < 16 * len(line)


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


def test_setting_a_cookie_deletes_its_twins_first() -> None:
    """A8: else an older token stays beside it; and a twin may be the same cookie to a browser."""
    cookie = refresh_cookie(SHARED)

    *deletions, setting = cookie.replace("t", 9)

    assert setting == cookie.set("t", 9)
    assert deletions == [twin.delete() for twin in cookie.twins] != []


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
