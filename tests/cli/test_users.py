"""``keyturn users``, with the server up or down."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import subprocess
import termios
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from keyturn.accounts import InvalidCredentials, User, open_users
from keyturn.core.errors import KeyturnError, SessionRevoked
from keyturn.core.model import Device
from keyturn.server.assembly import Parts
from tests.commands import PASSWORD, Command
from tests.server.processes import (
    KEYTURN,
    PATIENCE,
    clean_environment,
    is_asleep,
    register,
    run_keyturn,
    serving,
    sign_in,
    until,
)


def test_a_user_who_was_added_is_listed_and_signs_in(keyturn: Command) -> None:
    """What was given is kept as it was given."""
    [row] = keyturn.rows("users", "list")
    tokens = keyturn.sign_in("ADA@example.com")

    assert row["username"] == "ada"
    assert row["email"] == "ada@example.com"
    assert row["fullname"] == "Ada L"
    assert row["disabledAt"] is None
    assert tokens.session.user_id == row["id"]


def test_permissions_are_given_with_the_user(keyturn: Command) -> None:
    """They travel in the access tokens."""
    keyturn.told(
        *("users", "add", "bob", "bob@example.com", "Bob", "--password-stdin"),
        *("--permission", "read", "--permission", "write"),
        typed=PASSWORD,
    )

    assert keyturn.sign_in("bob").session.claims.permissions == ("read", "write")


def test_all_users_are_listed_however_many(keyturn: Command) -> None:
    """More than the store gives in one piece, in the order of their names."""

    async def add_many(parts: Parts) -> None:
        for number in range(250):
            name = f"user{number:03}"
            user = User(
                id=name, username=name, email=f"{name}@a.example", fullname="", created_at=0
            )
            await open_users(parts.store).add(user, "no hash")

    keyturn.meanwhile(add_many)
    names = [row["username"] for row in keyturn.rows("users", "list")]

    assert names == ["ada", *(f"user{number:03}" for number in range(250))]


def test_a_disabled_user_is_out_until_enabled(keyturn: Command) -> None:
    """G6: their sessions are over, and they cannot sign in; afterwards they can again."""
    tokens = keyturn.sign_in()
    keyturn.told("users", "disable", "ada")
    disabled = keyturn.rows("users", "list")[0]["disabledAt"]
    with pytest.raises(SessionRevoked):
        keyturn.meanwhile(lambda parts: parts.sessions.refresh(tokens.refresh_token))
    keyturn.told("users", "enable", "ada@example.com")

    assert disabled.endswith("Z")
    assert keyturn.sign_in().session.user_id == tokens.session.user_id


def test_passwd_ends_all_sessions_and_the_new_password_counts(keyturn: Command) -> None:
    """C7, G5: as an administrator, without knowing the old one."""
    tokens = keyturn.sign_in()
    keyturn.told("users", "passwd", "ada", "--password-stdin", typed="another long sentence\n")
    with pytest.raises(SessionRevoked):
        keyturn.meanwhile(lambda parts: parts.sessions.refresh(tokens.refresh_token))

    keyturn.meanwhile(lambda parts: parts.accounts.authenticate("ada", "another long sentence"))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("add", "ada", "a2@a.example", "A", "--password-stdin"), "already exists"),
        (("add", "a@b", "a2@a.example", "A", "--password-stdin"), "username "),
        (("add", "bob", "nowhere", "A", "--password-stdin"), "email "),
        (("disable", "bob"), "there is no user 'bob'; `keyturn users list` shows all"),
        (("enable", "bob"), "there is no user 'bob'"),
        (("passwd", "bob", "--password-stdin"), "there is no user 'bob'"),
        (("show", "bob"), "there is no user 'bob'"),
        (("show", "A" * 22), "there is no user 'AAAAAAAAAAAAAAAAAAAAAA'"),
        (("show", "\udcff"), "there is no user '\\udcff'"),
        (("delete", "bob", "--yes"), "there is no user 'bob'"),
        (("unlock", "bob"), "there is no user 'bob'"),
        (("rename", "bob", "bobby"), "there is no user 'bob'"),
        (("rename", "ada", "a@b"), "username must not contain @"),
        (("set-email", "bob", "b@a.example"), "there is no user 'bob'"),
        (("set-email", "ada", "nowhere"), "email must be of the form name@domain"),
        (("reset-link", "bob"), "there is no user 'bob'"),
    ],
)
def test_what_cannot_be_done_with_a_user_is_said(
    keyturn: Command, arguments: tuple[str, ...], sentence: str
) -> None:
    """Exit code 1 and a sentence."""
    result = keyturn("users", *arguments, typed=PASSWORD)

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert sentence in result.stderr


@pytest.mark.parametrize("password", ["short", "password123", "keyturn-keyturn", ""])
def test_a_password_that_will_not_do_is_refused(keyturn: Command, password: str) -> None:
    """F1, F3: the rules of the server hold for the command, which does not repeat it."""
    result = keyturn("users", "passwd", "ada", "--password-stdin", typed=password)

    assert result.exit_code == 1
    assert "Password " in result.stderr
    assert not password or password not in result.stderr


def test_only_the_line_end_is_no_part_of_a_password(keyturn: Command) -> None:
    """F4: spaces are, and a second line is nothing."""
    keyturn.told("users", "passwd", "ada", "--password-stdin", typed="  two spaces  \r\nmore\n")

    keyturn.meanwhile(lambda parts: parts.accounts.authenticate("ada", "  two spaces  "))


def test_a_password_that_is_not_text_is_refused(keyturn: Command) -> None:
    """Bytes of another encoding would never be typed again."""
    result = keyturn("users", "passwd", "ada", "--password-stdin", typed=b"\xff" * 12)

    assert result.exit_code == 2
    assert "is not UTF-8" in result.stderr


def test_without_a_terminal_there_is_no_question(keyturn: Command) -> None:
    """A script that forgot --password-stdin is told so instead of hanging."""
    result = keyturn("users", "passwd", "ada", typed=PASSWORD)

    assert result.exit_code == 2
    assert "use --password-stdin" in result.stderr


def test_at_a_terminal_the_password_is_asked_for_twice_and_not_shown(keyturn: Command) -> None:
    """F10: it is in no argument, and on no screen."""
    terminal, end = pty.openpty()
    asking = subprocess.Popen(
        [*KEYTURN, "users", "passwd", "ada"],
        stdin=end,
        stdout=end,
        stderr=end,
        env=clean_environment(keyturn.folder),
        start_new_session=True,
    )
    os.close(end)
    screen = ""
    for question in ("Password", "Repeat"):
        while question not in screen or not screen.endswith(": "):
            screen += os.read(terminal, 1024).decode()
        os.write(terminal, b"another long sentence\n")
    code = asking.wait(PATIENCE)
    screen += os.read(terminal, 1024).decode()
    os.close(terminal)

    assert code == 0
    assert "another" not in screen
    keyturn.meanwhile(lambda parts: parts.accounts.authenticate("ada", "another long sentence"))


def test_at_a_terminal_ctrl_c_ends_the_question_at_once(keyturn: Command) -> None:
    """It has to be pressed once."""
    terminal, end = pty.openpty()
    asking = subprocess.Popen(
        [*KEYTURN, "users", "passwd", "ada"],
        stdin=end,
        stdout=end,
        stderr=end,
        env=clean_environment(keyturn.folder),
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  no other thread runs
    )
    os.close(end)
    screen = ""
    try:
        while "Password: " not in screen:
            screen += os.read(terminal, 1024).decode()
        # A signal between Python's last look for one and its read would wait for the next key.
        until(lambda: is_asleep(asking.pid))
        os.write(terminal, b"\x03")
        code = asking.wait(PATIENCE)
        while "Aborted!" not in screen:
            screen += os.read(terminal, 1024).decode()  # fails when there is no more
    finally:
        asking.kill()
        asking.wait()
        os.close(terminal)

    assert code == 1
    assert screen.count("Aborted!") == 1


# ── show ────────────────────────────────────────────────────────────────────────────────────────


def shown(keyturn: Command, name: str = "ada") -> dict[str, object]:
    row: dict[str, object] = json.loads(keyturn.told("users", "show", name, "--json"))
    return row


def test_what_is_known_of_a_user_is_shown(keyturn: Command) -> None:
    """Who they are, when they came last, and how many devices they are signed in on."""
    before = shown(keyturn)
    tokens = [keyturn.sign_in() for _ in range(2)]
    after = shown(keyturn)

    [listed] = keyturn.rows("users", "list")
    assert before == listed | {
        "lastSignIn": None,
        "livingSessions": 0,
        "attemptsBlockedUntil": None,
    }
    assert after["livingSessions"] == 2
    assert re.fullmatch("20.*Z", str(after["lastSignIn"]))
    assert tokens[0].session.secret is not None
    assert "secret" not in json.dumps(after)


@pytest.mark.parametrize("name", ["ada", "ADA@example.com", "id"])
def test_a_user_is_named_by_username_email_or_id(keyturn: Command, name: str) -> None:
    """An id is what logs tell."""
    [listed] = keyturn.rows("users", "list")

    assert shown(keyturn, listed["id"] if name == "id" else name)["username"] == "ada"


def test_nobody_hides_behind_a_username_that_is_an_id(keyturn: Command) -> None:
    """Who disables the user of an id that a log tells disables no other."""
    [ada] = keyturn.rows("users", "list")
    keyturn.told(
        *("users", "add", ada["id"], "eve@a.example", "Eve", "--password-stdin"), typed=PASSWORD
    )

    assert shown(keyturn, ada["id"])["username"] == "ada"
    assert shown(keyturn, "eve@a.example")["username"] == ada["id"]


def test_each_thing_is_on_a_line_for_people(keyturn: Command) -> None:
    """With its name before it."""
    told = keyturn.told("users", "show", "ada")

    assert "\nusername              ada\n" in told
    assert told.endswith("livingSessions        0\nattemptsBlockedUntil\n")


# ── unlock ──────────────────────────────────────────────────────────────────────────────────────


async def guess(parts: Parts) -> None:
    """So often that they are blocked for minutes, as far as the clock is concerned."""
    with pytest.raises(InvalidCredentials):
        await parts.accounts.authenticate("ada", "a-wrong-password")
    keys = parts.accounts._keys_of(await parts.accounts.find_user("ada"))
    now = parts.sessions.now()
    for _ in range(20):  # those that are refused name the time for the next
        now = max(now, await parts.accounts._users.settle(keys, success=False, now=now))


def test_a_block_is_shown_and_unlocked(keyturn: Command) -> None:
    """F6: the owner may try again at once."""
    keyturn.meanwhile(guess)
    blocked = shown(keyturn)["attemptsBlockedUntil"]
    told = keyturn.told("users", "unlock", "ada")

    assert re.fullmatch("20.*Z", str(blocked))
    assert told == "Forgot the failed attempts of ada.\n"
    assert shown(keyturn)["attemptsBlockedUntil"] is None
    assert keyturn.sign_in().session.claims.username == "ada"


# ── rename and set-email ────────────────────────────────────────────────────────────────────────


def test_a_renamed_user_signs_in_by_the_new_names(keyturn: Command) -> None:
    """And living sessions tell them from their next exchange."""
    tokens = keyturn.sign_in()
    renamed = keyturn.told("users", "rename", "ada", "Countess")
    moved = keyturn.told("users", "set-email", "countess", "c@a.example")

    assert renamed == "Renamed ada to Countess.\n"
    assert moved == "Changed the email of Countess to c@a.example.\n"
    claims = keyturn.meanwhile(
        lambda parts: parts.sessions.refresh(tokens.refresh_token)
    ).session.claims
    assert (claims.username, claims.email) == ("Countess", "c@a.example")
    assert keyturn.sign_in("c@a.example").session.user_id == tokens.session.user_id


@pytest.mark.parametrize("command", [("rename", "ada", "bob"), ("set-email", "ada", "b@a.example")])
def test_a_name_that_is_taken_is_refused(keyturn: Command, command: tuple[str, ...]) -> None:
    """Exit code 1, and nothing is changed."""
    keyturn.told("users", "add", "bob", "b@a.example", "Bob", "--password-stdin", typed=PASSWORD)
    result = keyturn("users", *command)

    assert result.exit_code == 1
    assert result.stderr == "Error: User with email or username already exists\n"
    assert shown(keyturn)["email"] == "ada@example.com"


# ── delete ──────────────────────────────────────────────────────────────────────────────────────


def test_a_deleted_user_is_gone(keyturn: Command) -> None:
    """G6, G8: sessions are over; of events the id is kept, and it is not used again."""
    tokens = keyturn.sign_in(address="192.0.2.1")
    told = keyturn.told("users", "delete", "ada", "--yes")
    keyturn.told(
        "users", "add", "ada", "ada@example.com", "Ada L", "--password-stdin", typed=PASSWORD
    )

    async def look(parts: Parts) -> None:
        with pytest.raises(SessionRevoked) as ended:
            await parts.sessions.refresh(tokens.refresh_token)
        assert ended.value.reason == "user_deleted"
        events = await parts.sessions.events(tokens.session.user_id, limit=9)
        assert [event.kind for event in events] == ["ended", "signed_in"]
        assert {event.device for event in events} == {Device()}

    assert told == "Deleted ada; all their sessions have ended.\n"
    keyturn.meanwhile(look)
    assert keyturn.sign_in().session.user_id != tokens.session.user_id


def test_without_a_terminal_nobody_is_deleted_unasked(keyturn: Command) -> None:
    """A script that forgot --yes is told so."""
    result = keyturn("users", "delete", "ada", typed="y\n")

    assert result.exit_code == 2
    assert "there is no terminal to ask at: use --yes" in result.stderr
    assert len(keyturn.rows("users", "list")) == 1


@pytest.mark.parametrize(("typed", "code", "left"), [("y", 0, 0), ("n", 1, 1), ("", 1, 1)])
def test_at_a_terminal_a_deletion_is_asked_for(
    keyturn: Command, typed: str, code: int, left: int
) -> None:
    """Who says nothing says no; and what programs read stays apart from the question."""
    terminal, end = pty.openpty()
    asking = subprocess.Popen(
        [*KEYTURN, "users", "delete", "ada", "--json"],
        stdin=end,
        stdout=subprocess.PIPE,
        stderr=end,
        env=clean_environment(keyturn.folder),
        start_new_session=True,
        text=True,
    )
    os.close(end)
    screen = ""
    while "[y/N]: " not in screen:
        screen += os.read(terminal, 1024).decode()
    os.write(terminal, f"{typed}\n".encode())
    told, _ = asking.communicate(timeout=PATIENCE)
    os.close(terminal)

    assert "Delete ada (ada@example.com) for good? [y/N]: " in screen
    assert asking.returncode == code
    assert (json.loads(told)["username"] if told else "") == ("ada" if typed == "y" else "")
    assert len(keyturn.rows("users", "list")) == left


def test_a_running_server_refuses_whom_the_command_deleted(tmp_path: Path) -> None:
    """G6: within a second, and without a word to it."""
    with serving(tmp_path) as server, server.client() as client:
        register(client)
        tokens = sign_in(client)
        bearer = {"authorization": f"Bearer {tokens['accessToken']}"}
        before = client.get("/me", headers=bearer)
        deleted = run_keyturn(tmp_path, "users", "delete", "ada", "--yes")
        until(lambda: client.get("/me", headers=bearer).status_code == 401)
        exchange = client.post("/refresh-token", json={"refreshToken": tokens["refreshToken"]})

    assert before.status_code == 200
    assert deleted.returncode == 0
    assert exchange.json()["reason"] == "user_deleted"


# ── reset-link ──────────────────────────────────────────────────────────────────────────────────

PUBLIC_URL = {"KEYTURN_PUBLIC_URL": "https://login.example.com/auth"}


def test_a_link_resets_the_password_once(keyturn: Command) -> None:
    """F10: the token is where no log sees it, and a program can have it too."""
    keyturn.environment |= PUBLIC_URL
    result = keyturn("users", "reset-link", "ada")
    link = urlsplit(result.stdout.strip())
    token = link.fragment.removeprefix("token=")

    async def reset(parts: Parts) -> list[str]:
        told = []
        for _ in range(2):
            try:
                told.append((await parts.accounts.reset_password(token, "another long one")).id)
            except KeyturnError as error:
                told.append(error.code)
        return told

    assert link._replace(fragment="").geturl() == "https://login.example.com/auth/reset-password"
    assert re.fullmatch("token=[A-Za-z0-9_-]{43}", link.fragment)
    assert re.fullmatch(r"Good once, until 20\S*Z:\n", result.stderr)
    assert keyturn.meanwhile(reset) == [shown(keyturn)["id"], "reset_token_invalid"]


def test_a_running_server_takes_the_token_of_a_link(tmp_path: Path) -> None:
    """And no other; then the password is the new one."""
    with serving(tmp_path) as server, server.client() as client:
        register(client)
        made = run_keyturn(tmp_path, "users", "reset-link", "ada")
        token = urlsplit(made.stdout.strip()).fragment.removeprefix("token=")
        body = {"token": token, "newPassword": "another long sentence"}
        answers = [client.post("/reset-password", json=body) for _ in range(2)]
        login = {"username": "ada", "password": "another long sentence"}
        signed_in = client.post("/login", json=login)

    assert [answer.status_code for answer in answers] == [200, 400]
    assert answers[1].json()["code"] == "reset_token_invalid"
    assert signed_in.status_code == 200
    assert token not in server.errors.read_text()


def test_a_link_for_a_disabled_user_is_refused(keyturn: Command) -> None:
    """They could not sign in with the new password, either."""
    keyturn.told("users", "disable", "ada")
    result = keyturn("users", "reset-link", "ada")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: The user is disabled\n"


def test_a_link_to_a_url_that_cannot_be_is_not_made(keyturn: Command) -> None:
    """The one that was made before stays good."""
    result = keyturn("users", "reset-link", "ada", KEYTURN_PUBLIC_URL="http://login.example.com")

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: KEYTURN_PUBLIC_URL: must be https")


# ── all of them ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "command",
    [
        ("add", "bob", "bob@a.example", "Bob", "--password-stdin"),
        ("disable", "bob"),
        ("enable", "bob"),
        ("passwd", "bob", "--password-stdin"),
        ("unlock", "bob"),
        ("rename", "bob", "bob"),
        ("set-email", "bob", "bob@a.example"),
        ("delete", "bob", "--yes"),
    ],
    ids=lambda command: command[0],
)
def test_a_program_is_told_the_user_as_they_are_by_now(
    keyturn: Command, command: Sequence[str]
) -> None:
    """The row that the list has; of one who was deleted, as they were."""
    adding = ("add", "bob", "bob@a.example", "Bob", "--password-stdin")
    if command != adding:
        keyturn.told("users", *adding, typed=PASSWORD)

    row = json.loads(keyturn.told("users", *command, "--json", typed=PASSWORD))

    listed = {each["username"]: each for each in keyturn.rows("users", "list")}
    assert row["username"] == "bob"
    assert bool(row["disabledAt"]) is (command[0] == "disable")
    assert listed.get("bob", row) == row
    assert ("bob" in listed) is (command[0] != "delete")


def test_a_program_is_told_a_link_as_json(keyturn: Command) -> None:
    """With nothing beside it."""
    result = keyturn("users", "reset-link", "ada", "--json", **PUBLIC_URL)

    row = json.loads(result.stdout)
    assert (result.exit_code, result.stderr) == (0, "")
    assert row["url"].startswith("https://login.example.com/auth/reset-password#token=")
    assert row["expiresAt"].endswith("Z")
