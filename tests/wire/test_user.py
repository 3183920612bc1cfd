"""What a signed-in user can ask: who they are, their devices, another password."""

from __future__ import annotations

import pytest

from keyturn.core.errors import SessionRevoked, StoreUnavailable
from keyturn.core.model import Claims
from tests.accounts.support import NEW_PASSWORD, PASSWORD
from tests.support import Clock
from tests.wire.support import (
    ACCESS,
    PAGE,
    REFRESH,
    STRANGER,
    Site,
    cookies_of,
)

CHANGE = {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}

ASKED_WITH_ACCESS = [
    ("GET", "/me", None),
    ("GET", "/sessions", None),
    ("DELETE", "/sessions/AAAAAAAAAAAAAAAAAAAAAA", None),
    ("POST", "/logout-others", None),
    ("POST", "/change-password", CHANGE),
    ("PATCH", "/me", {"fullname": "Countess"}),
    ("DELETE", "/me", {"currentPassword": PASSWORD}),
    ("GET", "/me/export", None),
]


# ── who may ask ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("method", "path", "body"), ASKED_WITH_ACCESS)
async def test_without_an_access_token_nobody_is_told_anything(
    here: Site, method: str, path: str, body: object
) -> None:
    """H2, H4: 401 with the remedy to exchange; that alone never means signed out."""
    answer = await here.ask(method, path, body)

    assert answer.verdict == (401, "access_token_missing")
    assert answer.json["remedy"] == "refresh"
    assert answer["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path", "body"), ASKED_WITH_ACCESS)
@pytest.mark.parametrize("token", ["", "junk", "a.b.c", "\xff", "e30.e30.", "Bearer x"])
async def test_a_bad_access_token_is_refused_and_no_cookie_tried_instead(
    here: Site, method: str, path: str, body: object, token: str
) -> None:
    """H2, H4: a bearer wins, also when it is not good."""
    tokens = await here.log_in()

    answer = await here.ask(method, path, body, bearer=token, cookies=cookies_of(tokens))

    assert answer.verdict == (401, "access_token_invalid")
    assert answer["www-authenticate"] == 'Bearer error="invalid_token"'
    assert answer.set_cookies == []
    assert len(await here.living()) == 1


@pytest.mark.parametrize(("method", "path", "body"), ASKED_WITH_ACCESS)
async def test_a_refresh_token_opens_nothing(
    here: Site, method: str, path: str, body: object
) -> None:
    """D14: neither as bearer nor in the other's cookie, and its session lives on."""
    token = (await here.log_in()).refresh_token

    as_bearer = await here.ask(method, path, body, bearer=token)
    as_cookie = await here.ask(method, path, body, cookies={ACCESS: token})

    assert as_bearer.verdict == as_cookie.verdict == (401, "access_token_invalid")
    assert len(await here.living()) == 1


async def test_an_access_token_that_ended_says_so(here: Site, clock: Clock) -> None:
    """The cookies stay: the refresh token may be as good as ever."""
    tokens = await here.log_in()
    clock.sleep(600)

    answer = await here.ask("GET", "/me", cookies=cookies_of(tokens))

    assert answer.verdict == (401, "access_token_expired")
    assert answer.json["remedy"] == "refresh"
    assert answer.set_cookies == []


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_bearer_is_known_in_any_letter_case(here: Site, scheme: str) -> None:
    """RFC 9110, section 11.1."""
    token = (await here.log_in()).access_token

    answer = await here.ask("GET", "/me", headers={"authorization": f"{scheme} {token}"})

    assert answer.status == 200


async def test_another_scheme_is_none_of_ours(here: Site) -> None:
    """A proxy may ask for its own; then the cookie counts."""
    tokens = await here.log_in()
    headers = {"authorization": "Basic QWRhOng="}

    answer = await here.ask("GET", "/me", headers=headers, cookies=cookies_of(tokens))

    assert answer.status == 200


async def test_two_bearers_are_none_that_is_good(here: Site) -> None:
    """Which one a proxy in front has looked at cannot be known."""
    tokens = await here.log_in()
    bearer = (b"authorization", f"Bearer {tokens.access_token}".encode())

    answer = await here.send(here.request("GET", "/me", [bearer, bearer]))

    assert answer.verdict == (401, "access_token_invalid")


async def test_of_several_access_cookies_the_genuine_one_is_taken(here: Site) -> None:
    """A7: and genuine ones of two sessions are a conflict."""
    one, other = await here.log_in(), await here.log_in()

    beside_junk = await here.ask(
        "GET", "/me", headers={"cookie": f"{ACCESS}=junk; {ACCESS}={one.access_token}"}
    )
    two = await here.ask(
        "GET",
        "/me",
        headers={"cookie": f"{ACCESS}={other.access_token}; {ACCESS}={one.access_token}"},
    )

    assert beside_junk.status == 200
    assert two.verdict == (400, "cookie_conflict")


async def test_of_several_access_cookies_of_one_session_the_newest_is_taken(
    here: Site, clock: Clock
) -> None:
    """A7: the older one has ended."""
    older = await here.log_in()
    clock.sleep(700)
    newer = await here.sessions.refresh(older.refresh_token)
    values = [older.access_token, newer.access_token]
    for first, second in (values, reversed(values)):
        header = {"cookie": f"{ACCESS}={first}; {ACCESS}={second}"}

        answer = await here.ask("GET", "/me", headers=header)

        assert answer.status == 200


async def test_an_access_cookie_with_newer_claims_is_newer(here: Site) -> None:
    """A7: of two made within a second, the one of the higher version is in force."""
    older = await here.log_in()
    await here.sessions.set_claims(older.session.user_id, Claims(username="Countess"))
    newer = await here.sessions.refresh(older.refresh_token)
    header = {"cookie": f"{ACCESS}={older.access_token}; {ACCESS}={newer.access_token}"}

    answer = await here.ask("GET", "/me", headers=header)

    assert answer.data["user"]["username"] == "Countess"


# ── GET /me ─────────────────────────────────────────────────────────────────────────────────────


async def test_the_user_is_read_from_the_access_token_alone(here: Site) -> None:
    """Without the store: it may be down."""
    tokens = await here.log_in()
    here.break_down(StoreUnavailable())

    by_cookie = await here.ask("GET", "/me", cookies=cookies_of(tokens))
    by_bearer = await here.ask("GET", "/me", bearer=tokens.access_token)

    assert by_cookie.data == by_bearer.data
    assert by_cookie.data["user"] == {
        "id": tokens.session.user_id,
        "username": "Ada",
        "email": "ada@example.com",
        "fullname": "Ada Lovelace",
    }


async def test_permissions_are_told_where_there_are_any(here: Site) -> None:
    """As the access token carries them."""
    tokens = await here.sessions.create("user-1", Claims(permissions=("read", "write")))

    answer = await here.ask("GET", "/me", bearer=tokens.access_token)

    assert answer.data["user"] == {
        "id": "user-1",
        "username": "",
        "email": "",
        "fullname": "",
        "permissions": ["read", "write"],
    }


# ── devices ─────────────────────────────────────────────────────────────────────────────────────


async def test_devices_are_listed_newest_first(here: Site, clock: Clock) -> None:
    """G4: when begun and where from; last use to the day, and not of the current one."""
    body = {"username": "ada", "password": PASSWORD}
    phone = await here.ask("POST", "/login", body, headers={"user-agent": "Phone/1"})
    clock.sleep(5000)
    await here.ask("POST", "/refresh-token", {"refreshToken": phone.data["refreshToken"]})
    desk = await here.ask("POST", "/login", body, headers={"user-agent": "Desk/2"})

    answer = await here.ask("GET", "/sessions", bearer=desk.data["accessToken"])

    assert answer.data["sessions"] == [
        {
            "sid": here.sessions.verify(desk.data["accessToken"]).sid,
            "createdAt": "2027-01-15T09:23:20Z",
            "userAgent": "Desk/2",
            "address": "192.0.2.1",
            "current": True,
        },
        {
            "sid": here.sessions.read(phone.data["accessToken"]).sid,
            "createdAt": "2027-01-15T08:00:00Z",
            "lastUsed": "2027-01-15T00:00:00Z",
            "userAgent": "Phone/1",
            "address": "192.0.2.1",
            "current": False,
        },
    ]


async def test_the_list_holds_no_token(here: Site) -> None:
    """G4: nothing that could be presented, and nothing that the proof is made of."""
    tokens = await here.log_in()

    answer = await here.ask("GET", "/sessions", bearer=tokens.access_token)

    assert b"ktr_" not in answer.body
    assert b"secret" not in answer.body
    assert b"generation" not in answer.body


async def test_a_user_ends_one_of_their_sessions(here: Site) -> None:
    """G4: the reason is kept; ending it again is no error."""
    mine, other = await here.log_in(), await here.log_in()
    path = f"/sessions/{other.session.sid}"

    first = await here.ask("DELETE", path, headers=PAGE, cookies=cookies_of(mine))
    second = await here.ask("DELETE", path, headers=PAGE, cookies=cookies_of(mine))

    assert (first.status, second.status) == (200, 200)
    with pytest.raises(SessionRevoked) as ended:
        await here.sessions.refresh(other.refresh_token)
    assert ended.value.reason == "revoked_by_user"
    assert await here.living() == [mine.session.sid]


async def test_ending_the_current_session_leaves_the_cookies(here: Site) -> None:
    """C11: only logout deletes cookies."""
    mine = await here.log_in()

    answer = await here.ask(
        "DELETE", f"/sessions/{mine.session.sid}", cookies=cookies_of(mine), headers=PAGE
    )

    assert (answer.status, answer.set_cookies) == (200, [])
    assert await here.living() == []


async def test_another_users_session_is_as_good_as_unknown(here: Site) -> None:
    """G9: 404 for both, in the same words, and it lives on."""
    mine = await here.log_in()
    theirs = await here.sessions.create("somebody-else")

    foreign = await here.ask("DELETE", f"/sessions/{theirs.session.sid}", bearer=mine.access_token)
    unknown = await here.ask("DELETE", "/sessions/AAAAAAAAAAAAAAAAAAAAAA", bearer=mine.access_token)

    assert foreign.verdict == unknown.verdict == (404, "session_unknown")
    assert foreign.body == unknown.body
    assert (await here.sessions.refresh(theirs.refresh_token)).session.sid == theirs.session.sid


@pytest.mark.parametrize(
    "sid", ["x", "", "\0", "../me", "AAAAAAAAAAAAAAAAAAAAA!", "\ud800" * 22, "A" * 5000, "é" * 22]
)
async def test_what_is_no_session_id_names_no_session(here: Site, sid: str) -> None:
    """G9: 404, whatever it looks like."""
    mine = await here.log_in()

    answer = await here.ask("DELETE", f"/sessions/{sid}", bearer=mine.access_token)

    assert answer.status == 404
    assert len(await here.living()) == 1


async def test_logging_out_everywhere_else_keeps_this_session(here: Site) -> None:
    """G4: and says how many were ended."""
    mine = await here.log_in()
    for _ in range(3):
        await here.log_in()

    answer = await here.ask("POST", "/logout-others", headers=PAGE, cookies=cookies_of(mine))

    assert (answer.status, answer.data, answer.set_cookies) == (200, {"ended": 3}, [])
    assert await here.living() == [mine.session.sid]


# ── POST /change-password ───────────────────────────────────────────────────────────────────────


async def test_changing_the_password_ends_all_sessions_and_begins_one(here: Site) -> None:
    """F8, G1: the answer is the new pair, both ways for a program."""
    mine, other = await here.log_in(), await here.log_in()

    answer = await here.ask("POST", "/change-password", CHANGE, bearer=mine.access_token)

    fresh = here.sessions.verify(answer.data["accessToken"])
    assert answer.status == 200
    assert answer.data["user"]["username"] == "Ada"
    assert await here.living() == [fresh.sid]
    assert len(answer.set_cookies) == 2
    for old in (mine, other):
        with pytest.raises(SessionRevoked) as ended:
            await here.sessions.refresh(old.refresh_token)
        assert ended.value.reason == "password_changed"


async def test_a_page_changes_the_password_by_cookie(here: Site) -> None:
    """A2: new cookies, no token in JSON, and the password is the new one."""
    mine = await here.log_in()

    answer = await here.ask(
        "POST", "/change-password", CHANGE, headers=PAGE, cookies=cookies_of(mine)
    )

    assert len(answer.set_cookies) == 2
    assert "accessToken" not in answer.data
    login = {"username": "ada", "password": NEW_PASSWORD}
    assert (await here.ask("POST", "/login", login)).status == 200


@pytest.mark.parametrize("remember", [True, False])
async def test_the_new_session_is_remembered_as_the_old_one_was(
    here: Site, *, remember: bool
) -> None:
    """What the user chose at login stands."""
    mine = await here.log_in(remember=remember)

    answer = await here.ask(
        "POST", "/change-password", CHANGE, headers=PAGE, cookies=cookies_of(mine)
    )

    assert ["Max-Age" in line for line in answer.set_cookies] == [remember] * 2


async def test_a_wrong_current_password_is_no_reason_to_sign_anybody_out(here: Site) -> None:
    """F8, G7: 403 rather than 401, which would send clients to exchange and try again."""
    mine = await here.log_in()
    wrong = CHANGE | {"currentPassword": "wrong-wrong"}

    answer = await here.ask("POST", "/change-password", wrong, bearer=mine.access_token)

    assert answer.verdict == (403, "current_password_wrong")
    assert answer.json["remedy"] == "none"
    assert await here.living() == [mine.session.sid]


async def test_guessing_the_current_password_is_throttled(here: Site) -> None:
    """F6: like guessing at login."""
    mine = await here.log_in()
    wrong = CHANGE | {"currentPassword": "wrong-wrong"}
    for _ in range(5):
        await here.ask("POST", "/change-password", wrong, bearer=mine.access_token)

    answer = await here.ask("POST", "/change-password", CHANGE, bearer=mine.access_token)

    assert answer.verdict == (429, "too_many_attempts")
    assert answer["retry-after"] == "1"


async def test_a_poor_new_password_changes_nothing(here: Site) -> None:
    """F1, F3."""
    mine = await here.log_in()
    poor = CHANGE | {"newPassword": "short"}

    answer = await here.ask("POST", "/change-password", poor, bearer=mine.access_token)

    assert answer.verdict == (400, "password_refused")
    assert await here.living() == [mine.session.sid]


async def test_a_user_of_the_application_has_no_password_here(here: Site) -> None:
    """Sessions may be of users that accounts know nothing of."""
    theirs = await here.sessions.create("user-of-the-application")

    answer = await here.ask("POST", "/change-password", CHANGE, bearer=theirs.access_token)

    assert answer.verdict == (404, "user_unknown")


async def test_a_bearer_that_changes_the_password_leaves_cookies_of_another_session(
    here: Site,
) -> None:
    """A bearer wins over a cookie; a page would be left with nothing, so it is refused first."""
    mine, other = await here.log_in(), await here.sessions.create("somebody-else")
    asked = {"bearer": mine.access_token, "cookies": {REFRESH: other.refresh_token}}

    page = await here.ask("POST", "/change-password", CHANGE, headers=PAGE, **asked)  # type: ignore[arg-type]
    program = await here.ask("POST", "/change-password", CHANGE, **asked)  # type: ignore[arg-type]

    assert page.verdict == (400, "cookie_conflict")
    assert (program.status, program.set_cookies) == (200, [])
    assert "refreshToken" in program.data


async def test_a_cookie_that_changes_the_password_takes_the_place_of_all_others(here: Site) -> None:
    """Only a body or bearer leaves cookies of another session alone."""
    mine, other = await here.log_in(), await here.sessions.create("somebody-else")
    mixed = {ACCESS: mine.access_token, REFRESH: other.refresh_token}

    answer = await here.ask("POST", "/change-password", CHANGE, headers=PAGE, cookies=mixed)

    assert (answer.status, len(answer.set_cookies)) == (200, 2)


# ── pages of other sites ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "path", "body"), [asked for asked in ASKED_WITH_ACCESS if asked[0] != "GET"]
)
@pytest.mark.parametrize(
    "headers", [{"sec-fetch-site": "cross-site"}, {"origin": STRANGER}, {"origin": "null"}]
)
async def test_no_other_site_changes_anything(
    here: Site, method: str, path: str, body: object, headers: dict[str, str]
) -> None:
    """B2: with the user's cookies, or their bearer."""
    mine, other = await here.log_in(), await here.log_in()
    path = path.replace("AAAAAAAAAAAAAAAAAAAAAA", other.session.sid)

    by_cookie = await here.ask(method, path, body, headers=headers, cookies=cookies_of(mine))
    by_bearer = await here.ask(method, path, body, headers=headers, bearer=mine.access_token)

    assert by_cookie.verdict == by_bearer.verdict == (403, "cross_origin")
    assert len(await here.living()) == 2
