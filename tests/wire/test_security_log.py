"""What the security log tells, and what it never does."""

from __future__ import annotations

import logging

import pytest

from keyturn.wire.security_log import record
from tests.accounts.support import NEW_PASSWORD, PASSWORD
from tests.support import Clock
from tests.wire.support import REFRESH, Site, cookies_of

pytestmark = pytest.mark.usefixtures("at_info")


@pytest.fixture
def at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "keyturn.security")


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line.getMessage() for line in caplog.records if line.name == "keyturn.security"]


async def test_the_story_of_a_user_is_told(
    here: Site, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """H3: a line each: who, which session, from where."""
    login = {"username": "ada", "password": PASSWORD}
    change = {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}
    first = await here.ask("POST", "/login", login)
    second = await here.ask("POST", "/login", login)
    me = first.data["user"]["id"]
    bearer = first.data["accessToken"]
    mine, other = (here.sessions.read(a.data["accessToken"]).sid for a in (first, second))
    await here.ask("DELETE", f"/sessions/{other}", bearer=bearer)
    await here.ask("POST", "/logout-others", bearer=bearer)
    wrong = change | {"currentPassword": "wrong-wrong"}
    await here.ask("POST", "/change-password", wrong, bearer=bearer)
    last = await here.ask("POST", "/change-password", change, bearer=bearer)
    new = here.sessions.read(last.data["accessToken"]).sid
    await here.ask("POST", "/logout", bearer=last.data["accessToken"])

    assert told(caplog) == [
        f"login_succeeded user={me} sid={mine} address=192.0.2.1",
        f"login_succeeded user={me} sid={other} address=192.0.2.1",
        f"session_revoked user={me} sid={other} address=192.0.2.1",
        f"other_sessions_revoked user={me} sid={mine} address=192.0.2.1",
        f"password_change_failed code=invalid_credentials user={me} sid={mine} address=192.0.2.1",
        f"password_changed user={me} sid={new} address=192.0.2.1",
        f"logout sid={new} address=192.0.2.1",
    ]


@pytest.mark.parametrize(("level", "told_of"), [(logging.DEBUG, True), (logging.INFO, False)])
async def test_an_exchange_is_told_to_who_looks_closely(
    here: Site, caplog: pytest.LogCaptureFixture, level: int, *, told_of: bool
) -> None:
    """H3: a busy server has thousands a second, so only at level debug."""
    login = await here.ask("POST", "/login", {"username": "ada", "password": PASSWORD})
    sid = here.sessions.read(login.data["accessToken"]).sid
    caplog.set_level(level, "keyturn.security")

    answer = await here.ask("POST", "/refresh-token", {"refreshToken": login.data["refreshToken"]})

    assert answer.status == 200
    assert (f"refreshed sid={sid} address=192.0.2.1" in told(caplog)) is told_of


async def test_a_registration_is_told(here: Site, caplog: pytest.LogCaptureFixture) -> None:
    """H3: by the id of the user, who may change their names."""
    body = {
        "username": "Grace",
        "email": "grace@example.com",
        "fullname": "Grace Hopper",
        "password": PASSWORD,
    }

    answer = await here.ask("POST", "/register", body)

    assert told(caplog) == [f"registered user={answer.data['user']['id']} address=192.0.2.1"]


async def test_the_story_of_an_account_is_told(
    here: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """H3: what users do with theirs, and what they were refused; by the id, not by names."""
    tokens = await here.log_in()
    me, sid = tokens.session.user_id, tokens.session.sid
    wrong = {"currentPassword": "wrong-wrong"}
    await here.ask("GET", "/me/export", bearer=tokens.access_token)
    await here.ask("PATCH", "/me", wrong | {"email": "c@a.example"}, bearer=tokens.access_token)
    await here.ask("DELETE", "/me", wrong, bearer=tokens.access_token)
    await here.ask("PATCH", "/me", {"fullname": "Countess"}, bearer=tokens.access_token)
    access = (await here.sessions.refresh(tokens.refresh_token)).access_token
    await here.ask("DELETE", "/me", {"currentPassword": PASSWORD}, bearer=access)

    assert told(caplog) == [
        f"data_exported user={me} sid={sid} address=192.0.2.1",
        f"profile_change_failed code=invalid_credentials user={me} sid={sid} address=192.0.2.1",
        f"account_deletion_failed code=invalid_credentials user={me} sid={sid} address=192.0.2.1",
        f"profile_changed user={me} sid={sid} address=192.0.2.1",
        f"account_deleted user={me} sid={sid} address=192.0.2.1",
    ]


async def test_resets_are_told_without_their_tokens(
    here: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """H3: those that were refused too."""
    me = (await here.accounts.find_user("ada")).id
    token = await here.accounts.make_reset_token(me)
    for _ in range(2):
        body = {"token": token, "newPassword": NEW_PASSWORD}
        await here.ask("POST", "/reset-password", body)

    assert told(caplog) == [
        f"password_reset user={me} address=192.0.2.1",
        "password_reset_failed code=reset_token_invalid address=192.0.2.1",
    ]
    assert token not in caplog.text


async def test_failures_are_told_without_what_was_typed(
    here: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """H3: attempts at one account can be told from those at others, but the name may have been a
    password.
    """
    typed = [{"username": "ada"}, {"username": "ADA"}, {"username": "grace"}]
    for name in typed:
        await here.ask("POST", "/login", name | {"password": "wrong-wrong"})

    lines = told(caplog)
    names = [line.split("login=")[1].split()[0] for line in lines]
    assert all(line.startswith("login_failed code=invalid_credentials") for line in lines)
    assert all(line.endswith("address=192.0.2.1") for line in lines)
    assert names[0] == names[1] != names[2]
    assert "ada" not in " ".join(names)


async def test_refusals_of_an_exchange_are_told(
    here: Site, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """H3: a kept copy by a name of its own; the session as far as the token names one."""
    tokens = await here.log_in()
    latest = tokens
    for _ in range(2):
        clock.sleep(31)
        latest = await here.sessions.refresh(latest.refresh_token)
    clock.sleep(31)
    for token in (tokens.refresh_token, latest.refresh_token, "junk"):
        await here.ask("POST", "/refresh-token", cookies={REFRESH: token})

    sid = tokens.session.sid
    assert told(caplog) == [
        f"refresh_reused code=refresh_token_reused sid={sid} address=192.0.2.1",
        f"refresh_refused code=session_revoked sid={sid} address=192.0.2.1",
        "refresh_refused code=refresh_token_invalid address=192.0.2.1",
    ]


async def test_a_logout_that_ended_nothing_is_not_told(
    here: Site, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """H3: neither a repeated one, nor one by an access token too old to name its session."""
    first, second = await here.log_in(), await here.log_in()
    for _ in range(2):
        await here.ask("POST", "/logout", {"refreshToken": first.refresh_token})
    clock.sleep(here.sessions.cutoff_ttl)

    answer = await here.ask("POST", "/logout", bearer=second.access_token)

    assert answer.status == 200
    assert await here.living() == [second.session.sid]
    assert told(caplog) == [f"logout sid={first.session.sid} address=192.0.2.1"]


async def test_a_session_is_told_to_be_revoked_once(
    here: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """H3: whoever asks again changes nothing, and the log can be believed."""
    tokens, other = await here.log_in(), await here.log_in()
    path = f"/sessions/{other.session.sid}"
    answers = [await here.ask("DELETE", path, bearer=tokens.access_token) for _ in range(2)]

    assert [answer.status for answer in answers] == [200, 200]
    assert [line.partition(" ")[0] for line in told(caplog)] == ["session_revoked"]


async def test_no_token_and_no_password_is_ever_logged(
    here: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """H3: whatever is asked, and wherever it was put."""
    caplog.set_level(logging.DEBUG)
    tokens = await here.log_in()
    for token in (tokens.access_token, tokens.refresh_token):
        await here.ask("POST", "/login", {"username": token, "password": PASSWORD})
        await here.ask("POST", "/refresh-token", {"refreshToken": token})
        await here.ask("DELETE", f"/sessions/{token}", bearer=tokens.access_token)
        await here.ask("GET", f"/{token}", bearer=token)
        await here.ask("POST", "/logout", headers={"x-forwarded-for": token})
    await here.ask("POST", "/logout", cookies=cookies_of(tokens))

    assert told(caplog)
    for secret in (tokens.access_token, tokens.refresh_token, PASSWORD):
        assert secret not in caplog.text


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("a\nlogin_succeeded", "a\\nlogin_succeeded"),
        ("a\r\x1b[31m\0\x85", "a\\r\\x1b[31m\\x00\\x85"),
        ("a sid=b", "a\\x20sid=b"),
        ("\u2028\u202e\ud800", "\\u2028\\u202e\\ud800"),
        ("back\\slash", "back\\\\slash"),
    ],
)
def test_nothing_breaks_out_of_its_line(
    value: str, word: str, caplog: pytest.LogCaptureFixture
) -> None:
    """H3: control characters are encoded, and one value is one word."""
    record("event", user=value, sid=None)

    assert told(caplog) == [f"event user={word}"]
