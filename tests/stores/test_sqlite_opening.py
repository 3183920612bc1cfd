"""A database file is recognised before it is touched, and made only where that was asked for."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from keyturn.core.errors import ConfigurationError, StoreUnavailable
from keyturn.stores import open_store
from keyturn.stores.conformance import a_session, begin, living
from keyturn.stores.sqlite import SQLiteStore, opening

from .support import damage, files_in, modes_in, set_mode, start_python, unprivileged

CREATE_AND_SIGN_IN = """
import asyncio, sys
from keyturn.core.model import Session
from keyturn.stores.sqlite import SQLiteStore

async def main(path, sid):
    store = await SQLiteStore.open(path, create=True)
    session = Session(sid=sid, user_id="ann", secret=bytes(32), created_at=1)
    await store.add(session, limit=99, replaces=None, epoch=0, tokens_until=9)
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def made(path: Path) -> Path:
    """A database of ours with one session in it, and nothing beside it."""
    store = await SQLiteStore.open(str(path), create=True)
    await begin(store, a_session())
    await store.close()
    return path


async def refusal_of(path: Path, *, create: bool = False) -> str:
    """What opening the file is refused with, having changed nothing in its folder."""
    folder = path.parent
    before = files_in(folder) if folder.is_dir() else None
    with pytest.raises(ConfigurationError) as caught:
        await SQLiteStore.open(str(path), create=create)
    assert (files_in(folder) if folder.is_dir() else None) == before
    assert caught.value.setting == "database_url"
    return str(caught.value)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that anybody may enter, as pytest's own are for their owner alone."""
    with tempfile.TemporaryDirectory(prefix="keyturn-test-") as name:
        folder = Path(name)
        yield folder
        folder.chmod(0o700)


async def test_an_absent_file_is_made_only_on_request(tmp_path: Path) -> None:
    """Else the error names the command that makes it."""
    path = tmp_path / "keyturn.db"

    assert "`keyturn init`" in await refusal_of(path)
    assert await living(await SQLiteStore.open(str(path), create=True)) == set()


async def test_an_absent_folder_is_not_made(tmp_path: Path) -> None:
    """A mistyped path makes no folders."""
    path = tmp_path / "absent" / "keyturn.db"

    assert "is no folder" in await refusal_of(path, create=True)
    assert not path.parent.exists()


async def test_a_folder_is_no_database(tmp_path: Path) -> None:
    """The error says what to do."""
    (tmp_path / "keyturn.db").mkdir()

    assert "name a file in it" in await refusal_of(tmp_path / "keyturn.db", create=True)


async def test_an_empty_file_is_used_only_on_request(tmp_path: Path) -> None:
    """It may be one that another process has just begun to make."""
    path = tmp_path / "keyturn.db"
    path.touch()

    assert "`keyturn init`" in await refusal_of(path)
    assert await living(await SQLiteStore.open(str(path), create=True)) == set()


@pytest.mark.parametrize("content", [b"x", b"hello " * 1000, bytes(8192), b"SQLite format 3"])
async def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path, content: bytes) -> None:
    """Whatever was asked for."""
    path = tmp_path / "notes.txt"
    path.write_bytes(content)

    assert "is not a database" in await refusal_of(path, create=True)


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
async def test_a_foreign_database_is_left_alone(tmp_path: Path, journal_mode: str) -> None:
    """Even its unfinished business, which SQLite would finish on closing it."""
    (original := tmp_path / "original").mkdir()
    (copy := tmp_path / "copy").mkdir()
    foreign = apsw.Connection(str(original / "foreign.db"))
    foreign.pragma("journal_mode", journal_mode)
    foreign.execute("CREATE TABLE precious (data); INSERT INTO precious VALUES (1)")
    for name, content in files_in(original).items():
        (copy / name).write_bytes(content)
    foreign.close()

    assert "of another program" in await refusal_of(copy / "foreign.db", create=True)


async def test_a_damaged_schema_is_told(tmp_path: Path) -> None:
    """The first page behind its header."""
    path = await made(tmp_path / "keyturn.db")
    damage(path, 100, 4096)

    assert "damaged" in await refusal_of(path, create=True)


async def test_a_damaged_page_is_our_fault(tmp_path: Path) -> None:
    """Found in the middle of work it is an outage, with neither SQL nor path (requirement H1)."""
    path = await made(tmp_path / "keyturn.db")
    with apsw.Connection(str(path)) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = 'session'"
        page: int = connection.execute(query).get
    connection.close()
    damage(path, 4096 * (page - 1), 4096 * page)
    store = await SQLiteStore.open(str(path))

    with pytest.raises(StoreUnavailable, match=r"^The database file is damaged$"):
        await store.list_sessions("ann")
    await store.close()


@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "told"),
    [
        (0o777, 0o400, "cannot be written"),
        (0o555, 0o600, "cannot be written"),
        (0o777, 0o000, "cannot be opened"),
        (0o000, 0o600, "cannot be opened"),
    ],
)
async def test_files_without_permission(
    open_folder: Path, folder_mode: int, file_mode: int, told: str
) -> None:
    """A file that we may not write, or whose folder we may not write or enter, is told of."""
    path = await made(open_folder / "keyturn.db")
    set_mode(path, file_mode)
    set_mode(open_folder, folder_mode)

    with unprivileged(), pytest.raises(ConfigurationError, match=told):
        await SQLiteStore.open(str(path))


async def test_a_file_that_cannot_be_made(open_folder: Path) -> None:
    """As its folder does not allow it."""
    set_mode(open_folder, 0o555)

    with unprivileged(), pytest.raises(ConfigurationError, match="cannot be opened"):
        await SQLiteStore.open(str(open_folder / "keyturn.db"), create=True)


@pytest.mark.parametrize("umask", [0o000, 0o777])
async def test_files_are_for_their_owner_alone(tmp_path: Path, umask: int) -> None:
    """Whatever the umask gives or takes (requirement E3)."""
    before = os.umask(umask)
    try:
        store = await SQLiteStore.open(str(tmp_path / "keyturn.db"), create=True)
        await begin(store, a_session())
        modes = modes_in(tmp_path)
        await store.close()
    finally:
        os.umask(before)

    assert modes == dict.fromkeys(["keyturn.db", "keyturn.db-wal", "keyturn.db-shm"], 0o600)


def test_many_processes_make_one_database(tmp_path: Path) -> None:
    """Started at once on an absent file, all succeed and all write to the same one."""
    path = tmp_path / "keyturn.db"
    sids = [a_session().sid for _ in range(6)]

    processes = [start_python(CREATE_AND_SIGN_IN, path, sid) for sid in sids]

    assert [process.communicate() for process in processes] == [("", "")] * 6
    with apsw.Connection(str(path)) as connection:
        assert set(connection.execute("SELECT sid FROM session")) == {(sid,) for sid in sids}
    connection.close()


def test_the_last_step_waits_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file becomes one with a WAL when no other process is reading it, which SQLite refuses to
    wait for by itself.
    """
    ours, other = (apsw.Connection(str(tmp_path / "keyturn.db")) for _ in range(2))
    ours.execute("CREATE TABLE session (sid)")
    other.execute("BEGIN; SELECT * FROM session")
    monkeypatch.setattr(time, "sleep", lambda _: other.execute("COMMIT"))

    opening._use_wal(ours)

    assert (other.in_transaction, ours.pragma("journal_mode")) == (False, "wal")


@pytest.mark.parametrize("name", [":memory:", "file:a?mode=memory", "näme with spaces%20", "?"])
async def test_a_path_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """SQLite's special names are ordinary ones here, and relative paths hold in any folder."""
    monkeypatch.chdir(tmp_path)
    store = await SQLiteStore.open(name, create=True)
    monkeypatch.chdir("/")
    await begin(store, a_session())
    await store.close()

    assert set(files_in(tmp_path)) == {name}


async def test_a_store_is_opened_by_its_url(tmp_path: Path) -> None:
    """Absolute paths have four slashes."""
    await made(tmp_path / "keyturn.db")

    store = await open_store(f"sqlite:///{tmp_path}/keyturn.db")

    assert len(await store.list_sessions("ann")) == 1
    await store.close()


@pytest.mark.parametrize("version", ["3.51.2", "3.9.99", "2.100.0"])
async def test_an_old_sqlite_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """It could damage the file."""
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: version)

    assert f"this is {version}" in await refusal_of(tmp_path / "keyturn.db", create=True)


async def test_a_newer_sqlite_is_welcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions are compared as numbers."""
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.100.0")

    store = await SQLiteStore.open(str(tmp_path / "keyturn.db"), create=True)

    await store.check()
    await store.close()


def test_a_file_system_without_shared_memory_is_refused() -> None:
    """There SQLite answers with another journal mode than the one asked for."""
    with pytest.raises(ConfigurationError, match="share memory"):
        opening._use_wal(apsw.Connection(":memory:"))
