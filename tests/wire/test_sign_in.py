"""Registering and logging in."""

from __future__ import annotations

from typing import Any
from unittest.mock import AsyncMock

import pytest

from keyturn.core.errors import SessionRevoked, StoreUnavailable
from keyturn.core.model import Policy
from keyturn.wire.settings import CookieSettings, WireSettings
from tests.accounts.support import NEW_PASSWORD, PASSWORD
from tests.support import Clock
from tests.wire.support import (
    ACCESS,
    ORIGIN,
    PAGE,
    REFRESH,
    STRANGER,
    Answer,
    Jar,
    Site,
    cookies_of,
    site,
)

NEWCOMER = {
    "username": "Grace",
    "email": "grace@example.com",
    "fullname": "Grace Hopper",
    "password": "quixotic-otters",
}


# ── register ────────────────────────────────────────────────────────────────────────────────────


async def test_registering_answers_with_the_user(here: Site) -> None:
    """201, and nobody is signed in by it."""
    answer = await here.ask("POST", "/register", NEWCOMER)

    user = answer.data["user"]
    assert answer.status == 201
    assert user == {
        "id": user["id"],
        "username": "Grace",
        "email": "grace@example.com",
        "fullname": "Grace Hopper",
    }
    assert len(user["id"]) == 22
    assert answer.set_cookies == []


@pytest.mark.parametrize("password", ["short", "password1234", "gracehopper"])
async def test_a_poor_password_is_refused(here: Site, password: str) -> None:
    """F1, F3: 400, and the detail says why."""
    answer = await here.ask("POST", "/register", NEWCOMER | {"password": password})

    assert answer.verdict == (400, "password_refused")
    assert answer.json["detail"] == answer.json["message"] != ""


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("username", "ab"),
        ("username", "a@b"),
        ("username", "nul\0nul"),
        ("username", "bidi\u202e"),
        ("email", "nobody"),
        ("email", "a@b\r\nBcc: c@d"),
        ("fullname", ""),
        ("fullname", "x" * 129),
    ],
)
async def test_a_name_that_cannot_be_taken_is_told_of(here: Site, field: str, value: str) -> None:
    """400, naming the field."""
    answer = await here.ask("POST", "/register", NEWCOMER | {field: value})

    assert answer.verdict == (400, "invalid_field")
    assert answer.json["field"] == field


@pytest.mark.parametrize("same", [{"username": "ADA"}, {"email": "Ada@Example.com"}])
async def test_a_taken_name_is_a_conflict(here: Site, same: dict[str, str]) -> None:
    """409, whether it is the username or the email."""
    answer = await here.ask("POST", "/register", NEWCOMER | same)

    assert answer.verdict == (409, "identifier_taken")


async def test_a_closed_registration_adds_nobody(clock: Clock) -> None:
    """403, before anything is looked at."""
    settings = WireSettings(public_url=ORIGIN, registration="closed")

    async with site(clock, settings) as here:
        answer = await here.ask("POST", "/register", NEWCOMER)
        login = await here.ask("POST", "/login", {"username": "grace", "password": PASSWORD})

    assert answer.verdict == (403, "registration_closed")
    assert login.verdict == (401, "invalid_credentials")


@pytest.mark.parametrize("field", ["permissions", "id", "disabled_at", "disabledAt"])
async def test_a_stranger_cannot_give_themselves_anything(here: Site, field: str) -> None:
    """H7: a field that is not asked for is refused, not bound."""
    answer = await here.ask("POST", "/register", NEWCOMER | {field: ["admin"]})

    assert answer.verdict == (400, "invalid_field")
    assert answer.json["field"] == field


# ── log in ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", [{"username": "ada"}, {"email": "ADA@example.com"}])
async def test_a_program_is_given_the_tokens_both_ways(
    here: Site, clock: Clock, name: dict[str, str]
) -> None:
    """C14: in JSON, with their lifetimes, and in cookies."""
    answer = await here.ask("POST", "/login", name | {"password": PASSWORD})

    data = answer.data
    assert answer.status == 200
    assert data["user"]["username"] == "Ada"
    assert data["expiresIn"] == 600
    assert 300 <= data["refreshAt"] - clock() <= 540
    assert data["refreshExpiresIn"] == 30 * 86_400
    assert [line.partition(";")[0] for line in answer.set_cookies] == [
        f"{ACCESS}={data['accessToken']}",
        f"{REFRESH}={data['refreshToken']}",
    ]


@pytest.mark.parametrize("headers", [PAGE, {"origin": ORIGIN}, {"sec-fetch-site": "none"}])
async def test_a_page_is_given_cookies_only(here: Site, headers: dict[str, str]) -> None:
    """A2: no script ever holds a token; it is in no body and no other header."""
    answer = await here.ask(
        "POST", "/login", {"username": "ada", "password": PASSWORD}, headers=headers
    )

    tokens = [line.partition(";")[0].partition("=")[2] for line in answer.set_cookies]
    elsewhere = [value for name, value in answer.headers if name != b"set-cookie"]
    assert len(tokens) == 2
    assert all(token.encode() not in answer.body for token in tokens)
    assert all(token.encode() not in value for token in tokens for value in elsewhere)
    assert answer.data.keys() == {"user", "expiresIn", "refreshAt", "refreshExpiresIn"}


@pytest.mark.parametrize(
    ("mode", "headers", "told"),
    [("always", PAGE, True), ("always", {}, True), ("never", PAGE, False), ("never", {}, False)],
)
async def test_who_sees_tokens_can_be_overridden(
    clock: Clock, mode: Any, headers: dict[str, str], *, told: bool
) -> None:
    """For clients that the automatic answer takes for what they are not."""
    async with site(clock, WireSettings(public_url=ORIGIN, tokens_in_body=mode)) as here:
        body = {"username": "ada", "password": PASSWORD}
        answer = await here.ask("POST", "/login", body, headers=headers)

    assert ("refreshToken" in answer.data, "accessToken" in answer.data) == (told, told)


@pytest.mark.parametrize(
    "credentials",
    [
        {"username": "ada", "password": "wrong-wrong"},
        {"username": "nobody", "password": PASSWORD},
        {"email": "nobody@example.com", "password": PASSWORD},
        {"username": "\0", "password": PASSWORD},
        {"username": "ada", "password": PASSWORD + "\0"},
        {"username": "ada", "password": PASSWORD.upper()},
        {"username": "ada", "password": ""},
    ],
)
async def test_wrong_credentials_are_refused_alike(here: Site, credentials: dict[str, str]) -> None:
    """F4, F7, H2: the same answer for all, with a challenge and without a cookie."""
    answer = await here.ask("POST", "/login", credentials)

    expected = await here.ask("POST", "/login", {"username": "x", "password": "y"})
    assert answer.verdict == (401, "invalid_credentials")
    assert answer.json["message"] == "Invalid user credentials"
    assert answer["www-authenticate"] == "Bearer"
    assert (answer.body, answer.headers) == (expected.body, expected.headers)


async def test_a_disabled_user_is_refused_like_an_unknown_one(here: Site) -> None:
    """F7: nobody learns that there is such a user."""
    user = await here.accounts.find_user("ada")
    await here.accounts.disable(user.id)

    answer = await here.ask("POST", "/login", {"username": "ada", "password": PASSWORD})

    expected = await here.ask("POST", "/login", {"username": "x", "password": "y"})
    assert (answer.status, answer.body, answer.headers) == (401, expected.body, expected.headers)


async def test_too_many_failures_are_told_to_wait(here: Site) -> None:
    """F6: 429, and when to try again."""
    wrong = {"username": "ada", "password": "wrong-wrong"}
    for _ in range(5):
        await here.ask("POST", "/login", wrong)

    answer = await here.ask("POST", "/login", wrong | {"password": PASSWORD})

    assert answer.verdict == (429, "too_many_attempts")
    assert answer["retry-after"] == "1"
    assert answer.json["remedy"] == "retry"


@pytest.mark.parametrize(
    ("names", "detail"),
    [
        ({}, "username or email must be given"),
        (
            {"username": "ada", "email": "ada@example.com"},
            "username or email must be given, not both",
        ),
    ],
)
async def test_a_login_names_one_user(here: Site, names: dict[str, str], detail: str) -> None:
    """By username or by email."""
    answer = await here.ask("POST", "/login", {**names, "password": PASSWORD})

    assert answer.verdict == (400, "invalid_field")
    assert answer.json["detail"] == detail


async def test_not_to_be_remembered_gives_cookies_that_end_with_the_browser(here: Site) -> None:
    """Then and at every exchange afterwards: it is kept in the row."""
    body = {"username": "ada", "password": PASSWORD, "remember": False}
    login = await here.ask("POST", "/login", body)
    exchange = await here.ask(
        "POST", "/refresh-token", {"refreshToken": login.data["refreshToken"]}
    )

    lines = login.set_cookies + exchange.set_cookies
    assert len(lines) == 4
    assert not any("Max-Age" in line or "Expires" in line for line in lines)


async def test_to_be_remembered_gives_cookies_that_last_as_long_as_the_tokens(
    clock: Clock,
) -> None:
    """A5: and never longer than browsers keep a promise."""
    for_years = Policy(idle_timeout=800 * 86_400, absolute_lifetime=900 * 86_400)

    async with site(clock, policy=for_years) as here:
        answer = await here.ask("POST", "/login", {"username": "ada", "password": PASSWORD})

    access, refresh = answer.set_cookies
    assert access.endswith("; Max-Age=600")
    assert refresh.endswith("; Max-Age=34560000")


async def test_logging_in_ends_the_session_that_the_browser_had(here: Site) -> None:
    """G1: a new session each time, the older one is replaced; nothing presented is adopted."""
    older = await here.log_in()
    body = {"username": "ada", "password": PASSWORD}

    answer = await here.ask("POST", "/login", body, cookies={REFRESH: older.refresh_token})

    with pytest.raises(SessionRevoked) as ended:
        await here.sessions.refresh(older.refresh_token)
    assert ended.value.reason == "replaced"
    assert await here.living() == [here.sessions.verify(answer.data["accessToken"]).sid]


async def test_a_login_that_fails_leaves_the_older_session(here: Site) -> None:
    """C11: and its cookies."""
    older = await here.log_in()
    body = {"username": "ada", "password": "wrong-wrong"}

    answer = await here.ask("POST", "/login", body, cookies=cookies_of(older))

    assert answer.set_cookies == []
    assert await here.living() == [older.session.sid]


async def test_logging_in_ends_every_session_that_the_cookies_name(here: Site) -> None:
    """A7: two good cookies are no conflict here; both sessions make way."""
    one, other = await here.log_in(), await here.log_in()
    header = {"cookie": f"{REFRESH}={one.refresh_token}; {REFRESH}={other.refresh_token}"}

    answer = await here.ask(
        "POST", "/login", {"username": "ada", "password": PASSWORD}, headers=header
    )

    assert await here.living() == [here.sessions.verify(answer.data["accessToken"]).sid]


async def test_logging_in_is_a_way_out_of_too_many_cookies(here: Site) -> None:
    """A7: it is what the refusal of them advises; the first eight are judged."""
    older = await here.log_in()
    values = [older.refresh_token, *range(30)]
    header = {"cookie": "; ".join(f"{REFRESH}={value}" for value in values)}

    answer = await here.ask(
        "POST", "/login", {"username": "ada", "password": PASSWORD}, headers=header
    )

    assert (answer.status, len(answer.set_cookies)) == (200, 2)
    assert await here.living() == [here.sessions.verify(answer.data["accessToken"]).sid]


async def test_a_further_older_session_that_cannot_be_ended_does_not_undo_the_login(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C12: the new session is there; to lose its tokens would help nobody."""
    one, other = await here.log_in(), await here.log_in()
    header = {"cookie": f"{REFRESH}={one.refresh_token}; {REFRESH}={other.refresh_token}"}
    monkeypatch.setattr(here.sessions, "logout", AsyncMock(side_effect=StoreUnavailable))

    answer = await here.ask(
        "POST", "/login", {"username": "ada", "password": PASSWORD}, headers=header
    )

    assert (answer.status, len(answer.set_cookies)) == (200, 2)
    assert here.sessions.verify(answer.data["accessToken"]).sid in await here.living()


@pytest.mark.parametrize("path", ["/login", "/register"])
async def test_no_other_site_can_sign_a_browser_in(here: Site, path: str) -> None:
    """B4: not as somebody else either; and nobody is added."""
    body = NEWCOMER if path == "/register" else {"username": "ada", "password": PASSWORD}

    answer = await here.ask("POST", path, body, headers={"origin": STRANGER})

    assert answer.verdict == (403, "cross_origin")
    assert answer.set_cookies == []
    assert await here.living() == []


# ── cookies of other settings ───────────────────────────────────────────────────────────────────

NARROW = WireSettings(
    public_url=ORIGIN,
    cookies=CookieSettings(prefix="__Secure-", domain="example.com", refresh_path="/refresh-token"),
)
WIDE = WireSettings(
    public_url=ORIGIN, cookies=CookieSettings(prefix="__Secure-", domain="example.com")
)
OWN = WireSettings(public_url=ORIGIN, cookies=CookieSettings(prefix="__Secure-"))
BARE = WireSettings(public_url=ORIGIN, cookies=CookieSettings(prefix=""))
DEFAULT = WireSettings(public_url=ORIGIN)


@pytest.mark.parametrize("before", [NARROW, WIDE, OWN, BARE, DEFAULT])
@pytest.mark.parametrize("after", [WIDE, OWN, BARE, DEFAULT])
async def test_logging_in_leaves_one_pair_of_cookies(
    clock: Clock, before: WireSettings, after: WireSettings
) -> None:
    """A8: what earlier settings left is deleted where it was set, so that nothing conflicts."""
    jar = Jar()
    body = {"username": "ada", "password": PASSWORD}
    async with site(clock, before) as here:
        jar.take(await here.ask("POST", "/login", body))
        here.endpoints = type(here.endpoints)(here.sessions, here.accounts, after)
        sent = {"cookie": jar.cookie_header("/login")}

        jar.take(await here.ask("POST", "/login", body, headers=sent))

        sent = {"cookie": jar.cookie_header("/refresh-token")}
        assert (await here.ask("POST", "/refresh-token", headers=sent)).status == 200
    prefix = after.cookies.effective_prefix
    ours = [
        name for name, _, _ in jar.kept if name in {f"{prefix}accessToken", f"{prefix}refreshToken"}
    ]
    assert len(ours) == 2


@pytest.mark.parametrize("path", ["/refresh-token", "/change-password"])
@pytest.mark.parametrize("before", [NARROW, WIDE, OWN])
@pytest.mark.parametrize("after", [NARROW, WIDE, OWN])
async def test_another_path_or_domain_of_the_cookies_signs_nobody_out(
    clock: Clock, before: WireSettings, after: WireSettings, path: str
) -> None:
    """A7, A8: whatever sets the refresh cookie again takes away what past settings left."""
    jar = Jar()

    async def ask(path: str, body: object = None) -> Answer:
        clock.sleep(400)
        sent = {"cookie": jar.cookie_header(path)}
        answer = await here.ask("POST", path, body, headers=sent)
        jar.take(answer)
        return answer

    async with site(clock, before) as here:
        await ask("/login", {"username": "ada", "password": PASSWORD})
        here.endpoints = type(here.endpoints)(here.sessions, here.accounts, after)

        first = await ask(
            path,
            {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}
            if path == "/change-password"
            else None,
        )

        assert first.status == 200
        assert len(jar.kept) == 2
        assert [(await ask("/refresh-token")).status for _ in range(3)] == [200] * 3


async def test_cookies_of_the_same_name_as_ours_are_left_to_whose_they_are(here: Site) -> None:
    """Another application on the host may call its own ``refreshToken``."""
    foreign = {"accessToken": "theirs", "refreshToken": "theirs"}

    answer = await here.ask(
        "POST", "/login", {"username": "ada", "password": PASSWORD}, cookies=foreign
    )

    assert len(answer.set_cookies) == 2
