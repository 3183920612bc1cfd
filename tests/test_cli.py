"""The command line: sessions, keys and secrets, with the server up or down."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from keyturn.cli import main
from keyturn.core.access_token import AccessToken
from keyturn.core.errors import (
    AccessTokenInvalid,
    AccessTokenRevoked,
    RefreshTokenInvalid,
)
from keyturn.core.model import Cutoff, Device, Tokens
from keyturn.server.assembly import Parts
from keyturn.server.settings import load_settings
from keyturn.stores.conformance import a_session, begin

from .commands import PASSWORD, Command
from .server.processes import (
    KEYTURN,
    register,
    run_keyturn,
    serving,
    sign_in,
    until,
)

SID = "-hAAAAAAAAAAAAAAAAAAAA"


def passwords_as_arguments(command: click.Command) -> list[str]:
    names = [parameter.name for parameter in command.params if not getattr(parameter, "is_flag", 0)]
    nested = command.commands.values() if isinstance(command, click.Group) else ()
    return [name for name in names if name and ("password" in name or "secret" in name)] + [
        name for each in nested for name in passwords_as_arguments(each)
    ]


def test_no_command_takes_a_password_or_a_secret_as_an_argument() -> None:
    """F10: arguments are visible to every process of the machine."""
    assert passwords_as_arguments(main) == []


# ── sessions ────────────────────────────────────────────────────────────────────────────────────


def test_the_sessions_of_a_user_are_listed_without_tokens(keyturn: Command) -> None:
    """G4: where from and when, newest first; and nothing that could be presented."""
    first = keyturn.sign_in(address="192.0.2.1", user_agent="Firefox")
    second = keyturn.sign_in()
    rows = keyturn.rows("sessions", "list", "ada")

    assert {row["sid"] for row in rows} == {first.session.sid, second.session.sid}
    assert ("192.0.2.1", "Firefox") in {(row["address"], row["userAgent"]) for row in rows}
    assert {tuple(row) for row in rows} == {
        ("sid", "userId", "createdAt", "lastUsed", "address", "userAgent")
    }


def test_the_sessions_of_all_users_are_listed(keyturn: Command) -> None:
    """As far as they were begun or exchanged since a time, where one is given."""
    keyturn.told("users", "add", "bob", "bob@a.example", "Bob", "--password-stdin", typed=PASSWORD)
    sids = {keyturn.sign_in(name).session.sid for name in ("ada", "ada", "bob")}

    assert {row["sid"] for row in keyturn.rows("sessions", "list", "--all")} == sids
    assert len(keyturn.rows("sessions", "list", "--since", "2026-01-01")) == 3
    assert len(keyturn.rows("sessions", "list", "--all", "--limit", "2")) == 2
    assert keyturn.rows("sessions", "list", "--since", "2999-01-01") == []


@pytest.mark.parametrize("arguments", [(), ("ada", "--all"), ("--all", "--since", "2026-01-01")])
def test_it_must_be_said_whose_sessions(keyturn: Command, arguments: tuple[str, ...]) -> None:
    result = keyturn("sessions", "list", *arguments)

    assert (result.exit_code, "name a USER, --since TIME or --all" in result.stderr) == (2, True)


def test_that_there_is_no_session_is_said_beside_the_list(keyturn: Command) -> None:
    """What a script reads stays empty."""
    result = keyturn("sessions", "list", "ada")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "No sessions.\n")


def test_what_a_stranger_sent_cannot_command_the_terminal(keyturn: Command) -> None:
    """Whatever a row holds, as one that was written by hand."""
    device = Device(user_agent="\x1b[2J\x1b]0;gotcha\x07")
    session = replace(keyturn.sign_in().session, sid=a_session().sid, device=device)
    keyturn.meanwhile(lambda parts: begin(parts.store, session))

    told = keyturn.told("sessions", "list", "ada")
    assert "?[2J?]0;gotcha?" in told
    assert "\x1b" not in told


def test_a_session_is_revoked_by_its_id(keyturn: Command) -> None:
    """G5: with the server down; the others live on."""
    first, second = keyturn.sign_in(), keyturn.sign_in()
    keyturn.told("sessions", "revoke", first.session.sid)

    assert [row["sid"] for row in keyturn.rows("sessions", "list", "ada")] == [second.session.sid]


def test_an_unknown_session_does_not_save_the_others(keyturn: Command) -> None:
    """As when a list is taken from a log, after the restore of a backup."""
    sids = [keyturn.sign_in().session.sid for _ in range(2)]
    result = keyturn("sessions", "revoke", sids[0], SID, sids[1])

    assert result.exit_code == 1
    assert result.stdout == "Ended 2 sessions.\n"
    assert f"there is no session {SID!r}" in result.stderr
    assert keyturn.rows("sessions", "list", "ada") == []


def test_all_sessions_of_a_user_are_revoked(keyturn: Command) -> None:
    """G5: of that user only."""
    keyturn.told("users", "add", "bob", "bob@a.example", "Bob", "--password-stdin", typed=PASSWORD)
    for name in ("ada", "ada", "bob"):
        keyturn.sign_in(name)

    assert keyturn.told("sessions", "revoke", "--user", "ada") == "Ended 2 sessions.\n"
    assert len(keyturn.rows("sessions", "list", "bob")) == 1


def test_all_sessions_of_everyone_are_revoked(keyturn: Command) -> None:
    """G5: whatever happened; and no access token is good, of whichever session."""
    tokens = keyturn.sign_in()

    assert keyturn.told("sessions", "revoke", "--all") == "Ended 1 session.\n"
    assert keyturn.rows("sessions", "list", "ada") == []

    async def voided(parts: Parts) -> bool:
        return parts.sessions._cutoffs.issued_until >= tokens.session.created_at

    assert keyturn.meanwhile(voided)


def test_sessions_used_since_a_time_are_revoked(keyturn: Command) -> None:
    """Those that nobody used since then live on."""
    keyturn.sign_in()
    long_ago, today = "2001-01-01", "2999-12-31T23:59Z"

    assert keyturn.told("sessions", "revoke", "--since", today) == "Ended 0 sessions.\n"
    assert keyturn.told("sessions", "revoke", "--since", long_ago) == "Ended 1 session.\n"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ((SID,), 1, f"there is no session {SID!r}; `keyturn sessions list USER` shows them"),
        (("foo",), 1, "there is no session 'foo'; `keyturn sessions list USER` shows them"),
        (("--user", "bob"), 1, "there is no user 'bob'"),
        ((), 2, "name SIDs, --user USER, --since TIME or --all"),
        (("--since", "yesterday"), 2, "'yesterday' is no time such as 2026-01-31T08:00Z"),
        (("--user", "ada", "--since", "2001-01-01"), 2, "name SIDs, --user USER, --since"),
        ((SID, "--all"), 2, "name SIDs, --user USER, --since TIME or --all"),
    ],
)
def test_what_cannot_be_revoked_is_said(
    keyturn: Command, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    """An id that begins with a dash is no option."""
    result = keyturn("sessions", "revoke", *arguments)

    assert result.exit_code == code
    assert sentence in result.stderr


def test_a_running_server_follows_the_command(tmp_path: Path) -> None:
    """G5: what another process revoked is refused by the server, without a word to it."""
    with serving(tmp_path) as server, server.client() as client:
        register(client)
        tokens = sign_in(client)
        bearer = {"authorization": f"Bearer {tokens['accessToken']}"}
        before = client.get("/me", headers=bearer)
        revoked = run_keyturn(tmp_path, "sessions", "revoke", "--user", "ada")
        until(lambda: client.get("/me", headers=bearer).status_code == 401)
        exchange = client.post("/refresh-token", json={"refreshToken": tokens["refreshToken"]})

    assert before.status_code == 200
    assert revoked.stdout == "Ended 1 session.\n"
    assert exchange.json()["code"] == "session_revoked"
    assert exchange.json()["reason"] == "revoked_by_admin"


def test_all_access_tokens_are_voided_and_sessions_live_on(keyturn: Command) -> None:
    """The emergency cutoff, for when access tokens have leaked."""
    tokens = keyturn.sign_in()
    keyturn.told("sessions", "void")

    async def exchange(parts: Parts) -> AccessToken:
        with pytest.raises(AccessTokenRevoked):
            parts.sessions.verify(tokens.access_token)
        renewed = await parts.sessions.refresh(tokens.refresh_token)
        return parts.sessions.verify(renewed.access_token)

    assert keyturn.meanwhile(exchange).sid == tokens.session.sid


def test_what_is_revoked_outlasts_the_tokens_of_the_servers(keyturn: Command) -> None:
    """G5: also where the command does not know how long the servers let access tokens live."""

    async def sign_in(parts: Parts) -> Tokens:
        return (await parts.accounts.login("ada", PASSWORD, device=Device()))[1]

    keyturn.environment["KEYTURN_ACCESS_TTL"] = "3600"
    tokens = keyturn.meanwhile(sign_in)
    del keyturn.environment["KEYTURN_ACCESS_TTL"]
    keyturn.told("sessions", "revoke", "--user", "ada")

    async def kept(parts: Parts) -> Sequence[Cutoff]:
        """Those that are kept when the token has just a minute to live."""
        return (await parts.store.cutoffs(None, parts.sessions.now() + 3540))[1]

    assert [cutoff.sid for cutoff in keyturn.meanwhile(kept)] == [tokens.session.sid]


# ── keys and secrets ────────────────────────────────────────────────────────────────────────────


def test_a_new_key_is_published_before_it_signs(keyturn: Command) -> None:
    """E2, H9: nobody is handed a token whose key is unknown yet."""
    [old] = keyturn.rows("keys", "list")
    told = keyturn.told("keys", "rotate")
    rows = keyturn.rows("keys", "list")

    assert [row["state"] for row in rows] == ["signs", "to come"]
    assert rows[0] | {"checksUntil": None} == old
    assert rows[1]["kid"] in told
    assert rows[1]["signsFrom"] in told


def test_the_list_tells_when_a_key_signs_and_until_when_it_checks(keyturn: Command) -> None:
    """E2: one that is to be used later than one that was asked for is passed over."""
    to_come = 1_900_000_000

    async def publish(parts: Parts) -> None:
        stored = await parts.store.signing_keys()
        later = replace(stored[-1], kid="later", use_from=to_come)
        await parts.store.add_signing_key(later, after=stored[-1].kid)

    keyturn.meanwhile(publish)
    before = keyturn.rows("keys", "list")
    keyturn.told("keys", "retire", "--yes", "later")
    keyturn.told("keys", "rotate")
    after = keyturn.rows("keys", "list")

    assert before[1]["signsFrom"] == "2030-03-17T17:46:40Z"
    assert before[0]["checksUntil"] == "2030-03-17T17:58:40Z"
    assert before[1]["checksUntil"] is None
    assert [row["state"] for row in before] == ["signs", "to come"]
    assert datetime.fromisoformat(after[0]["checksUntil"]) == datetime.fromisoformat(
        after[1]["signsFrom"]
    ) + timedelta(seconds=720)


def test_a_damaged_key_is_listed_and_retired(keyturn: Command) -> None:
    """E4: with whatever stands in its row; the doctor has said how, and finds nothing after."""
    [good] = keyturn.rows("keys", "list")

    async def plant(parts: Parts) -> None:
        [key] = await parts.store.signing_keys()
        damaged = replace(key, kid="-the-damaged", use_from=2**62)
        await parts.store.add_signing_key(damaged, after=key.kid)

    keyturn.meanwhile(plant)
    listed = keyturn.rows("keys", "list")
    doctor = keyturn("doctor").output
    retired = keyturn.told("keys", "retire", "--yes", "--", "-the-damaged")

    assert listed[1]["signsFrom"] == "9999-12-31T23:59:59Z"
    assert "WRONG signing key -the-damaged" in doctor
    assert "or the key damaged: `keyturn keys retire -- -the-damaged`" in doctor
    assert retired == "Retired key -the-damaged; tokens that it signed are refused.\n"
    assert keyturn.rows("keys", "list") == [good]
    assert keyturn.told("doctor").count("WRONG") == 0


def test_a_key_that_may_have_leaked_is_retired(keyturn: Command) -> None:
    """E2, H9: what it signed is refused, another key signs, and sessions live on."""
    tokens = keyturn.sign_in()
    [leaked] = keyturn.rows("keys", "list")
    keyturn.told("keys", "retire", leaked["kid"])
    [row] = keyturn.rows("keys", "list")

    async def exchange(parts: Parts) -> AccessToken:
        with pytest.raises(AccessTokenInvalid):
            parts.sessions.verify(tokens.access_token)
        renewed = await parts.sessions.refresh(tokens.refresh_token)
        return parts.sessions.verify(renewed.access_token)

    assert row["kid"] != leaked["kid"]
    assert row["state"] == "signs"
    assert keyturn.meanwhile(exchange).sid == tokens.session.sid


@pytest.mark.parametrize("kid", ["unknown", "-hidden"])
def test_a_key_that_is_unknown_is_not_retired(keyturn: Command, kid: str) -> None:
    """Exit code 1, and where to look."""
    result = keyturn("keys", "retire", kid)

    assert result.exit_code == 1
    assert (
        result.stderr == f"Error: there is no signing key {kid!r}; `keyturn keys list` shows all\n"
    )
    assert len(keyturn.rows("keys", "list")) == 1


def test_in_an_emergency_the_new_key_is_the_only_one_at_once(keyturn: Command) -> None:
    """E2, H9: what older keys signed is refused, and sessions live on."""
    tokens = keyturn.sign_in()
    keyturn.told("keys", "rotate")
    told = keyturn.told("keys", "rotate", "--now")
    [row] = keyturn.rows("keys", "list")

    async def exchange(parts: Parts) -> AccessToken:
        with pytest.raises(AccessTokenInvalid):
            parts.sessions.verify(tokens.access_token)
        renewed = await parts.sessions.refresh(tokens.refresh_token)
        return parts.sessions.verify(renewed.access_token)

    assert row["state"] == "signs"
    assert row["kid"] in told
    assert keyturn.meanwhile(exchange).sid == tokens.session.sid


def test_a_key_is_not_added_under_a_foreign_secret(keyturn: Command) -> None:
    """It would be one that no server opens."""
    before = keyturn.rows("keys", "list")
    foreign = {"KEYTURN_SECRET": "another-secret-of-thirty-two-bytes"}
    results = [
        keyturn("keys", *arguments, **foreign) for arguments in (("rotate",), ("rotate", "--now"))
    ]

    for result in results:
        assert result.exit_code == 2
        assert result.stderr.startswith("Error: KEYTURN_SECRET or KEYTURN_SECRET_FILE: none of")
    assert keyturn.rows("keys", "list") == before


def test_a_key_that_no_secret_opens_is_not_dropped_unasked(keyturn: Command) -> None:
    """The secret may only be missing here, and the question says so."""
    [key] = keyturn.rows("keys", "list")
    foreign = {"KEYTURN_SECRET": "another-secret-of-thirty-two-bytes"}
    result = keyturn("keys", "retire", key["kid"], typed="y\n", **foreign)

    assert result.exit_code == 2
    assert f"None of the secrets opens signing key {key['kid']}. Is the one" in result.stderr
    assert "lost for good, and not only missing here" in result.stderr
    assert keyturn.rows("keys", "list") == [key]


def test_an_administrator_with_other_settings_changes_no_key(keyturn: Command) -> None:
    """Who lists users with an algorithm that the server does not have makes no key of it."""
    keyturn("users", "list", KEYTURN_SIGNING_ALGORITHM="EdDSA")

    assert [row["algorithm"] for row in keyturn.rows("keys", "list")] == ["ES256"]


def test_a_new_secret_goes_into_its_file_only(tmp_path: Path) -> None:
    """H9: it is made, and not shown."""
    file = tmp_path / "secret"
    told = Command(tmp_path).told("secrets", "new", str(file))
    again = Command(tmp_path)("secrets", "new", str(file))

    assert file.read_text().strip() not in told
    assert again.exit_code == 2
    assert again.stderr == f"Error: cannot write {file}: it exists already and was left alone\n"


def assert_signed_in_anew_alone(keyturn: Command, tokens: Tokens) -> None:
    """Nothing is made of tokens from before, their user signs in, and nothing is wrong."""

    async def present(parts: Parts) -> None:
        with pytest.raises(AccessTokenInvalid):
            parts.sessions.verify(tokens.access_token)
        with pytest.raises(RefreshTokenInvalid):
            await parts.sessions.refresh(tokens.refresh_token)

    keyturn.meanwhile(present)
    assert keyturn.sign_in().session.user_id == tokens.session.user_id
    assert keyturn.told("doctor").count("WRONG") == 0


def test_the_drill_for_a_stolen_secret_leaves_a_thief_nothing(keyturn: Command) -> None:
    """H9: with the old secret, the old keys and the old rows no token is made that is accepted;
    users sign in again.
    """
    tokens = keyturn.sign_in()
    old, new = keyturn.folder / "data" / "secret", keyturn.folder / "new"
    keyturn.told("secrets", "new", str(new))
    both = {"KEYTURN_SECRET_FILE": f"{new},{old}"}
    assert keyturn("keys", "rotate", "--now", **both).exit_code == 0
    keyturn.environment["KEYTURN_SECRET_FILE"] = str(new)
    keyturn.told("sessions", "revoke", "--all")
    old.unlink()

    assert_signed_in_anew_alone(keyturn, tokens)


def lose_secret(folder: Path) -> None:
    """And make another."""
    secret = folder / "data" / "secret"
    secret.unlink()
    assert run_keyturn(folder, "secrets", "new", str(secret)).returncode == 0


def test_the_drill_for_a_lost_secret_leaves_users_and_their_passwords(keyturn: Command) -> None:
    """H9: with one command for each key that `init` names; nobody stays signed in."""
    tokens = keyturn.sign_in()
    keyturn.told("keys", "rotate")
    lose_secret(keyturn.folder)
    while named := re.search(r"`keyturn keys retire -- (\S+)`", keyturn("init").stderr):
        keyturn.told("keys", "retire", "--yes", "--", named[1])

    assert_signed_in_anew_alone(keyturn, tokens)


def test_a_server_that_has_the_lost_secret_goes_on_until_it_is_restarted(tmp_path: Path) -> None:
    """H9: whatever is retired meanwhile."""
    with serving(tmp_path) as server, server.client() as client:
        register(client)
        tokens = sign_in(client)
        lose_secret(tmp_path)
        [row] = json.loads(run_keyturn(tmp_path, "keys", "list", "--json").stdout)
        retired = run_keyturn(tmp_path, "keys", "retire", "--yes", "--", row["kid"])
        meanwhile = client.post("/refresh-token", json={"refreshToken": tokens["refreshToken"]})
        server.stop()
    with serving(tmp_path) as server, server.client() as client:
        after = client.post("/refresh-token", json={"refreshToken": tokens["refreshToken"]})
        sign_in(client)

    assert retired.returncode == 0, retired.stderr
    assert [meanwhile.status_code, after.status_code] == [200, 401]


# ── all of them ─────────────────────────────────────────────────────────────────────────────────


def test_init_may_be_run_again(keyturn: Command) -> None:
    """It makes what is missing, and nothing is."""
    secret = (keyturn.folder / "data" / "secret").read_bytes()
    keyturn.told("init")

    assert (keyturn.folder / "data" / "secret").read_bytes() == secret
    assert len(keyturn.rows("users", "list")) == 1


def test_the_doctor_tells_by_its_exit_code(keyturn: Command) -> None:
    """For monitoring: 0 and every line ok or a note, or 1 and what to change."""
    well = keyturn("doctor")
    (keyturn.folder / "data").chmod(0o755)
    wrong = keyturn("doctor")

    assert (well.exit_code, wrong.exit_code) == (0, 1)
    assert {line.split()[0] for line in well.output.splitlines()} == {"ok", "note"}
    assert "WRONG modes of files and folders: others can get at" in wrong.output


def test_the_settings_in_force_are_shown(tmp_path: Path) -> None:
    """With where each is from; of what is secret only that it is set."""
    file = tmp_path / "keyturn.toml"
    file.write_text('access_ttl = 300\npublic_url = "https://a.example"\n')
    given = {
        "KEYTURN_DATABASE_URL": "postgresql://keyturn:sesame@db.example/keyturn",
        "KEYTURN_SECRET": "correct-horse-battery-staple-0123456789",
        "KEYTURN_REVOCATIONS_TOKEN": "correct-horse-battery-staple-9876543210",
        "KEYTURN_ACCESS_TTL": "200",
    }
    result = Command(tmp_path)("config", "--json", "--config", str(file), **given)
    shown = {row["setting"]: (row["value"], row["from"]) for row in json.loads(result.output)}

    assert "sesame" not in result.output
    assert "correct-horse" not in result.output
    assert shown["KEYTURN_ACCESS_TTL"] == ("200", "KEYTURN_ACCESS_TTL")
    assert shown["KEYTURN_PUBLIC_URL"] == ("https://a.example", f"public_url in {file}")
    assert shown["KEYTURN_ISSUER"] == ("https://a.example", "default")
    assert shown["KEYTURN_RECOVER"] == ("true", "default")
    assert shown["KEYTURN_SECRET"] == ("(hidden)", "KEYTURN_SECRET")
    assert shown["KEYTURN_REVOCATIONS_TOKEN"] == ("(hidden)", "KEYTURN_REVOCATIONS_TOKEN")
    assert shown["KEYTURN_DATABASE_URL"][0] == "postgresql://db.example/keyturn"


@pytest.mark.parametrize(
    "arguments",
    [("users", "list"), ("sessions", "list", "ada"), ("keys", "list"), ("keys", "rotate")],
)
def test_before_the_first_run_commands_make_nothing(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """Exit code 2, a sentence that says how to begin, and no file."""
    result = Command(tmp_path)(*arguments)

    assert result.exit_code == 2
    assert f"there is nothing in {tmp_path / 'data'} yet: run `keyturn init`" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [("users", "list"), ("init",), ("doctor",)])
def test_a_folder_that_cannot_be_looked_into_is_said(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """As that of another user: a sentence that names it, and no traceback."""
    folder = tmp_path / ("long" * 100)
    result = Command(tmp_path)(*command, KEYTURN_DATA_DIR=str(folder))

    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert str(folder) in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + bytes(84)])
@pytest.mark.parametrize("command", [("users", "list"), ("init",), ("serve", "--port", "0")])
def test_a_database_that_is_not_ours_is_judged_before_the_secret(
    tmp_path: Path, command: tuple[str, ...], content: bytes
) -> None:
    """Nobody is told to restore the secret of a file that never had one."""
    database = tmp_path / "data" / "keyturn.db"
    database.parent.mkdir(0o700)
    database.write_bytes(content)
    ended = run_keyturn(tmp_path, *command)

    assert ended.returncode == 2
    assert f"{database} is not a database of Keyturn; it was left as it is" in ended.stderr
    assert list(database.parent.iterdir()) == [database]
    assert database.read_bytes() == content


def test_settings_of_a_command_may_be_in_a_file(keyturn: Command) -> None:
    """Every command that opens the database takes --config."""
    config = keyturn.folder / "keyturn.toml"
    config.write_text(f'data_dir = "{keyturn.folder / "data"}"\n')
    result = CliRunner().invoke(main, ["users", "list", "--config", str(config)])

    assert "ada@example.com" in result.output


def every_command(command: click.Command, *names: str) -> list[tuple[str, ...]]:
    nested = command.commands if isinstance(command, click.Group) else {}
    below = [path for name, each in nested.items() for path in every_command(each, *names, name)]
    return [names, *below]


@pytest.mark.parametrize("names", every_command(main), ids=" ".join)
def test_every_command_explains_itself(names: tuple[str, ...]) -> None:
    """In lines that fit a terminal, and in a list without an ellipsis."""
    result = CliRunner().invoke(main, [*names, "--help"], terminal_width=80)

    assert result.exit_code == 0
    assert "..." not in result.output.partition("Options:")[2]
    assert max(map(len, result.output.splitlines())) <= 80


def test_help_shows_every_setting(tmp_path: Path) -> None:
    """The table behind ``serve --help`` is the one that settings are read by."""
    told = Command(tmp_path).told("serve", "--help")

    assert all(f"KEYTURN_{name.upper()}" in told for name in load_settings({}).__dict__)


def test_help_answers_without_waiting_for_the_server() -> None:
    """What a command does not need, it does not import."""
    program = "import sys, keyturn.cli; print({'uvicorn', 'apsw', 'argon2'} & set(sys.modules))"

    assert (
        subprocess.check_output([KEYTURN[0].replace("keyturn", "python"), "-c", program])
        == b"set()\n"
    )
