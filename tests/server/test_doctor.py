"""The doctor: finds what is wrong, says what to change, and changes nothing itself."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from keyturn.server.assembly import open_parts, prepare
from keyturn.server.doctor import examine
from keyturn.server.secret_files import make_secret_file
from keyturn.server.settings import Settings, load_settings


@pytest.fixture
async def settings(tmp_path: Path) -> Settings:
    """Of a server that has run once."""
    settings = settings_in(tmp_path)
    await prepare(settings, create=False)
    return settings


def settings_in(folder: Path, **environment: str) -> Settings:
    return load_settings({"KEYTURN_DATA_DIR": str(folder / "data"), **environment})


async def advice(settings: Settings) -> str:
    """All that is to be changed."""
    return "\n".join(finding.advice for finding in await examine(settings) if finding.advice)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_a_healthy_server_needs_no_advice(settings: Settings) -> None:
    """Everything that was looked at is named all the same."""
    findings = await examine(settings)

    assert await advice(settings) == ""
    assert len(findings) == 7


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
    https = {"KEYTURN_PUBLIC_URL": "https://a.example"}

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
