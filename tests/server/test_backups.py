"""Backups: whole, made while servers write, and put back without losing what they replace."""

from __future__ import annotations

import asyncio
import dataclasses
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from keyturn.core.errors import (
    AccessTokenRevoked,
    ConfigurationError,
    SessionExpired,
)
from keyturn.core.model import Tokens
from keyturn.server.assembly import Parts, open_parts, prepare
from keyturn.server.backups import back_up, restore
from keyturn.server.settings import Settings, load_settings
from tests.postgresql import running
from tests.server.processes import register, run_keyturn, serving, sign_in
from tests.stores.postgres.support import connected

SECRET = "correct-horse-battery-staple-0123456789"


@pytest.fixture(params=["sqlite", "postgresql"])
async def settings(request: pytest.FixtureRequest, tmp_path: Path, database: str) -> Settings:
    """Of a server that was begun, on either kind of database."""
    environment = {"KEYTURN_DATA_DIR": str(tmp_path / "data"), "KEYTURN_SECRET": SECRET}
    if request.param == "postgresql":
        environment["KEYTURN_DATABASE_URL"] = database.replace("@", ":sesame@")
    settings = load_settings(environment)
    await prepare(settings, create=True)
    return settings


async def begun(settings: Settings) -> Tokens:
    """A new session."""
    parts = await opened(settings)
    try:
        return await parts.sessions.create("ada")
    finally:
        await parts.close()


async def opened(settings: Settings) -> Parts:
    parts = await open_parts(settings)
    await parts.sessions.load()
    return parts


async def test_what_was_backed_up_is_back(settings: Settings, tmp_path: Path) -> None:
    """Sessions begun since are gone, those ended since live; access tokens are void."""
    held = await begun(settings)
    await back_up(settings, tmp_path / "backup")
    later = await begun(settings)
    parts = await opened(settings)
    await parts.sessions.logout(held.refresh_token)
    await parts.close()
    kept = await restore(settings, tmp_path / "backup")

    assert "replaced" in kept
    parts = await opened(settings)
    with pytest.raises(AccessTokenRevoked):
        parts.sessions.verify(held.access_token)
    renewed = await parts.sessions.refresh(held.refresh_token)
    assert parts.sessions.verify(renewed.access_token).user_id == "ada"
    with pytest.raises(SessionExpired):
        await parts.sessions.refresh(later.refresh_token)
    await parts.close()


async def test_a_backup_is_for_its_owner_and_overwrites_nothing(
    settings: Settings, tmp_path: Path
) -> None:
    """E3; and no draft is left."""
    await back_up(settings, tmp_path / "backup")
    before = (tmp_path / "backup").read_bytes()
    with pytest.raises(ConfigurationError, match="exists already and was left alone"):
        await back_up(settings, tmp_path / "backup")

    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "backup").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} <= {"backup", "data"}


async def test_a_backup_holds_no_secret(settings: Settings, tmp_path: Path) -> None:
    """C2: whoever has it alone makes no token."""
    await back_up(settings, tmp_path / "backup")

    assert SECRET.encode() not in (tmp_path / "backup").read_bytes()


async def test_what_is_no_backup_is_refused(settings: Settings, tmp_path: Path) -> None:
    """And the database is as it was."""
    held = await begun(settings)
    (tmp_path / "nonsense").write_bytes(b"nonsense" * 1000)
    with pytest.raises(ConfigurationError, match=r"archive|damaged"):
        await restore(settings, tmp_path / "nonsense")

    parts = await opened(settings)
    renewed = await parts.sessions.refresh(held.refresh_token)
    await parts.close()
    assert renewed.session.sid == held.session.sid


async def test_a_backup_under_another_secret_is_refused(settings: Settings, tmp_path: Path) -> None:
    """Before it takes the place of anything."""
    await back_up(settings, tmp_path / "backup")
    held = await begun(settings)
    environment = {
        "KEYTURN_DATA_DIR": str(settings.data_dir),
        "KEYTURN_DATABASE_URL": settings.database_url,
        "KEYTURN_SECRET": SECRET[::-1],
    }
    with pytest.raises(ConfigurationError, match=r"only if that is lost: .* --secret-lost"):
        await restore(load_settings(environment), tmp_path / "backup")

    parts = await opened(settings)
    renewed = await parts.sessions.refresh(held.refresh_token)
    await parts.close()
    assert renewed.session.sid == held.session.sid


async def test_a_backup_whose_secret_is_lost_is_restored_by_who_says_so(
    settings: Settings, tmp_path: Path
) -> None:
    """Its keys are then retired by their names."""
    await begun(settings)
    await back_up(settings, tmp_path / "backup")
    settings = dataclasses.replace(settings, secret=(SECRET[::-1],))
    await restore(settings, tmp_path / "backup", secret_lost=True)
    parts = await open_parts(settings)
    [key] = await parts.store.signing_keys()
    await parts.sessions.retire_key(key.kid, lost=True)
    await parts.close()

    parts = await opened(settings)
    sessions = await parts.sessions.list("ada")
    await parts.close()
    assert len(sessions) == 1


async def test_a_database_that_is_absent_is_not_backed_up(tmp_path: Path) -> None:
    """And no empty backup is left to be trusted."""
    settings = load_settings({"KEYTURN_DATA_DIR": str(tmp_path / "data")})
    with pytest.raises(ConfigurationError, match="keyturn init"):
        await back_up(settings, tmp_path / "backup")

    assert list(tmp_path.iterdir()) == []


async def test_the_password_of_the_database_is_told_to_nobody(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H1: neither in the arguments of programs, nor in what they complain of."""
    if settings.database_url.startswith("sqlite"):
        monkeypatch.setattr(asyncio, "create_subprocess_exec", None)  # none is run
        await back_up(settings, tmp_path / "backup")
        return
    seen: list[str] = []
    run = asyncio.create_subprocess_exec

    async def watched(*arguments: str, **options: object) -> asyncio.subprocess.Process:
        seen.extend(arguments)
        return await run(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", watched)
    await back_up(settings, tmp_path / "backup")

    assert "pg_dump" in seen
    assert "sesame" not in "".join(seen)


async def test_a_backup_of_an_older_release_is_brought_up_to_date(
    settings: Settings, tmp_path: Path
) -> None:
    """As after an upgrade that went wrong."""
    await make_older(settings)
    await back_up(settings, tmp_path / "backup")
    await prepare(settings, create=True)
    await restore(settings, tmp_path / "backup")

    parts = await opened(settings)
    assert (await parts.sessions.create("ada")).expires_in > 0
    await parts.close()


async def make_older(settings: Settings) -> None:
    """Take back what the last migration did."""
    if settings.database_url.startswith("sqlite"):
        with closing(sqlite3.connect(settings.data_dir / "keyturn.db")) as file:
            file.executescript(
                "ALTER TABLE session DROP COLUMN used_before;"
                "DELETE FROM migration WHERE number = (SELECT max(number) FROM migration)"
            )
        return
    async with connected(settings.database_url) as connection:
        await connection.execute(
            "ALTER TABLE keyturn.session DROP COLUMN used_before;"
            "DELETE FROM keyturn.migration"
            " WHERE number = (SELECT max(number) FROM keyturn.migration)"
        )


async def test_an_archive_of_more_than_ours_is_refused(
    settings: Settings, tmp_path: Path, database: str
) -> None:
    """What is of another program is not put anywhere."""
    if settings.database_url.startswith("sqlite"):
        other = tmp_path / "other"
        with closing(sqlite3.connect(other)) as file:
            file.execute("CREATE TABLE theirs (x int)")
    else:
        async with connected(database) as connection:
            await connection.execute("CREATE TABLE public.theirs (x int)")
        other = tmp_path / "other"
        command = ["pg_dump", "--format=custom", f"--file={other}", f"--dbname={database}"]
        await asyncio.to_thread(subprocess.run, command, check=True)
    with pytest.raises(ConfigurationError, match=r"no backup of Keyturn|more than tables of Keyt"):
        await restore(settings, other)


async def test_who_owns_the_schema_alone_is_told_what_a_restore_needs(
    tmp_path: Path, database: str
) -> None:
    """It works once that was granted; until then all is as it was."""
    async with connected(database) as admin:
        await admin.execute("CREATE ROLE tenant LOGIN; CREATE SCHEMA keyturn AUTHORIZATION tenant")
        environment = {
            "KEYTURN_DATA_DIR": str(tmp_path / "data"),
            "KEYTURN_DATABASE_URL": database.replace("keyturn@", "tenant@"),
            "KEYTURN_SECRET": SECRET,
        }
        settings = load_settings(environment)
        await prepare(settings, create=True)
        await back_up(settings, tmp_path / "backup")
        with pytest.raises(ConfigurationError, match="may make no schema") as refused:
            await restore(settings, tmp_path / "backup")
        await begun(settings)
        await admin.execute(str(refused.value).rpartition(": ")[2])
        kept = await restore(settings, tmp_path / "backup")

    assert kept.startswith("schema keyturn_replaced_")


async def test_of_several_servers_the_one_that_can_be_written_is_restored(
    tmp_path: Path,
) -> None:
    """Whichever is named first, as ever in a pair with a standby."""
    with running() as primary:
        parts = urlsplit(await primary.new_database())
        with running(follows=primary) as standby:
            hosts = f"host={standby.folder},{primary.folder}"
            ports = f"port={standby.port},{primary.port}"
            environment = {
                "KEYTURN_DATA_DIR": str(tmp_path / "data"),
                "KEYTURN_DATABASE_URL": parts._replace(query=f"{hosts}&{ports}").geturl(),
                "KEYTURN_SECRET": SECRET,
            }
            settings = load_settings(environment)
            await prepare(settings, create=True)
            await back_up(settings, tmp_path / "backup")
            kept = await restore(settings, tmp_path / "backup")

    assert kept.startswith("schema keyturn_replaced_")


async def test_a_damaged_database_is_replaced_and_kept(tmp_path: Path) -> None:
    """When a backup is needed most."""
    settings = load_settings({"KEYTURN_DATA_DIR": str(tmp_path / "data")})
    await prepare(settings, create=True)
    held = await begun(settings)
    await back_up(settings, tmp_path / "backup")
    file = settings.data_dir / "keyturn.db"
    file.write_bytes(bytes(100) + file.read_bytes()[100:])
    kept = await restore(settings, tmp_path / "backup")

    parts = await opened(settings)
    renewed = await parts.sessions.refresh(held.refresh_token)
    await parts.close()
    assert renewed.session.sid == held.session.sid
    assert Path(kept).read_bytes()[:100] == bytes(100)


async def test_a_backup_is_restored_where_nothing_is_yet(tmp_path: Path) -> None:
    """As in a drill on another machine: the folder is made, for its owner alone."""
    one, other = (
        load_settings({"KEYTURN_DATA_DIR": str(tmp_path / name), "KEYTURN_SECRET": SECRET})
        for name in ("one", "other")
    )
    await prepare(one, create=True)
    await back_up(one, tmp_path / "backup")
    kept = await restore(other, tmp_path / "backup")

    assert kept == ""
    assert other.data_dir.stat().st_mode & 0o777 == 0o700
    await (await opened(other)).close()


async def test_nothing_beside_a_backup_is_touched(settings: Settings, tmp_path: Path) -> None:
    """Whatever it is called."""
    (tmp_path / "backup.draft").write_text("precious")
    await back_up(settings, tmp_path / "backup")

    assert (tmp_path / "backup.draft").read_text() == "precious"


def test_a_backup_made_under_a_running_server_is_whole(tmp_path: Path) -> None:
    """The commands, as an operator uses them; a file that is in use is not replaced."""
    backup = tmp_path / "backup"
    with serving(tmp_path) as server:
        with server.client() as client:
            register(client)
            tokens = sign_in(client)
            made = run_keyturn(tmp_path, "backup", str(backup))
            in_use = run_keyturn(tmp_path, "restore", str(backup))
            alive = client.post("/refresh-token", json={"refreshToken": tokens["refreshToken"]})
        server.stop()
    restored = run_keyturn(tmp_path, "restore", str(backup))
    check = sqlite3.connect(backup).execute("PRAGMA integrity_check").fetchone()
    with serving(tmp_path) as server, server.client() as client:
        again = client.post("/refresh-token", json={"refreshToken": tokens["refreshToken"]})
        server.stop()

    assert made.stdout == f"Wrote a backup into {backup}.\n"
    assert in_use.returncode == 2
    assert "is in use: stop the server first" in in_use.stderr
    assert alive.status_code == 200
    assert "What was there before is kept as" in restored.stdout
    assert check == ("ok",)
    assert again.status_code == 200
    kept = sorted(path.name for path in (tmp_path / "data").iterdir())
    assert kept[0] == "keyturn.db"
    assert kept[1].startswith("keyturn.db.replaced-")
    assert kept[2:] == ["secret"]
