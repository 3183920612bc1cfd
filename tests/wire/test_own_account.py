"""What users change of their account, what they are told of it, and its end; and lost passwords."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from keyturn.core.errors import SessionRevoked
from keyturn.core.model import DAY, Event
from keyturn.wire.settings import WireSettings
from tests.accounts.support import NEW_PASSWORD, PASSWORD
from tests.support import Clock
from tests.wire.support import ACCESS, ORIGIN, PAGE, REFRESH, Answer, Jar, Site, cookies_of, site

EMAIL = "countess@example.com"
RENAME = {"email": EMAIL, "fullname": "Ada, Countess", "currentPassword": PASSWORD}


# ── PATCH /me ───────────────────────────────────────────────────────────────────────────────────


async def test_a_page_changes_email_and_full_name(here: Site) -> None:
    """G7: with the current password beside the email; no cookie is touched."""
    mine = await here.log_in()

    answer = await here.ask("PATCH", "/me", RENAME, headers=PAGE, cookies=cookies_of(mine))

    assert (answer.status, answer.set_cookies) == (200, [])
    assert answer.data["user"] == {
        "id": mine.session.user_id,
        "username": "Ada",
        "email": EMAIL,
        "fullname": "Ada, Countess",
    }
    login = await here.ask("POST", "/login", {"email": EMAIL, "password": PASSWORD})
    assert login.data["user"] == answer.data["user"]


async def test_all_living_sessions_tell_the_new_names(here: Site) -> None:
    """The access tokens at hand are void; an exchange brings the new names, and nobody signs in."""
    mine, other = await here.log_in(), await here.log_in()
    await here.ask("PATCH", "/me", {"fullname": "Ada, Countess"}, bearer=mine.access_token)

    for tokens in (mine, other):
        old = await here.ask("GET", "/me", bearer=tokens.access_token)
        renewed = await here.ask("POST", "/refresh-token", {"refreshToken": tokens.refresh_token})
        new = await here.ask("GET", "/me", bearer=renewed.data["accessToken"])
        assert (*old.verdict, old.json["remedy"]) == (401, "access_token_revoked", "refresh")
        assert new.data["user"]["fullname"] == "Ada, Countess"
    assert set(await here.living()) == {mine.session.sid, other.session.sid}


@pytest.mark.parametrize(
    ("body", "field", "detail"),
    [
        ({}, "email", "email or fullname must be given"),
        ({"currentPassword": PASSWORD}, "email", "email or fullname must be given"),
        ({"email": EMAIL}, "currentPassword", "currentPassword must be given with email"),
        (
            {"email": "", "currentPassword": PASSWORD},
            "email",
            "email must have 3 to 254 characters",
        ),
        ({"fullname": ""}, "fullname", "fullname must have 1 to 128 characters"),
        ({"email": None, "fullname": "X"}, "email", "email must be text"),
        ({"username": "countess"}, "username", "username is not a field of this request"),
        ({"permissions": ["all"]}, "permissions", "permissions is not a field of this request"),
    ],
)
async def test_what_cannot_be_changed_is_said(
    here: Site, body: dict[str, Any], field: str, detail: str
) -> None:
    """H7: and nothing is."""
    mine = await here.log_in()

    answer = await here.ask("PATCH", "/me", body, bearer=mine.access_token)

    assert answer.verdict == (400, "invalid_field")
    assert (answer.json["field"], answer.json["detail"]) == (field, detail)
    assert (await here.ask("GET", "/me", bearer=mine.access_token)).status == 200


async def test_an_email_of_somebody_else_is_a_conflict(here: Site) -> None:
    """As at registration."""
    mine = await here.log_in()
    await here.accounts.register("grace", EMAIL, "Grace", PASSWORD)

    answer = await here.ask("PATCH", "/me", RENAME, bearer=mine.access_token)

    assert answer.verdict == (409, "identifier_taken")
    assert (await here.accounts.find_user("ada")).fullname == "Ada Lovelace"


# ── DELETE /me ──────────────────────────────────────────────────────────────────────────────────

DELETION = {"currentPassword": PASSWORD}


async def test_deleting_oneself_ends_every_session_and_deletes_the_cookies(here: Site) -> None:
    """G6: the user is gone, and the browser holds nothing of them."""
    mine, other = await here.log_in(), await here.log_in()
    jar = Jar()
    jar.kept = {(name, "", "/"): value for name, value in cookies_of(mine).items()}

    answer = await here.ask("DELETE", "/me", DELETION, headers=PAGE, cookies=cookies_of(mine))
    jar.take(answer)

    assert (answer.status, answer.data) == (200, {})
    assert jar.kept == {}
    for tokens in (mine, other):
        with pytest.raises(SessionRevoked) as ended:
            await here.sessions.refresh(tokens.refresh_token)
        assert ended.value.reason == "user_deleted"
    login = await here.ask("POST", "/login", {"username": "ada", "password": PASSWORD})
    assert login.verdict == (401, "invalid_credentials")


async def test_the_browser_forgets_more_where_that_is_wanted(clock: Clock) -> None:
    """As at logout."""
    settings = WireSettings(public_url=ORIGIN, clear_site_data=True)
    async with site(clock, settings) as here:
        mine = await here.log_in()
        answer = await here.ask("DELETE", "/me", DELETION, headers=PAGE, cookies=cookies_of(mine))

    assert answer["clear-site-data"] == '"cache", "cookies", "storage"'


async def test_a_bearer_that_deletes_leaves_cookies_of_another_user(here: Site) -> None:
    """As at logout: they are of whoever else uses this browser."""
    mine, other = await here.log_in(), await here.sessions.create("somebody-else")

    answer = await here.ask(
        "DELETE", "/me", DELETION, bearer=mine.access_token, cookies=cookies_of(other)
    )

    assert (answer.status, answer.set_cookies) == (200, [])


async def test_what_a_deleted_user_holds_opens_nothing(here: Site) -> None:
    """G6: with the access token that was good a moment ago."""
    mine = await here.log_in()
    await here.ask("DELETE", "/me", DELETION, bearer=mine.access_token)

    for method, path, body in (
        ("GET", "/me", None),
        ("GET", "/me/export", None),
        ("PATCH", "/me", RENAME),
        ("DELETE", "/me", DELETION),
    ):
        answer = await here.ask(method, path, body, bearer=mine.access_token)
        assert answer.verdict == (401, "access_token_revoked")


# ── the current password ────────────────────────────────────────────────────────────────────────

ASKED_AGAIN = [("PATCH", RENAME), ("DELETE", DELETION)]


@pytest.mark.parametrize(("method", "body"), ASKED_AGAIN)
async def test_a_wrong_current_password_is_no_reason_to_sign_anybody_out(
    here: Site, method: str, body: dict[str, str]
) -> None:
    """G7: 403 rather than 401, and nothing is done."""
    mine = await here.log_in()
    wrong = body | {"currentPassword": "wrong-wrong"}

    answer = await here.ask(method, "/me", wrong, headers=PAGE, cookies=cookies_of(mine))

    assert answer.verdict == (403, "current_password_wrong")
    assert answer.set_cookies == []
    assert await here.living() == [mine.session.sid]


@pytest.mark.parametrize(("method", "body"), ASKED_AGAIN)
async def test_guessing_the_current_password_is_throttled(
    here: Site, method: str, body: dict[str, str]
) -> None:
    """F6: like guessing when the password is changed."""
    mine = await here.log_in()
    wrong = body | {"currentPassword": "wrong-wrong"}
    for _ in range(5):
        await here.ask(method, "/me", wrong, bearer=mine.access_token)

    answer = await here.ask(method, "/me", body, bearer=mine.access_token)

    assert answer.verdict == (429, "too_many_attempts")
    assert answer["retry-after"] == "1"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("PATCH", "/me", RENAME), ("DELETE", "/me", DELETION), ("GET", "/me/export", None)],
)
async def test_a_user_of_the_application_has_no_account_here(
    here: Site, method: str, path: str, body: object
) -> None:
    """Sessions may be of users that accounts know nothing of."""
    theirs = await here.sessions.create("user-of-the-application")

    answer = await here.ask(method, path, body, bearer=theirs.access_token)

    assert answer.verdict == (404, "user_unknown")
    assert (await here.sessions.refresh(theirs.refresh_token)).session.sid == theirs.session.sid


# ── GET /me/export ──────────────────────────────────────────────────────────────────────────────


async def test_users_are_told_what_is_known_of_them(here: Site, clock: Clock) -> None:
    """The account, the living sessions, and what happened, newest first."""
    login = {"username": "ada", "password": PASSWORD}
    gone = await here.ask("POST", "/login", login, headers={"user-agent": "Phone/1"})
    clock.sleep(100)
    await here.ask("POST", "/logout", {"refreshToken": gone.data["refreshToken"]})
    mine = await here.ask("POST", "/login", login, headers={"user-agent": "Desk/2"})
    sid, gone_sid = (here.sessions.read(a.data["accessToken"]).sid for a in (mine, gone))

    answer = await here.ask("GET", "/me/export", bearer=mine.data["accessToken"])

    device = {"userAgent": "Phone/1", "address": "192.0.2.1"}
    assert answer.data == {
        "account": {
            "id": mine.data["user"]["id"],
            "username": "Ada",
            "email": "ada@example.com",
            "fullname": "Ada Lovelace",
            "createdAt": "2027-01-15T08:00:00Z",
        },
        "sessions": [
            {
                "sid": sid,
                "createdAt": "2027-01-15T08:01:40Z",
                "userAgent": "Desk/2",
                "address": "192.0.2.1",
                "current": True,
            }
        ],
        "events": [
            {
                "at": "2027-01-15T08:01:40Z",
                "kind": "signed_in",
                "sid": sid,
                "userAgent": "Desk/2",
                "address": "192.0.2.1",
            },
            {
                "at": "2027-01-15T08:01:40Z",
                "kind": "ended",
                "sid": gone_sid,
                "reason": "logged_out",
            },
            {"at": "2027-01-15T08:00:00Z", "kind": "signed_in", "sid": gone_sid} | device,
        ],
    }


async def test_the_export_holds_no_token_and_no_hash(here: Site) -> None:
    """C2: nothing that could be presented, guessed at, or made into a token."""
    tokens = await here.log_in()
    reset = await here.accounts.make_reset_token(tokens.session.user_id)

    answer = await here.ask("GET", "/me/export", bearer=tokens.access_token)

    assert tokens.session.secret is not None
    for word in (b"ktr_", b"secret", b"hash", b"generation", PASSWORD.encode().hex().encode()):
        assert word not in answer.body
    assert reset.encode() not in answer.body
    assert json.loads(answer.body)["message"] == "What is known of you"


async def test_the_export_does_not_tell_when_to_follow(here: Site, clock: Clock) -> None:
    """A thief who holds a copy must not learn when the user exchanges: what is told of exchanges is
    the day, when it is over, and nothing of the session that asks.
    """
    mine, other = await here.log_in(), await here.log_in()
    for _ in range(2):  # the second with the parent: the first answer was lost
        clock.sleep(4000)
        for tokens in (mine, other):
            await here.sessions.refresh(tokens.refresh_token)

    async def recoveries_told() -> list[tuple[str, str]]:
        access = (await here.sessions.refresh(mine.refresh_token)).access_token
        answer = await here.ask("GET", "/me/export", bearer=access)
        events = [event for event in answer.data["events"] if event["kind"] == "recovered"]
        return [(event["sid"], event["at"]) for event in events]

    today = await recoveries_told()
    clock.sleep(DAY)
    tomorrow = await recoveries_told()

    assert today == []
    assert tomorrow == [(other.session.sid, "2027-01-15T00:00:00Z")]


async def test_of_exports_that_a_user_asks_for_at_once_one_is_made(
    here: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H6: it is the most that anybody can ask of the store; the others are told when to come."""
    tokens = await here.log_in()
    read = here.sessions.events

    async def read_later(user_id: str, *, limit: int) -> Sequence[Event]:
        await asyncio.sleep(0)
        return await read(user_id, limit=limit)

    monkeypatch.setattr(here.sessions, "events", read_later)

    async def export() -> Answer:
        return await here.ask("GET", "/me/export", bearer=tokens.access_token)

    first, *others = await asyncio.gather(*(export() for _ in range(4)))

    assert [other.verdict for other in others] == [(429, "already_under_way")] * 3
    assert {(other["retry-after"], other.json["remedy"]) for other in others} == {("1", "retry")}
    assert [first.status, (await export()).status] == [200, 200]


# ── POST /reset-password ────────────────────────────────────────────────────────────────────────


async def reset(here: Site, token: str, new: str = NEW_PASSWORD, **more: Any) -> Answer:
    return await here.ask("POST", "/reset-password", {"token": token, "newPassword": new}, **more)


async def test_a_reset_ends_every_session_and_begins_none(here: Site) -> None:
    """C7: whoever has the link says what the password is, and signs in with it."""
    mine = await here.log_in()
    token = await here.accounts.make_reset_token(mine.session.user_id)

    answer = await reset(here, token, headers=PAGE)

    assert (answer.status, answer.set_cookies) == (200, [])
    assert answer.data == {
        "user": {
            "id": mine.session.user_id,
            "username": "Ada",
            "email": "ada@example.com",
            "fullname": "Ada Lovelace",
        }
    }
    assert await here.living() == []
    login = await here.ask("POST", "/login", {"username": "ada", "password": NEW_PASSWORD})
    assert login.status == 200


async def test_unknown_used_and_over_are_one_answer(here: Site, clock: Clock) -> None:
    """F7: to the byte, headers too."""
    user = await here.accounts.find_user("ada")
    used = await here.accounts.make_reset_token(user.id)
    await reset(here, used)
    over = await here.accounts.make_reset_token(user.id)
    clock.sleep(3600)

    answers = [
        await reset(here, token) for token in ("A" * 43, used, over, "", "ktr_x", "x" * 9999)
    ]

    assert {answer.verdict for answer in answers} == {(400, "reset_token_invalid")}
    assert len({answer.body for answer in answers}) == 1
    assert all(answer.headers == answers[0].headers for answer in answers)
    assert answers[0].json["remedy"] == "none"


async def test_a_poor_new_password_leaves_the_token_good(here: Site) -> None:
    """F1, F3: another one can be tried."""
    token = await here.accounts.make_reset_token((await here.accounts.find_user("ada")).id)

    poor = await reset(here, token, "short")
    good = await reset(here, token)

    assert poor.verdict == (400, "password_refused")
    assert good.status == 200


async def test_tokens_that_are_no_good_slow_down_their_network(here: Site) -> None:
    """F6: from the fiftieth on, as failed logins do."""
    for _ in range(50):
        assert (await reset(here, "A" * 43)).verdict == (400, "reset_token_invalid")

    answer = await reset(here, "A" * 43)
    elsewhere = await reset(here, "A" * 43, client="192.0.2.2")

    assert answer.verdict == (429, "too_many_attempts")
    assert answer["retry-after"] == "1"
    assert elsewhere.verdict == (400, "reset_token_invalid")


async def test_other_tokens_reset_nothing(here: Site) -> None:
    """D14: neither of a pair, in the body or beside it."""
    mine = await here.log_in()
    for token in (mine.access_token, mine.refresh_token):
        answer = await reset(here, token, cookies={ACCESS: token, REFRESH: token}, bearer=token)
        assert answer.verdict == (400, "reset_token_invalid")
    assert await here.living() == [mine.session.sid]


async def test_a_token_in_the_query_is_none(here: Site) -> None:
    """H7: there it would be in every log on the way."""
    token = await here.accounts.make_reset_token((await here.accounts.find_user("ada")).id)

    answer = await here.ask(
        "POST", "/reset-password", {"newPassword": NEW_PASSWORD}, query=f"token={token}"
    )

    assert answer.verdict == (400, "invalid_field")
    assert answer.json["detail"] == "token is missing"
