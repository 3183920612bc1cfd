"""``POST /refresh-token``: which token is taken, what is answered, and where it goes."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from unittest.mock import Mock

import pytest

from keyturn.core import refresh_token
from keyturn.core.errors import StoreUnavailable
from keyturn.core.model import EndReason
from keyturn.core.server_secret import ServerSecrets
from keyturn.wire.settings import WireSettings
from tests.support import OTHER_SECRET, Clock
from tests.wire.support import (
    ACCESS,
    ORIGIN,
    PAGE,
    REFRESH,
    TRUSTED,
    Answer,
    Site,
    cookies_of,
    site,
)

PAST_WINDOW = 31
DAY = 86_400


async def exchange(here: Site, token: str) -> Answer:
    return await here.ask("POST", "/refresh-token", cookies={REFRESH: token})


# ── what is handed out ──────────────────────────────────────────────────────────────────────────


async def test_a_program_exchanges_a_token_in_the_body(here: Site, clock: Clock) -> None:
    """C14: a new pair with its lifetimes, in JSON and in cookies."""
    tokens = await here.log_in()
    clock.sleep(PAST_WINDOW)

    answer = await here.ask("POST", "/refresh-token", {"refreshToken": tokens.refresh_token})

    data = answer.data
    assert answer.status == 200
    assert data["refreshToken"] != tokens.refresh_token
    assert here.sessions.verify(data["accessToken"]).sid == tokens.session.sid
    assert data["expiresIn"] == 600
    assert 300 <= data["refreshAt"] - clock() <= 540
    assert data["refreshExpiresIn"] == 30 * DAY
    assert [line.partition(";")[0] for line in answer.set_cookies] == [
        f"{ACCESS}={data['accessToken']}",
        f"{REFRESH}={data['refreshToken']}",
    ]


async def test_a_page_exchanges_its_cookie_for_cookies(here: Site, clock: Clock) -> None:
    """A2: a POST without a body and without a type; nothing of a token in the answer's body."""
    tokens = await here.log_in()
    clock.sleep(PAST_WINDOW)

    answer = await here.ask("POST", "/refresh-token", headers=PAGE, cookies=cookies_of(tokens))

    assert answer.status == 200
    assert answer.data.keys() == {"expiresIn", "refreshAt", "refreshExpiresIn"}
    assert len(answer.set_cookies) == 2


async def test_an_echo_does_not_set_the_refresh_cookie_again(here: Site) -> None:
    """The browser may hold a newer one by the time the answer arrives."""
    tokens = await here.log_in()
    turned = await here.sessions.refresh(tokens.refresh_token)

    answer = await exchange(here, turned.refresh_token)

    assert answer.data["refreshToken"] == turned.refresh_token
    assert [line.partition("=")[0] for line in answer.set_cookies] == [ACCESS]


async def test_a_repeat_is_given_the_same_successor(here: Site, clock: Clock) -> None:
    """A lost answer costs nothing."""
    tokens = await here.log_in()
    clock.sleep(PAST_WINDOW)

    first = await exchange(here, tokens.refresh_token)
    second = await exchange(here, tokens.refresh_token)

    assert first.data["refreshToken"] == second.data["refreshToken"]


# ── what is refused ─────────────────────────────────────────────────────────────────────────────


async def test_without_a_token_there_is_nothing_to_exchange(here: Site) -> None:
    """H2: 401 with a challenge that names no error, as RFC 6750 wants it."""
    answer = await here.ask("POST", "/refresh-token")

    assert answer.verdict == (401, "refresh_token_missing")
    assert answer.json["message"] == "Unauthorized request"
    assert answer.json["remedy"] == "login"
    assert answer["www-authenticate"] == "Bearer"


async def forged(here: Site) -> str:
    tokens = await here.log_in()
    session = tokens.session
    assert session.secret is not None
    return refresh_token.mint(ServerSecrets([OTHER_SECRET]), session.sid, session.secret, 0)


async def access_token(here: Site) -> str:
    return (await here.log_in()).access_token


async def cut_short(here: Site) -> str:
    return (await here.log_in()).refresh_token[:-1]


async def made_longer(here: Site) -> str:
    return (await here.log_in()).refresh_token + "A"


async def with_another_ending(here: Site) -> str:
    """53 bytes leave four bits of the last character unused."""
    token = (await here.log_in()).refresh_token
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = token[:-1] + alphabet[alphabet.index(token[-1]) + 1]
    assert urlsafe_b64decode(other[4:] + "=") == urlsafe_b64decode(token[4:] + "=")
    return other


async def quoted(here: Site) -> str:
    return f'"{(await here.log_in()).refresh_token}"'


async def odd(here: Site) -> str:
    return (await here.log_in()).refresh_token[:-2] + "\xff\x00"


@pytest.mark.parametrize(
    "token_of",
    [forged, access_token, cut_short, made_longer, with_another_ending, quoted, odd],
)
@pytest.mark.parametrize("in_body", [True, False])
async def test_what_we_did_not_issue_is_invalid_and_changes_nothing(
    here: Site, token_of: object, *, in_body: bool
) -> None:
    """C10, C11, D14, H2: no cookie is touched, and the session lives on."""
    token = await token_of(here)  # type: ignore[operator]

    answer = await (
        here.ask("POST", "/refresh-token", {"refreshToken": token})
        if in_body
        else exchange(here, token)
    )

    assert answer.verdict == (401, "refresh_token_invalid")
    assert answer.json["message"] == "Invalid refresh token"
    assert answer["www-authenticate"] == 'Bearer error="invalid_token"'
    assert answer.set_cookies == []
    assert len(await here.living()) == 1


async def test_a_kept_copy_ends_the_session_and_leaves_the_cookies(
    here: Site, clock: Clock
) -> None:
    """C3, C11: 401 with the remedy; afterwards the session is over for everybody."""
    tokens = await here.log_in()
    latest = tokens.refresh_token
    for _ in range(2):
        clock.sleep(PAST_WINDOW)
        latest = (await here.sessions.refresh(latest)).refresh_token
    clock.sleep(PAST_WINDOW)

    reused = await exchange(here, tokens.refresh_token)
    afterwards = await exchange(here, latest)

    assert reused.verdict == (401, "refresh_token_reused")
    assert reused.json["message"] == "Refresh token is expired or used"
    assert afterwards.verdict == (401, "session_revoked")
    assert afterwards.json["reason"] == "reuse_detected"
    assert {reused.json["remedy"], afterwards.json["remedy"]} == {"login"}
    assert reused.set_cookies == afterwards.set_cookies == []


async def test_a_late_one_is_told_to_retry(here: Site, clock: Clock) -> None:
    """C11: 409 and no cookie touched: by then the browser holds the right one."""
    tokens = await here.log_in()
    clock.sleep(PAST_WINDOW)
    turned = await here.sessions.refresh(tokens.refresh_token)
    clock.sleep(PAST_WINDOW)
    await here.sessions.refresh(turned.refresh_token)

    answer = await exchange(here, tokens.refresh_token)

    assert answer.verdict == (409, "refresh_superseded")
    assert answer.json["remedy"] == "retry"
    assert answer.set_cookies == []


@pytest.mark.parametrize(
    "reason", [r for r in EndReason if r not in {EndReason.IDLE, EndReason.ABSOLUTE}]
)
async def test_an_ended_session_says_why(here: Site, reason: EndReason) -> None:
    """401 ``session_revoked`` with the reason; the remedy is to log in."""
    tokens = await here.log_in()
    await here.sessions.revoke(tokens.session.sid, reason=reason)

    answer = await exchange(here, tokens.refresh_token)

    assert answer.verdict == (401, "session_revoked")
    assert (answer.json["reason"], answer.json["remedy"]) == (reason.value, "login")
    assert answer.set_cookies == []


async def test_a_session_past_its_time_says_so(here: Site, clock: Clock) -> None:
    """G2: 401 ``session_expired``."""
    tokens = await here.log_in()
    clock.sleep(30 * DAY)

    answer = await exchange(here, tokens.refresh_token)

    assert answer.verdict == (401, "session_expired")
    assert answer.json["reason"] == "idle"


@pytest.mark.parametrize("fault", [StoreUnavailable(), RuntimeError("disk"), OSError(5, "io")])
async def test_a_failing_store_is_our_fault(here: Site, fault: Exception) -> None:
    """C12: 503 and when to retry, never 401; the cookies stay, and nothing was lost."""
    tokens = await here.log_in()
    here.break_down(fault)

    answer = await exchange(here, tokens.refresh_token)

    here.break_down(None)
    assert answer.verdict == (503, "unavailable")
    assert (answer["retry-after"], answer.json["remedy"]) == ("1", "retry")
    assert answer.set_cookies == []
    assert (await exchange(here, tokens.refresh_token)).status == 200


# ── which token is taken ────────────────────────────────────────────────────────────────────────


async def test_a_bearer_is_not_exchanged(here: Site) -> None:
    """D14: clients send their access token so, with every request."""
    tokens = await here.log_in()

    by_cookie = await here.ask(
        "POST",
        "/refresh-token",
        cookies={REFRESH: tokens.refresh_token},
        bearer=tokens.access_token,
    )
    by_bearer = await here.ask("POST", "/refresh-token", bearer=tokens.refresh_token)

    assert by_cookie.status == 200
    assert by_bearer.verdict == (401, "refresh_token_missing")


async def test_the_query_is_not_looked_at(here: Site) -> None:
    """H7: neither a token nor a method is taken from there."""
    tokens = await here.log_in()
    query = f"refreshToken={tokens.refresh_token}&_method=GET"

    answer = await here.ask("POST", "/refresh-token", query=query)

    assert answer.verdict == (401, "refresh_token_missing")


async def test_a_body_wins_over_a_cookie(here: Site, clock: Clock) -> None:
    """And the cookies of the other session are left alone."""
    mine, other = await here.log_in(), await here.log_in()
    clock.sleep(PAST_WINDOW)

    answer = await here.ask(
        "POST",
        "/refresh-token",
        {"refreshToken": mine.refresh_token},
        cookies={REFRESH: other.refresh_token},
    )

    assert answer.status == 200
    assert here.sessions.verify(answer.data["accessToken"]).sid == mine.session.sid
    assert answer.set_cookies == []


@pytest.mark.parametrize("kind", [ACCESS, REFRESH])
async def test_either_cookie_can_name_the_other_session(here: Site, kind: str) -> None:
    """An access cookie of another session is not overwritten either."""
    mine, other = await here.log_in(), await here.log_in()

    answer = await here.ask(
        "POST",
        "/refresh-token",
        {"refreshToken": mine.refresh_token},
        cookies={kind: cookies_of(other)[kind]},
    )

    assert (answer.status, answer.set_cookies) == (200, [])


async def test_a_body_and_cookies_of_one_session_set_the_cookies(here: Site, clock: Clock) -> None:
    """An older generation names the same session."""
    tokens = await here.log_in()
    clock.sleep(PAST_WINDOW)
    turned = await here.sessions.refresh(tokens.refresh_token)
    clock.sleep(PAST_WINDOW)

    answer = await here.ask(
        "POST",
        "/refresh-token",
        {"refreshToken": turned.refresh_token},
        cookies=cookies_of(tokens) | {"other": "1"},
    )

    assert len(answer.set_cookies) == 2


async def test_an_answer_that_could_go_nowhere_is_refused_first(here: Site, clock: Clock) -> None:
    """A page is given no token in JSON; where its cookies are another session's, the exchange is
    not begun.
    """
    mine, other = await here.log_in(), await here.log_in()
    clock.sleep(PAST_WINDOW)

    answer = await here.ask(
        "POST",
        "/refresh-token",
        {"refreshToken": mine.refresh_token},
        cookies=cookies_of(other),
        headers=PAGE,
    )

    assert answer.verdict == (400, "cookie_conflict")
    rows = await here.sessions.list(mine.session.user_id)
    assert [row.generation for row in rows] == [0, 0]


@pytest.mark.parametrize("junk", ["junk", "", '"quoted"', "ktr_" + "A" * 71])
async def test_of_several_cookies_the_genuine_one_is_taken(here: Site, junk: str) -> None:
    """A7: a stranger on the same domain cannot push ours aside."""
    token = (await here.log_in()).refresh_token
    for header in (f"{REFRESH}={junk}; {REFRESH}={token}", f"{REFRESH}={token}; {REFRESH}={junk}"):
        answer = await here.ask("POST", "/refresh-token", headers={"cookie": header})

        assert answer.status == 200


@pytest.mark.parametrize(
    ("name", "ask"), [(ACCESS, ("GET", "/me")), (REFRESH, ("POST", "/refresh-token"))]
)
async def test_more_cookies_than_a_browser_sends_are_refused_before_any_is_judged(
    here: Site, monkeypatch: pytest.MonkeyPatch, name: str, ask: tuple[str, str]
) -> None:
    """A7, D3: to judge each takes a signature. Eight of one name may be left by past settings."""
    genuine = cookies_of(await here.log_in())[name]
    eight = "; ".join(f"{name}={value}" for value in [*range(7), genuine])

    few = await here.ask(*ask, headers={"cookie": f"{eight}; {name}=0"})
    monkeypatch.setattr(here.sessions, "read", read := Mock())
    monkeypatch.setattr(refresh_token, "parse", parse := Mock())
    many = await here.ask(*ask, headers={"cookie": f"{eight}; {name}=8"})

    assert few.status == 200
    assert many.verdict == (400, "cookie_conflict")
    assert not read.called
    assert not parse.called


async def test_genuine_cookies_of_two_sessions_are_a_conflict(here: Site) -> None:
    """A7: 400, to be solved by logging in; no session is changed and no cookie touched."""
    one, other = await here.log_in(), await here.log_in()
    header = {"cookie": f"{REFRESH}={one.refresh_token}; {REFRESH}={other.refresh_token}"}

    answer = await here.ask("POST", "/refresh-token", headers=header)

    assert answer.verdict == (400, "cookie_conflict")
    assert answer.json["remedy"] == "login"
    assert answer.set_cookies == []
    assert len(await here.living()) == 2


async def test_of_several_cookies_of_one_session_the_newest_is_taken(
    here: Site, clock: Clock
) -> None:
    """A7: in whatever order they come; the older one would be reuse by now."""
    oldest = (await here.log_in()).refresh_token
    newest = oldest
    for _ in range(3):
        clock.sleep(PAST_WINDOW)
        newest = (await here.sessions.refresh(newest)).refresh_token
    clock.sleep(PAST_WINDOW)
    for first, second in ((oldest, newest), (newest, oldest)):
        header = {"cookie": f"{REFRESH}={first}; {REFRESH}=junk; {REFRESH}={second}"}

        answer = await here.ask("POST", "/refresh-token", headers=header)

        assert answer.status == 200


async def test_several_cookies_and_none_genuine_is_invalid(here: Site) -> None:
    """As one alone would be."""
    header = {"cookie": f"{REFRESH}=a; {REFRESH}=b"}

    answer = await here.ask("POST", "/refresh-token", headers=header)

    assert answer.verdict == (401, "refresh_token_invalid")


# ── who may ask ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("headers", [{"origin": TRUSTED}, {"sec-fetch-site": "same-site"}])
async def test_an_exchange_is_for_our_own_pages_only(clock: Clock, headers: dict[str, str]) -> None:
    """B5: even a trusted origin's page is refused, and its preflight, unless settings say so."""
    settings = WireSettings(public_url=ORIGIN, trusted_origins=(TRUSTED,))
    preflight = {"origin": TRUSTED, "access-control-request-method": "POST"}

    async with site(clock, settings) as here:
        tokens = await here.log_in()
        answer = await here.ask(
            "POST", "/refresh-token", headers=headers, cookies=cookies_of(tokens)
        )
        asked_first = await here.ask("OPTIONS", "/refresh-token", headers=preflight)

    assert answer.verdict == asked_first.verdict == (403, "cross_origin")
    assert answer.all("access-control-allow-origin") == []
    assert asked_first.all("access-control-allow-origin") == []


async def test_trusted_origins_may_be_let_to_exchange(clock: Clock) -> None:
    """B5: where a setting says so."""
    settings = WireSettings(
        public_url=ORIGIN, trusted_origins=(TRUSTED,), refresh_from_trusted_origins=True
    )

    async with site(clock, settings) as here:
        tokens = await here.log_in()
        answer = await here.ask(
            "POST", "/refresh-token", headers={"origin": TRUSTED}, cookies=cookies_of(tokens)
        )

    assert answer.status == 200
    assert answer["access-control-allow-origin"] == TRUSTED
