"""Navigations renew in passing: who asks for a page, and what its answer has to carry."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from keyturn.core.errors import StoreUnavailable
from keyturn.core.model import EndReason, Tokens
from keyturn.wire.http import Request, Response
from keyturn.wire.navigation import Failed, Known, Late, Navigations, Unknown, Visitor, may_renew
from keyturn.wire.settings import WireSettings
from tests.support import Clock
from tests.wire.support import ACCESS, CLIENT, ORIGIN, REFRESH, Site, cookies_of, site

NAVIGATION = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
PAST_ACCESS = 600
PAST_WINDOW = 31


def navigation(
    cookies: dict[str, str] | str = "",
    *,
    headers: dict[str, str] = NAVIGATION,
    method: str = "GET",
    query: str = "",
) -> Request:
    """What a browser sends to see a page."""
    if isinstance(cookies, dict):
        cookies = "; ".join(f"{name}={value}" for name, value in cookies.items())
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request(
        method, "/page", query.encode(), [*sent, (b"cookie", cookies.encode())], b"", CLIENT
    )


async def visit(here: Site, *arguments: Any, **options: Any) -> Visitor:
    navigations = Navigations(here.sessions, WireSettings(public_url=ORIGIN))
    return await navigations.visitor(navigation(*arguments, **options))


def names_of(visitor: Visitor) -> list[str]:
    """Of the cookies that the answer sets."""
    assert isinstance(visitor, Known)
    return [value.decode().partition("=")[0] for _, value in visitor.set_cookies]


async def superseded(here: Site, clock: Clock) -> Tokens:
    """Tokens whose generation was superseded by a turn that has just happened."""
    tokens = await here.log_in()
    clock.sleep(PAST_ACCESS)
    turned = await here.sessions.refresh(tokens.refresh_token)
    clock.sleep(PAST_WINDOW)
    await here.sessions.refresh(turned.refresh_token)
    return tokens


# ── who is known ────────────────────────────────────────────────────────────────────────────────


async def test_a_good_access_token_is_enough(here: Site) -> None:
    """No I/O is done for it, and nothing is renewed before its time."""
    tokens = await here.log_in()
    here.break_down(StoreUnavailable())

    visitor = await visit(here, cookies_of(tokens))

    assert isinstance(visitor, Known)
    assert visitor.user.sid == tokens.session.sid
    assert (visitor.refresh_at, visitor.set_cookies) == (None, ())


async def test_an_access_token_that_has_ended_is_renewed(here: Site, clock: Clock) -> None:
    """The page is answered at once as to somebody signed in, with both new cookies."""
    tokens = await here.log_in()
    clock.sleep(PAST_ACCESS)

    visitor = await visit(here, cookies_of(tokens))

    assert isinstance(visitor, Known)
    assert visitor.user.sid == tokens.session.sid
    assert visitor.refresh_at is not None
    assert 300 <= visitor.refresh_at - clock() <= 540
    assert names_of(visitor) == [ACCESS, REFRESH]


async def test_so_is_one_that_the_browser_has_dropped(here: Site, clock: Clock) -> None:
    """Its cookie lives as long as the token does."""
    tokens = await here.log_in()
    clock.sleep(PAST_ACCESS)

    visitor = await visit(here, {REFRESH: tokens.refresh_token})

    assert names_of(visitor) == [ACCESS, REFRESH]


async def test_so_is_one_that_is_void(here: Site) -> None:
    """An emergency cutoff, or new claims, send nobody to the login page."""
    tokens = await here.log_in()
    await here.sessions.void_all()

    visitor = await visit(here, cookies_of(tokens))

    assert isinstance(visitor, Known)
    assert visitor.set_cookies


async def test_two_tabs_that_wake_at_once_are_both_renewed(here: Site, clock: Clock) -> None:
    """The second gets the same refresh token as the first."""
    tokens = await here.log_in()
    clock.sleep(PAST_ACCESS)

    first = await visit(here, cookies_of(tokens))
    second = await visit(here, cookies_of(tokens))

    assert isinstance(first, Known)
    assert isinstance(second, Known)
    assert first.set_cookies[1] == second.set_cookies[1]


async def test_an_echo_sets_the_access_cookie_only(here: Site, clock: Clock) -> None:
    """The browser may hold a newer refresh cookie by the time the answer arrives."""
    tokens = await here.log_in()
    clock.sleep(PAST_ACCESS)
    turned = await here.sessions.refresh(tokens.refresh_token)

    visitor = await visit(here, {REFRESH: turned.refresh_token})

    assert names_of(visitor) == [ACCESS]


# ── what is no navigation ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("HEAD", NAVIGATION),
        ("POST", NAVIGATION),
        ("GET", {}),
        ("GET", {"sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}),
        ("GET", NAVIGATION | {"sec-fetch-dest": "iframe"}),
        ("GET", NAVIGATION | {"sec-fetch-dest": "image"}),
        ("GET", NAVIGATION | {"sec-purpose": "prefetch"}),
        ("GET", NAVIGATION | {"sec-purpose": "prefetch;prerender"}),
        ("GET", {"sec-fetch-mode": "navigate"}),
        ("GET", {"sec-fetch-dest": "document"}),
    ],
)
async def test_only_what_a_person_is_about_to_see_is_renewed(
    here: Site, clock: Clock, method: str, headers: dict[str, str]
) -> None:
    """B1: else nothing is changed; a script of the page may exchange."""
    tokens = await here.log_in()
    clock.sleep(PAST_ACCESS)

    visitor = await visit(here, cookies_of(tokens), method=method, headers=headers)

    assert visitor == Unknown(may_be_renewed=True)
    (row,) = await here.sessions.list(tokens.session.user_id)
    assert row.generation == 0


def test_where_from_the_navigation_comes_is_no_matter() -> None:
    """A link on another site leads to a page as any other does."""
    for where in ("cross-site", "same-site", "same-origin", "none"):
        assert may_renew(navigation(headers=NAVIGATION | {"sec-fetch-site": where}))


async def test_a_stranger_is_unknown_and_has_nothing_to_exchange(here: Site) -> None:
    """Nothing is asked of the store for them."""
    here.break_down(StoreUnavailable())

    assert await visit(here) == Unknown()
    assert await visit(here, headers={}) == Unknown()
    assert await visit(here, {REFRESH: "junk"}, headers={}) == Unknown()


# ── what is refused ─────────────────────────────────────────────────────────────────────────────


async def test_a_session_that_is_over_says_why(here: Site) -> None:
    """C11: and no cookie is deleted, as an unknown visitor's answer sets none."""
    tokens = await here.log_in()
    await here.sessions.revoke(tokens.session.sid, reason=EndReason.REVOKED_BY_USER)

    visitor = await visit(here, cookies_of(tokens))

    assert isinstance(visitor, Unknown)
    assert visitor.refusal is not None
    assert (visitor.refusal.code, visitor.may_be_renewed) == ("session_revoked", False)
    assert getattr(visitor.refusal, "reason", None) == "revoked_by_user"


async def test_a_foreign_token_is_refused_without_io(here: Site) -> None:
    """C10: nothing is asked of the store, and nothing changes."""
    here.break_down(StoreUnavailable())

    visitor = await visit(here, {REFRESH: "ktr_" + "A" * 71})

    assert isinstance(visitor, Unknown)
    assert visitor.refusal is not None
    assert visitor.refusal.code == "refresh_token_invalid"


@pytest.mark.parametrize("kind", [ACCESS, REFRESH])
async def test_cookies_of_two_sessions_make_nobody_known(
    here: Site, clock: Clock, kind: str
) -> None:
    """A7: none is preferred; to sign in mends it."""
    one, other = cookies_of(await here.log_in()), cookies_of(await here.log_in())
    clock.sleep(PAST_ACCESS)

    visitor = await visit(here, f"{kind}={one[kind]}; {kind}={other[kind]}")

    assert visitor == Unknown()


async def test_refusals_and_renewals_are_logged_as_those_of_the_endpoint(
    here: Site, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """H3: who looks for a session finds it, whichever way it went on."""
    tokens = await here.log_in()
    clock.sleep(PAST_ACCESS)
    with caplog.at_level(logging.DEBUG, "keyturn.security"):
        await visit(here, cookies_of(tokens))
        await here.sessions.logout(tokens.refresh_token)
        await visit(here, cookies_of(tokens))

    sid = tokens.session.sid
    assert caplog.messages == [
        f"refreshed sid={sid} address={CLIENT}",
        f"refresh_refused code=session_revoked sid={sid} address={CLIENT}",
    ]


# ── what comes late ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("query", "location"),
    [
        ("", b"?keyturn-late"),
        ("a=1&b=%2F", b"?a=1&b=%2F&keyturn-late"),
        ("next=//evil.example", b"?next=//evil.example&keyturn-late"),
        ("a=\r\nset-cookie: x=1", b"?a=%0D%0Aset-cookie:%20x=1&keyturn-late"),
        ("not-keyturn-late&keyturn-late=1", b"?not-keyturn-late&keyturn-late=1&keyturn-late"),
    ],
)
async def test_who_comes_late_is_sent_to_the_same_page_again(
    here: Site, clock: Clock, query: str, location: bytes
) -> None:
    """303, by when the browser holds the newer cookie; never to another host or path."""
    tokens = await superseded(here, clock)

    visitor = await visit(here, {REFRESH: tokens.refresh_token}, query=query)

    assert visitor == Late(location)
    assert visitor.response == Response(
        303, [(b"location", location), (b"cache-control", b"no-store")]
    )


@pytest.mark.parametrize("query", ["keyturn-late", "a=1&keyturn-late", "keyturn-late&a=1"])
async def test_but_only_once(here: Site, clock: Clock, query: str) -> None:
    """Who is late again is unknown, and a script of the page may try on; so nothing loops."""
    tokens = await superseded(here, clock)

    visitor = await visit(here, {REFRESH: tokens.refresh_token}, query=query)

    assert isinstance(visitor, Unknown)
    assert visitor.refusal is not None
    assert (visitor.refusal.code, visitor.may_be_renewed) == ("refresh_superseded", True)


async def test_a_second_try_with_the_newer_cookie_is_renewed(here: Site, clock: Clock) -> None:
    """The mark takes nothing from whoever is in time."""
    tokens = await here.log_in()
    clock.sleep(PAST_ACCESS)

    visitor = await visit(here, cookies_of(tokens), query="keyturn-late")

    assert names_of(visitor) == [ACCESS, REFRESH]


# ── our faults ──────────────────────────────────────────────────────────────────────────────────


async def test_a_failing_store_is_told_apart_from_a_refusal(here: Site, clock: Clock) -> None:
    """C12: the page decides whether it needs to know; the next try is as good as this one."""
    tokens = await here.log_in()
    clock.sleep(PAST_ACCESS)
    here.break_down(StoreUnavailable())
    failed = await visit(here, cookies_of(tokens))
    here.break_down(None)

    again = await visit(here, cookies_of(tokens))

    assert isinstance(failed, Failed)
    assert isinstance(again, Known)


async def test_what_is_revoked_must_be_known(clock: Clock) -> None:
    """H4: a process that knows no news of revocations vouches for nobody, where settings say so."""
    async with site(clock, on_stale="refuse", max_staleness=30) as strict:
        tokens = await strict.log_in()
        clock.sleep(31)
        visitor = await visit(strict, cookies_of(tokens))

    assert isinstance(visitor, Failed)


async def test_a_logout_that_was_faster_makes_nobody_known(
    here: Site, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that ends while the answer to its exchange is made is over."""
    tokens = await here.log_in()
    clock.sleep(PAST_ACCESS)
    exchange = here.sessions.refresh

    async def exchange_and_end(token: str) -> Tokens:
        handed_out = await exchange(token)
        await here.sessions.logout(token)
        return handed_out

    monkeypatch.setattr(here.sessions, "refresh", exchange_and_end)
    visitor = await visit(here, cookies_of(tokens))

    assert visitor == Unknown()


# ── the answer ──────────────────────────────────────────────────────────────────────────────────


async def test_a_renewed_answer_is_kept_by_no_cache(here: Site, clock: Clock) -> None:
    """A9: whatever the page said of caching is replaced; the rest stays, and so does the status."""
    tokens = await here.log_in()
    clock.sleep(PAST_ACCESS)
    visitor = await visit(here, cookies_of(tokens))
    assert isinstance(visitor, Known)
    page = Response(
        404,
        [
            (b"content-type", b"text/html"),
            (b"cache-control", b"public, max-age=600"),
            (b"cdn-cache-control", b"max-age=600"),
            (b"surrogate-control", b"max-age=600"),
            (b"expires", b"Thu, 01 Jan 2099 00:00:00 GMT"),
            (b"etag", b'"1"'),
            (b"last-modified", b"Thu, 01 Jan 2026 00:00:00 GMT"),
            (b"age", b"1"),
            (b"pragma", b"cache"),
            (b"set-cookie", b"theirs=1"),
        ],
        b"page",
    )

    answer = visitor.finish(page)

    assert (answer.status, answer.body) == (404, b"page")
    assert answer.headers == [
        (b"content-type", b"text/html"),
        (b"set-cookie", b"theirs=1"),
        (b"cache-control", b"no-store"),
        *visitor.set_cookies,
    ]


async def test_an_answer_without_renewal_is_left_alone(here: Site) -> None:
    """A page that nothing was done for may be cached as it likes."""
    visitor = await visit(here, cookies_of(await here.log_in()))
    page = Response(200, [(b"cache-control", b"private, max-age=60")])
    assert isinstance(visitor, Known)

    assert visitor.finish(page) is page
