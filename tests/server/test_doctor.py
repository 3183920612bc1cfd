"""The doctor: finds what is wrong, says what to change, and changes nothing itself."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace

import apsw
import pytest

from keyturn.hooks import open_outbox
from keyturn.hooks.webhook import new_secret
from keyturn.server import doctor as doctor_module
from keyturn.server.assembly import WEBHOOK, open_parts, prepare
from keyturn.server.doctor import examine
from keyturn.server.secret_files import make_secret_file
from keyturn.server.settings import Settings, load_settings
from tests.commands import NOWHERE
from tests.stores.support import unprivileged


@pytest.fixture
async def settings(tmp_path: Path) -> Settings:
    """Of a server that has run once."""
    settings = settings_in(tmp_path)
    await prepare(settings, create=False)
    return settings


def settings_in(folder: Path, **environment: str) -> Settings:
    return load_settings({"KEYTURN_DATA_DIR": str(folder / "data"), **NOWHERE, **environment})


async def advice(settings: Settings, state: str = "wrong") -> str:
    """All that is to be changed, or only noted."""
    return "\n".join(each.advice for each in await examine(settings) if each.state == state)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_a_healthy_server_needs_no_advice(settings: Settings) -> None:
    """Everything that was looked at is named all the same."""
    findings = await examine(settings)

    assert {finding.state for finding in findings} == {"ok", "note"}
    assert [finding.subject.split(",")[0].split(" /")[0] for finding in findings][:-2] == [
        "settings",
        "cookies",
        "proxy",
        "modes of files and folders",
        "owners of files",
        "clock",
        "secrets",
        "room on the disk",
        "database",
    ]


async def test_before_the_first_run_it_says_how_to_begin(tmp_path: Path) -> None:
    """Nothing there is something to be told, and nothing is made."""
    begin = f"{tmp_path / 'data'} does not exist; `keyturn init` makes it"

    assert await advice(settings_in(tmp_path)) == begin
    assert list(tmp_path.iterdir()) == []


async def test_it_leaves_no_trace(settings: Settings) -> None:
    """Not even the files that SQLite makes beside a database that is read."""
    before = contents(settings.data_dir)
    await examine(settings)

    assert contents(settings.data_dir) == before


async def test_what_a_running_server_has_just_written_is_seen(settings: Settings) -> None:
    """It is in a file beside the database still."""
    parts = await open_parts(settings)
    await parts.sessions.load()
    kid = await parts.sessions.rotate_keys()
    findings = await examine(settings)
    await parts.close()

    assert any(kid in finding.subject for finding in findings)


async def test_a_database_of_an_older_release_is_left_as_it_is(settings: Settings) -> None:
    """To bring it up to date is the business of a server, after the backup was made."""
    database = sqlite3.connect(settings.data_dir / "keyturn.db")
    database.execute("DELETE FROM migration WHERE number = (SELECT max(number) FROM migration)")
    database.commit()
    database.close()
    before = contents(settings.data_dir)
    found = await advice(settings)

    assert "made by an older release" in found
    assert contents(settings.data_dir) == before


async def test_a_database_of_another_program_is_found(settings: Settings) -> None:
    """Whatever its tables are called."""
    database = sqlite3.connect(settings.data_dir / "keyturn.db")
    database.execute("PRAGMA application_id = 1")
    database.close()

    assert "is a database of another program" in await advice(settings)


async def test_a_proxy_that_is_not_named_is_found(tmp_path: Path, settings: Settings) -> None:
    """H5: https is its business, so there is one."""
    del settings
    https = {"KEYTURN_PUBLIC_URL": "https://a.invalid"}

    assert "KEYTURN_TRUSTED_PROXIES is not set" in await advice(settings_in(tmp_path, **https))
    https["KEYTURN_TRUSTED_PROXIES"] = "127.0.0.1"
    assert await advice(settings_in(tmp_path, **https)) == ""


@pytest.mark.parametrize("name", [".", "secret", "keyturn.db"])
async def test_what_others_can_get_at_is_found(settings: Settings, name: str) -> None:
    """E3: folder, secret and database are the owner's alone."""
    path = settings.data_dir / name
    path.chmod(0o755)

    assert f"run chmod {'700' if path.is_dir() else '600'} {path}" in await advice(settings)


async def test_a_configured_secret_file_is_looked_at_too(tmp_path: Path) -> None:
    """It may be where it must be readable, so it is advice and no refusal."""
    file = tmp_path / "secret"
    make_secret_file(file)
    file.chmod(0o644)
    settings = settings_in(tmp_path, KEYTURN_SECRET_FILE=str(file))
    await prepare(settings, create=True)

    assert await advice(settings) == f"others can get at {file}: run chmod 600 {file}"


async def test_impossible_settings_are_found(tmp_path: Path, settings: Settings) -> None:
    """All of them at once, by name."""
    del settings
    found = await advice(
        settings_in(tmp_path, KEYTURN_ACCESS_TTL="0", KEYTURN_PUBLIC_URL="http://a.example")
    )

    assert "KEYTURN_ACCESS_TTL: " in found
    assert "KEYTURN_PUBLIC_URL: " in found


async def test_a_damaged_database_is_found(settings: Settings) -> None:
    """Also where the file can be opened and only a page in its middle is bad."""
    file = settings.data_dir / "keyturn.db"
    content = bytearray(file.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    file.write_bytes(content)

    assert "damaged" in await advice(settings)


@pytest.mark.parametrize(("ahead", "found"), [(2, False), (3, True), (3600, True)])
async def test_a_session_of_the_future_is_found(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, ahead: int, *, found: bool
) -> None:
    """Two servers whose clocks differ make turns that come too early for the other."""
    now = int(time.time())
    parts = await open_parts(settings)
    await parts.sessions.load()
    await parts.sessions.create("ada")
    await parts.close()
    database = sqlite3.connect(settings.data_dir / "keyturn.db")
    database.execute("UPDATE session SET turned_at = ?", (now + ahead,))
    database.commit()
    database.close()

    monkeypatch.setattr(time, "time", lambda: float(now))
    told = f"clocks of the servers differ by at least {ahead} s; keep them within a second (NTP)"

    assert await advice(settings) == (told if found else "")


async def test_a_clock_that_is_years_behind_is_found(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine without a battery begins in 1970."""
    monkeypatch.setattr(time, "time", lambda: 86_400.0)

    assert "it shows 1970-01-02, which is over: set it" in await advice(settings)


@pytest.mark.parametrize(
    ("day", "found"),
    [
        (89, ""),
        (91, "its newest signing key signs for 91 days, as no server has been running"),
        (-14, ""),
        (
            -20,
            "days only: if the clock is right here, it was wrong then; run `keyturn keys retire",
        ),
    ],
)
async def test_keys_that_nobody_renews_are_found(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, day: int, found: str
) -> None:
    """H9: a running server makes the next one in time, and never one for long after."""
    now = time.time() + day * 86_400
    monkeypatch.setattr(time, "time", lambda: now)

    told = await advice(settings)
    assert found in told
    assert bool(told) == bool(found)


async def test_a_key_that_no_secret_opens_is_found(settings: Settings) -> None:
    """The secret of another server, or one that was taken away too soon."""
    (settings.data_dir / "secret").unlink()
    make_secret_file(settings.data_dir / "secret")

    assert "none of the secrets opens it" in await advice(settings)


async def test_a_key_under_the_second_secret_is_found(tmp_path: Path, settings: Settings) -> None:
    """H9: it says when an old secret may be taken away; looking does not seal anything anew."""
    old, new = settings.data_dir / "secret", tmp_path / "new"
    make_secret_file(new)
    both = settings_in(tmp_path, KEYTURN_SECRET_FILE=f"{new},{old}")

    assert "before you take that secret away" in await advice(both)
    assert await advice(settings) == ""
    await prepare(both, create=False)
    assert await advice(both) == ""


async def test_a_folder_that_is_closed_to_us_is_found(settings: Settings) -> None:
    """As where the command is run by another user: what is not in there is looked at still."""
    settings.data_dir.chmod(0)
    with unprivileged():
        findings = await examine(settings)

    subjects = [finding.subject.split(" ")[0] for finding in findings]
    assert subjects == ["settings", "cookies", "proxy", "folders", "clock", "public"]
    [advice] = [finding.advice for finding in findings if finding.state == "wrong"]
    assert advice.startswith(f"{settings.data_dir} is closed to ")
    assert advice.endswith(": run this as the user of the server")


# ── what wears out ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["secret", "keyturn.db", "keyturn.db-wal"])
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_what_root_left_behind_is_found(settings: Settings, name: str) -> None:
    """A command that was run by root made it, and the server cannot open it."""
    file = settings.data_dir / name
    file.touch(0o600)
    os.chown(settings.data_dir, 65534, 65534)
    for each in settings.data_dir.iterdir():
        os.chown(each, 0 if each == file else 65534, 0)

    assert f"{file} is not of nobody, as its folder is: run chown nobody {file}" in await advice(
        settings
    )


@pytest.mark.parametrize(("free", "found"), [(199_999_999, True), (200_000_000, False)])
async def test_a_disk_that_is_nearly_full_is_found(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, free: int, *, found: bool
) -> None:
    """Before nothing can be written."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))

    told = f"199 MB are left in {settings.data_dir}: make room before nothing can be written"
    assert await advice(settings) == (told if found else "")


async def test_a_sqlite_that_may_do_damage_is_found(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the system's own is linked to."""
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.40.1")

    assert "needs SQLite 3.51.3 or newer, this is 3.40.1; upgrade apsw" in await advice(settings)


async def test_a_secret_of_last_year_is_noted(settings: Settings) -> None:
    """H9: a change goes unnoticed, and can wait."""
    secret = settings.data_dir / "secret"
    assert "change it once a year" not in await advice(settings, "note")
    os.utime(secret, (1_700_000_000, 1_700_000_000))

    assert f"{secret} is of 2023-11-14: change it once a year" in await advice(settings, "note")
    assert await advice(settings) == ""


async def test_secrets_that_nobody_took_away_are_noted(tmp_path: Path, settings: Settings) -> None:
    """H9: each of them would still make tokens that are good."""
    files = [settings.data_dir / "secret", tmp_path / "second", tmp_path / "third"]
    for file in files[1:]:
        make_secret_file(file)
    two, three = (
        settings_in(tmp_path, KEYTURN_SECRET_FILE=",".join(map(str, files[:count])))
        for count in (2, 3)
    )

    assert "there are more than two" not in await advice(two, "note")
    assert "there are more than two" in await advice(three, "note")


@pytest.mark.parametrize(
    ("given", "noted"),
    [
        ({}, "for it set KEYTURN_COOKIE_INSECURE_HTTP=true"),
        ({"KEYTURN_COOKIE_INSECURE_HTTP": "true"}, ""),
        ({"KEYTURN_PUBLIC_URL": "https://a.invalid"}, ""),
        (
            {"KEYTURN_PUBLIC_URL": "https://a.invalid", "KEYTURN_COOKIE_PREFIX": "site-"},
            "leave KEYTURN_COOKIE_PREFIX away if you can",
        ),
    ],
)
async def test_cookies_that_do_not_suit_the_public_url_are_noted(
    tmp_path: Path, settings: Settings, given: dict[str, str], noted: str
) -> None:
    """A5: what some browsers refuse, and what others may set."""
    del settings
    [cookies] = [
        finding
        for finding in await examine(settings_in(tmp_path, **given))
        if finding.subject == "cookies"
    ]

    assert cookies.state == ("note" if noted else "ok")
    assert noted in cookies.advice


# ── the webhook ─────────────────────────────────────────────────────────────────────────────────

POSTING = {
    "KEYTURN_WEBHOOK_URL": "https://example.com/hook",
    "KEYTURN_WEBHOOK_SECRET": new_secret(bytes(32)),
}


async def with_events(settings: Settings, *, waiting: int = 0, given_up: int = 0) -> None:
    parts = await open_parts(settings)
    await parts.sessions.load()
    outbox = open_outbox(parts.store)
    await outbox.subscribe(WEBHOOK)
    for _ in range(waiting + given_up):
        await parts.sessions.create("ada")
    for _ in range(given_up):
        delivery = await outbox.take(WEBHOOK, now=2**40, until=2**40, latest=2**41)
        assert delivery is not None
        await outbox.put_off(delivery, due_at=None, error="gone")
    await parts.close()


async def test_events_that_were_given_up_are_told(settings: Settings, tmp_path: Path) -> None:
    await with_events(settings, waiting=1, given_up=2)

    assert "2 events could not be posted: `keyturn webhook list` says why" in await advice(
        settings_in(tmp_path, **POSTING)
    )


async def test_events_that_nobody_will_post_are_told(settings: Settings) -> None:
    await with_events(settings, waiting=3)

    assert "3 events wait to be posted, and none is while KEYTURN_WEBHOOK_URL" in await advice(
        settings
    )


async def test_events_that_pile_up_are_told(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_module, "_MANY_EVENTS", 2)
    await with_events(settings, waiting=3)

    assert "see whether the receiver answers" in await advice(settings_in(tmp_path, **POSTING))


async def test_a_webhook_that_is_told_everything_needs_no_advice(
    settings: Settings, tmp_path: Path
) -> None:
    await with_events(settings)

    findings = await examine(settings_in(tmp_path, **POSTING))
    assert [each.state for each in findings if each.subject == "webhook"] == ["ok"]


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"KEYTURN_METRICS_TOKEN": "short"}, "KEYTURN_METRICS_TOKEN: must be"),
        ({"KEYTURN_PASSWORD_MIN_LENGTH": "1"}, "KEYTURN_PASSWORD_MIN_LENGTH"),
        ({"KEYTURN_WEBHOOK_URL": "https://example.com"}, "KEYTURN_WEBHOOK_SECRET: is missing"),
        (POSTING | {"KEYTURN_WEBHOOK_URL": "https://localhost:99999/x"}, "KEYTURN_WEBHOOK_URL"),
    ],
)
async def test_what_no_server_would_start_with_is_told(
    settings: Settings, tmp_path: Path, environment: dict[str, str], told: str
) -> None:
    """By each rule, and nobody is asked at a place that cannot be one."""
    assert told in await advice(settings_in(tmp_path, **environment))
