"""A living session's own token, presented in every way that must not count: nothing turns."""

from __future__ import annotations

import json

import pytest

from tests.support import Clock
from tests.wire.support import PAGE, REFRESH, Site

ODD_BYTES = [b"\x85", b"\x1c", b"\xa0", b"\xe2\x80\x80", b"\x0b", b"\x0c", b"\x1f", b"\xef\xbb\xbf"]
MISSING = (401, "refresh_token_missing")
INVALID = (401, "refresh_token_invalid")


async def assert_unchanged(here: Site, clock: Clock, token: str) -> None:
    """Outside the window its first generation is good for an exchange still."""
    turned = await here.sessions.refresh(token)
    assert turned.session.generation == 1
    assert clock() == turned.session.turned_at


@pytest.mark.parametrize("odd", ODD_BYTES)
@pytest.mark.parametrize("template", [b"%b%b=%b", b"x=1; %b%b=%b", b"x=1;\t%b%b=%b"])
async def test_odd_bytes_before_the_name_make_another_cookie(
    here: Site, clock: Clock, odd: bytes, template: bytes
) -> None:
    """A6: what some servers strip as white space, browsers let anybody set."""
    token = (await here.log_in()).refresh_token
    clock.sleep(31)
    header = template % (odd, REFRESH.encode(), token.encode())

    answer = await here.send(here.request("POST", "/refresh-token", [(b"cookie", header)]))

    assert answer.verdict == MISSING
    await assert_unchanged(here, clock, token)


@pytest.mark.parametrize(
    ("template", "verdict"),
    [
        ('x="y; {name}={token}"', INVALID),
        ('{name}="{token}"', INVALID),
        ("{name}={token}%20", INVALID),
        ("{name}=\\{token}", INVALID),
        ("{name}={token}, x=1", INVALID),
        ("={name}={token}", MISSING),
        ("{name}:{token}", MISSING),
        ("x=1, {name}={token}", MISSING),
    ],
)
async def test_a_cookie_that_is_not_plainly_ours_does_not_count(
    here: Site, clock: Clock, template: str, verdict: tuple[int, str]
) -> None:
    """A6: quoted, encoded, folded or without a name."""
    token = (await here.log_in()).refresh_token
    clock.sleep(31)
    header = template.format(name=REFRESH, token=token).encode()

    answer = await here.send(here.request("POST", "/refresh-token", [(b"cookie", header)]))

    assert answer.verdict == verdict
    await assert_unchanged(here, clock, token)


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        ('{{"refreshToken": "{token}"', (400, "body_malformed")),
        ('["{token}"]', (400, "body_malformed")),
        ('"{token}"', (400, "body_malformed")),
        ('{{"refreshToken": ["{token}"]}}', (400, "invalid_field")),
        ('{{"refreshToken": "{token}", "refreshToken": "{token}"}}', (400, "invalid_field")),
        ('{{"refreshToken": "{token}", "x": null}}', (400, "invalid_field")),
        ('{{"refresh_token": "{token}"}}', (400, "invalid_field")),
        ('{{"refreshToken": "{token}\\ud800"}}', (400, "invalid_field")),
        ('{{"refreshToken": "{token}\\u0000"}}', INVALID),
        ('{{"refreshToken": " {token}"}}', INVALID),
        ('{{"refreshToken": "{token}\\n"}}', INVALID),
        ('{{"refreshToken": "\\u212a{token}"}}', INVALID),
    ],
)
async def test_a_body_that_is_not_plainly_right_does_not_count(
    here: Site, clock: Clock, body: str, verdict: tuple[int, str]
) -> None:
    """H6, H7: each with its own answer."""
    token = (await here.log_in()).refresh_token
    clock.sleep(31)
    content_type = (b"content-type", b"application/json")
    content = body.format(token=token).encode()

    answer = await here.send(here.request("POST", "/refresh-token", [content_type], content))

    assert answer.verdict == verdict
    await assert_unchanged(here, clock, token)


@pytest.mark.parametrize("size", [64 * 1024 + 1, 10 << 20])
async def test_a_huge_request_does_not_count(here: Site, clock: Clock, size: int) -> None:
    """H6: neither by its body nor by its headers."""
    token = (await here.log_in()).refresh_token
    clock.sleep(31)
    body = json.dumps({"refreshToken": token}).encode().ljust(size)
    json_type = {"content-type": "application/json"}

    long_body = await here.ask("POST", "/refresh-token", body, headers=json_type)
    long_headers = await here.ask(
        "POST", "/refresh-token", headers=PAGE | {"x": "y" * size}, cookies={REFRESH: token}
    )

    assert long_body.verdict == (413, "body_too_large")
    assert long_headers.verdict == (431, "headers_too_large")
    await assert_unchanged(here, clock, token)
