"""``POST /logout``: what is ended, and which cookies are taken away."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from keyturn.core.errors import StoreUnavailable
from keyturn.wire.settings import CookieSettings, WireSettings
from tests.support import Clock
from tests.wire.support import ACCESS, ORIGIN, PAGE, REFRESH, Answer, Jar, Site, cookies_of, site

PAST_WINDOW = 31
PREFIXES = ("__Host-", "__Secure-", "")

DELETED = [
    f"{ACCESS}=; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0",
    f"{REFRESH}=; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0",
]


async def test_logging_out_ends_the_session_and_deletes_the_cookies(here: Site) -> None:
    """A8: a POST without a body, from a page; the access token is void at once."""
    tokens = await here.log_in()

    answer = await here.ask("POST", "/logout", headers=PAGE, cookies=cookies_of(tokens))

    assert (answer.status, answer.data) == (200, {})
    assert answer.set_cookies == DELETED
    assert await here.living() == []
    me = await here.ask("GET", "/me", bearer=tokens.access_token)
    assert me.verdict == (401, "access_token_revoked")


async def test_a_browser_has_no_cookie_left_afterwards(here: Site) -> None:
    """A8: the deletions find what was set."""
    jar = Jar()
    body = {"username": "ada", "password": "quixotic-otters"}
    jar.take(await here.ask("POST", "/login", body, headers=PAGE))
    assert len(jar.kept) == 2

    jar.take(await here.ask("POST", "/logout", headers={"cookie": jar.cookie_header("/logout")}))

    assert jar.kept == {}


async def by_body(here: Site, access: str, refresh: str) -> Answer:
    return await here.ask("POST", "/logout", {"refreshToken": refresh})


async def by_bearer(here: Site, access: str, refresh: str) -> Answer:
    return await here.ask("POST", "/logout", bearer=access)


async def by_refresh_bearer(here: Site, access: str, refresh: str) -> Answer:
    return await here.ask("POST", "/logout", bearer=refresh)


async def by_access_cookie(here: Site, access: str, refresh: str) -> Answer:
    return await here.ask("POST", "/logout", cookies={ACCESS: access})


async def by_refresh_cookie(here: Site, access: str, refresh: str) -> Answer:
    return await here.ask("POST", "/logout", cookies={REFRESH: refresh})


@pytest.mark.parametrize(
    "way", [by_body, by_bearer, by_refresh_bearer, by_access_cookie, by_refresh_cookie]
)
async def test_any_token_of_the_session_ends_it(here: Site, way: object) -> None:
    """Wherever it is presented."""
    tokens = await here.log_in()

    answer = await way(here, tokens.access_token, tokens.refresh_token)  # type: ignore[operator]

    assert (answer.status, answer.set_cookies) == (200, DELETED)
    assert await here.living() == []


async def test_an_old_generation_ends_its_session(here: Site, clock: Clock) -> None:
    """It is ours; whoever holds it may at least end the session."""
    tokens = await here.log_in()
    clock.sleep(PAST_WINDOW)
    await here.sessions.refresh(tokens.refresh_token)

    await here.ask("POST", "/logout", {"refreshToken": tokens.refresh_token})

    assert await here.living() == []


async def test_logging_out_twice_is_as_good_as_once(here: Site) -> None:
    """Idempotent; and so is logging out without ever having logged in."""
    tokens = await here.log_in()
    for _ in range(2):
        answer = await here.ask("POST", "/logout", cookies=cookies_of(tokens))
        assert (answer.status, answer.set_cookies) == (200, DELETED)

    stranger = await here.ask("POST", "/logout")
    assert (stranger.status, stranger.set_cookies) == (200, DELETED)


async def test_every_session_that_is_named_is_ended(here: Site) -> None:
    """A7: two good cookies are no conflict here, nor are cookies of two sessions."""
    one, two, three, four = [await here.log_in() for _ in range(4)]
    header = "; ".join(
        [
            f"{REFRESH}={one.refresh_token}",
            f"{REFRESH}={two.refresh_token}",
            f"{ACCESS}={three.access_token}",
        ]
    )

    answer = await here.ask("POST", "/logout", headers={"cookie": header})

    assert (answer.status, answer.set_cookies) == (200, DELETED)
    assert await here.living() == [four.session.sid]


async def test_cookies_of_a_session_that_the_body_does_not_name_stay(here: Site) -> None:
    """All that is presented is ended, but the body wins over what is in the jar."""
    mine, other = await here.log_in(), await here.log_in()

    answer = await here.ask(
        "POST", "/logout", {"refreshToken": mine.refresh_token}, cookies=cookies_of(other)
    )

    assert (answer.status, answer.set_cookies) == (200, [])
    assert await here.living() == []


@pytest.mark.parametrize("junk", ["junk", "", "ktr_" + "A" * 71, "a.b.c", "\xff\x00"])
async def test_junk_ends_nothing_and_is_deleted(here: Site, junk: str) -> None:
    """C10: what is not ours names no session."""
    await here.log_in()

    answer = await here.ask("POST", "/logout", cookies={ACCESS: junk, REFRESH: junk}, bearer=junk)

    assert (answer.status, answer.set_cookies) == (200, DELETED)
    assert len(await here.living()) == 1


async def test_of_many_cookies_few_are_judged_and_all_are_deleted(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D3: each costs a signature, and whoever logs out need not be anybody; so eight of a name."""
    read = Mock(wraps=here.sessions._verifier.read)
    monkeypatch.setattr(here.sessions, "_verifier", Mock(read=read))
    names = [prefix + token for prefix in PREFIXES for token in ("accessToken", "refreshToken")]
    header = "; ".join(f"{name}={value}" for name in names for value in range(20))

    answer = await here.ask("POST", "/logout", headers={"cookie": header})

    assert (answer.status, answer.set_cookies) == (200, DELETED)
    assert read.call_count == 8 * len(names)


@pytest.mark.parametrize("fault", [StoreUnavailable(), RuntimeError("disk")])
async def test_while_the_store_is_down_the_cookies_go_all_the_same(
    here: Site, fault: Exception
) -> None:
    """C12: 503, as the session may live still; but this browser is rid of it."""
    tokens = await here.log_in()
    here.break_down(fault)

    answer = await here.ask("POST", "/logout", cookies=cookies_of(tokens))

    assert answer.verdict == (503, "unavailable")
    assert answer["retry-after"] == "1"
    assert answer.set_cookies == DELETED


@pytest.mark.parametrize("asked_for", [True, False])
async def test_the_browser_may_be_told_to_forget_everything(
    clock: Clock, *, asked_for: bool
) -> None:
    """Where a setting says so, and only at logout."""
    settings = WireSettings(public_url=ORIGIN, clear_site_data=asked_for)

    async with site(clock, settings) as here:
        logout = await here.ask("POST", "/logout")
        me = await here.ask("GET", "/me")

    told = ['"cache", "cookies", "storage"'] if asked_for else []
    assert (logout.all("clear-site-data"), me.all("clear-site-data")) == (told, [])


async def test_cookies_of_other_settings_go_too(clock: Clock) -> None:
    """A8: seen or not; those of another name only if they hold a token of ours."""
    settings = WireSettings(public_url=ORIGIN, cookies=CookieSettings(prefix="__Secure-"))

    async with site(clock, settings) as here:
        tokens = await here.log_in()
        held = {"refreshToken": tokens.refresh_token, "accessToken": "somebody else's"}
        answer = await here.ask("POST", "/logout", cookies=held)

    names = {line.partition("=")[0] for line in answer.set_cookies}
    assert names == {"__Secure-accessToken", "__Secure-refreshToken", "refreshToken"}
    assert all("Max-Age=0" in line for line in answer.set_cookies)


async def test_no_other_site_can_log_anybody_out(here: Site) -> None:
    """B2: by a form, an image or a script."""
    tokens = await here.log_in()

    answer = await here.ask(
        "POST", "/logout", headers={"sec-fetch-site": "cross-site"}, cookies=cookies_of(tokens)
    )

    assert answer.verdict == (403, "cross_origin")
    assert answer.set_cookies == []
    assert len(await here.living()) == 1
