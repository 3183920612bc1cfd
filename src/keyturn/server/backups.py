"""Backups: a copy of the whole database as it stands at one moment, while servers go on; and a copy
put back in its place. The server's secret is no part of it, so a stolen backup makes no token.
"""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import os
import re
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from keyturn.core.errors import ConfigurationError, StoreUnavailable
from keyturn.sessions import Sessions
from keyturn.stores import store_exists

from .assembly import alone_in, open_parts
from .databases import damage_refused, file_of
from .secret_files import make_durable, make_private_folder, sync_folder
from .settings import Settings

if TYPE_CHECKING:
    from keyturn.stores.postgres.connecting import Connection

__all__ = ["back_up", "restore"]

_SCHEMA: Final = "keyturn"
_ENTRY: Final = re.compile(
    r"\d+; \d+ \d+ [A-Z ]+ (?:- (?:SCHEMA )?(?P<schema_itself>\S+)|(?P<schema>\S+) .+) \S+"
)
"""Of the list that ``pg_restore`` makes: what there is, in which schema, its name, its owner."""
_EXISTS: Final = "it exists already and was left alone"


async def back_up(settings: Settings, target: Path) -> None:
    """Write a consistent copy of the database into new file ``target``, readable by its owner
    alone: of SQLite a database, of PostgreSQL an archive of ``pg_dump``.

    Raises:
        ConfigurationError: there is no such database, or it is a file that is damaged; ``target``
            exists or cannot be written; or a program of PostgreSQL's is missing or refuses.
        OSError: there is no room for ``target``.
        StoreUnavailable: the database does not answer.
    """
    with _new_file(target) as draft:
        file = file_of(settings)
        if file is not None:
            with damage_refused(settings):
                await asyncio.to_thread(_copy, file, draft)
        else:
            await _dump(settings, draft)
        _give_name(draft, target)


async def restore(settings: Settings, backup: Path, *, secret_lost: bool = False) -> str:
    """Put a backup in the place of the database, which is kept under another name. All access
    tokens are voided, as some may be of sessions whose end the backup does not know.

    Returns where the replaced database is kept; empty if there was none.

    Args:
        settings: of the server.
        backup: what ``back_up`` wrote.
        secret_lost: the secrets need not open its signing keys, which are to be retired then.

    Raises:
        ConfigurationError: the backup is none, the secrets do not open its keys, the database file
            is in use, or a program of PostgreSQL's is missing or refuses. All is as it was.
        OSError: there is no room for another copy beside the database. All is as it was.
        StoreUnavailable: the database does not answer. All is as it was.
    """
    file = file_of(settings)
    if file is None:
        return await _restore_schema(settings, backup, secret_lost=secret_lost)
    return await _restore_file(settings, backup, file, secret_lost=secret_lost)


# ── SQLite ──────────────────────────────────────────────────────────────────────────────────────


def _copy(file: Path, draft: Path) -> None:
    import apsw

    from keyturn.stores.sqlite.faults import told_as_unavailable
    from keyturn.stores.sqlite.opening import connect_to_read

    with (
        told_as_unavailable(),
        closing(connect_to_read(file)) as source,
        closing(apsw.Connection(str(draft))) as copy,
    ):
        try:
            with copy.backup("main", source, "main") as backup:
                backup.step(-1)  # all at once: a reader, for whom no writer waits
        except apsw.Error as error:
            # Nothing is written where it is copied from. A quota, or a file that is too large, is
            # a failure to write to SQLite.
            if getattr(error, "extendedresult", None) not in {
                apsw.SQLITE_FULL,
                apsw.SQLITE_IOERR_WRITE,
                apsw.SQLITE_IOERR_FSYNC,
                apsw.SQLITE_IOERR_TRUNCATE,
            }:
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(draft.parent)) from None
        if copy.pragma("quick_check") != "ok":
            raise apsw.CorruptError


async def _restore_file(settings: Settings, backup: Path, file: Path, *, secret_lost: bool) -> str:
    make_private_folder(file.parent)
    async with alone_in(file.parent):
        with _new_file(_beside(file, "restoring")) as draft:
            await asyncio.to_thread(_copy_backup, backup, draft)
            of_draft = dataclasses.replace(settings, database_url=f"sqlite:///{draft}")
            await _open_and_void(of_draft, secret_lost=secret_lost)
            return await asyncio.to_thread(_take_place, draft, file)


def _copy_backup(backup: Path, draft: Path) -> None:
    try:
        _copy(backup, draft)
    except (ConfigurationError, StoreUnavailable):
        raise ConfigurationError(
            f"cannot restore {backup}", "it is no backup of Keyturn, or damaged"
        ) from None


def _take_place(draft: Path, file: Path) -> str:
    kept = _beside(file, f"replaced-{_stamp()}")
    there = file.exists()
    if there:
        _see_unused(file)
        os.link(file, kept)  # fails where there is one of that name, instead of replacing it
        for rest in ("-wal", "-shm"):  # of a file that is damaged; it must not lie beside another
            with suppress(FileNotFoundError):
                Path(f"{file}{rest}").rename(f"{kept}{rest}")
    draft.replace(file)
    sync_folder(file.parent)
    return str(kept) if there else ""


def _see_unused(file: Path) -> None:
    """See that nobody has the database open; then all of it is in this one file. One that is
    damaged is of use to nobody.
    """
    import apsw

    try:
        with closing(apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
            connection.pragma("locking_mode", "exclusive")
            connection.execute("BEGIN EXCLUSIVE; COMMIT")
    except apsw.BusyError:
        raise ConfigurationError(
            "database_url", f"{file} is in use: stop the server first"
        ) from None
    except (apsw.NotADBError, apsw.CorruptError):
        pass


# ── PostgreSQL ──────────────────────────────────────────────────────────────────────────────────


async def _dump(settings: Settings, draft: Path) -> None:
    if not await store_exists(settings.database_url):
        raise ConfigurationError("database_url", "holds no tables of Keyturn; run `keyturn init`")
    choice = ("--format=custom", f"--schema={_SCHEMA}", "--no-owner", f"--file={draft}")
    await _run(settings, "pg_dump", *choice, *_database(settings))


async def _restore_schema(settings: Settings, backup: Path, *, secret_lost: bool) -> str:
    from keyturn.stores.postgres.connecting import Connector
    from keyturn.stores.postgres.opening import visited

    await _require_ours(settings, backup)
    kept = f"{_SCHEMA}_replaced_{_stamp().lower()}"
    async with visited(Connector(settings.database_url)) as connection:
        await _require_rights(connection)
        await connection.execute("SET lock_timeout = '60s'; SET statement_timeout = '10min'")
        there = await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", _SCHEMA)
        if there:
            await connection.execute(f"ALTER SCHEMA {_SCHEMA} RENAME TO {kept}")
        try:
            choice = ("--single-transaction", "--no-owner", str(backup))
            await _run(settings, "pg_restore", *choice, *_database(settings))
            await _open_and_void(settings, secret_lost=secret_lost)
        except BaseException:
            await connection.execute(f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE")
            if there:
                await connection.execute(f"ALTER SCHEMA {kept} RENAME TO {_SCHEMA}")
            raise
    return f"schema {kept}" if there else ""


async def _require_rights(connection: Connection) -> None:
    """A schema gets another name, and one is made: to own that of the tables is not enough."""
    if grant := await connection.fetchval(_WHAT_TO_GRANT):
        raise ConfigurationError(
            "database_url", f"names a user who may make no schema, as a restore does: {grant}"
        )


_WHAT_TO_GRANT: Final = """
    SELECT format('GRANT CREATE ON DATABASE %I TO %I', current_database(), current_user)
    WHERE NOT has_database_privilege(current_database(), 'CREATE')"""


async def _require_ours(settings: Settings, backup: Path) -> None:
    """Else all that is in an archive would be restored, of whichever program."""
    entries = (await _run(settings, "pg_restore", "--list", str(backup))).splitlines()
    found = [_ENTRY.fullmatch(entry) for entry in entries if entry and not entry.startswith(";")]
    if not all(entry and _SCHEMA in (entry["schema"], entry["schema_itself"]) for entry in found):
        raise ConfigurationError(f"cannot restore {backup}", "it holds more than tables of Keyturn")


async def _run(settings: Settings, program: str, *arguments: str) -> str:
    """What a program of PostgreSQL's prints. The password is where no list of processes shows
    it. Of several servers it takes the one that we take, unless the URL says otherwise.
    """
    password = unquote(urlsplit(settings.database_url).password or "")
    environment = os.environ | {"PGTARGETSESSIONATTRS": "read-write"}
    environment |= {"PGPASSWORD": password} if password else {}
    try:
        process = await asyncio.create_subprocess_exec(
            program, *arguments, env=environment, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )
    except FileNotFoundError:
        raise ConfigurationError(
            program, "is needed and not installed; in Debian it comes with postgresql-client"
        ) from None
    try:
        output, complaint = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            process.terminate()  # where we are called off
    if process.returncode:
        first = complaint.decode(errors="replace").strip().partition("\n")[0]
        raise ConfigurationError(program, first.removeprefix(f"{program}: ") or "failed")
    return output.decode(errors="replace")


def _database(settings: Settings) -> tuple[str]:
    url = urlsplit(settings.database_url)
    user, at, host = url.netloc.rpartition("@")
    return (f"--dbname={urlunsplit(url._replace(netloc=user.partition(':')[0] + at + host))}",)


# ── both ────────────────────────────────────────────────────────────────────────────────────────


async def _open_and_void(settings: Settings, *, secret_lost: bool) -> None:
    parts = await open_parts(settings, create=True)  # the backup may be of an older release
    try:
        await _load(parts.sessions, secret_lost=secret_lost)
        await parts.sessions.void_all()
    finally:
        await parts.close()


async def _load(sessions: Sessions, *, secret_lost: bool) -> None:
    """See that the backup is of this server, as far as its secret tells."""
    try:
        await sessions.load()
    except ConfigurationError as error:
        if error.setting != "secret":
            raise
        if not secret_lost:
            raise ConfigurationError(
                "secret",
                "none of the secrets opens a signing key of the backup: add the one it was sealed"
                " under; only if that is lost: `keyturn restore --secret-lost`",
            ) from None


@contextmanager
def _new_file(target: Path) -> Iterator[Path]:
    """A draft of ``target``, which does not exist yet, for the owner alone. It is gone at the end,
    unless it was given its name.
    """
    if target.exists():
        raise ConfigurationError(f"cannot write {target}", _EXISTS)
    try:
        descriptor, name = tempfile.mkstemp(prefix=f"{target.name}.", dir=target.parent)
    except OSError as error:
        raise ConfigurationError(f"cannot write {target}", str(error.strerror)) from None
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        with suppress(OSError):
            Path(name).unlink(missing_ok=True)


def _give_name(draft: Path, target: Path) -> None:
    make_durable(draft)
    try:
        os.link(draft, target)
    except FileExistsError:
        raise ConfigurationError(f"cannot write {target}", _EXISTS) from None
    sync_folder(target.parent)


def _beside(file: Path, what: str) -> Path:
    return file.with_name(f"{file.name}.{what}")


def _stamp() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
