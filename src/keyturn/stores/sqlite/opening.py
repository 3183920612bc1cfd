"""The database file: recognised before it is touched, and made only where that was asked for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import apsw

from keyturn.core.errors import ConfigurationError
from keyturn.stores.migrations import shipped_migrations

from .migrate import migrate

__all__ = ["APPLICATION_ID", "check_release", "connect", "connect_to_read", "prepare", "transact"]

APPLICATION_ID: Final = int.from_bytes(b"KTRN", "big")
"""In the header of every file of ours, where ``file`` and we look for it."""

_OLDEST_SQLITE: Final = (3, 51, 3)
"""Older ones can damage the file when two connections write and begin the WAL anew at once."""

_BUSY_MILLISECONDS: Final = 5000

Result = TypeVar("Result")


def prepare(path: Path, *, create: bool) -> None:
    """See that ``path`` is a database of ours with all its tables; make it where there is none.

    Raises:
        ConfigurationError: it is absent and not to be made, foreign, damaged, cannot be written,
            or of another release. Nothing was changed.
        apsw.Error: the disk failed, or another process kept it locked.
    """
    check_release()
    try:
        _check_place(path, create=create)
        if create:
            _make_file(path)
    except OSError as error:
        raise _refusal(path, f"cannot be opened: {error.strerror}") from error
    connection = connect(path)
    try:
        _check_header(connection, path, create=create)
        transact(connection, "BEGIN IMMEDIATE", _make_ours)
        _use_wal(connection)
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise _refusal(path, "is damaged; restore a backup") from error
    except (apsw.CantOpenError, apsw.ReadOnlyError) as error:
        raise _refusal(path, "cannot be written, or its folder cannot") from error
    finally:
        connection.close()


def connect(path: Path) -> apsw.Connection:
    """A connection to an existing file, with the settings that all of ours have."""
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    except apsw.CantOpenError as error:
        raise _refusal(path, "cannot be opened") from error
    connection.set_busy_timeout(_BUSY_MILLISECONDS)
    if connection.readonly("main"):
        connection.close()
        raise _refusal(path, "cannot be written")
    return connection


def connect_to_read(path: Path) -> apsw.Connection:
    """A connection that leaves no trace. A file that nobody has open is declared to be immutable,
    as SQLite would else leave two more beside it, even after mere reading.

    Raises:
        ConfigurationError: it is absent, or a database of another program.
        apsw.Error: the disk failed, or the file is damaged.
    """
    if not path.exists() or not path.stat().st_size:
        raise _refusal(path, "holds nothing; `keyturn init` makes it")
    in_use = path.with_name(path.name + "-wal").exists()
    uri = f"{path.absolute().as_uri()}?{'mode=ro' if in_use else 'immutable=1'}"
    connection = apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    connection.set_busy_timeout(_BUSY_MILLISECONDS)  # whoever opens or closes it holds a lock
    if connection.pragma("application_id") == APPLICATION_ID:
        return connection
    connection.close()
    raise _refusal(path, "is a database of another program")


def transact(
    connection: apsw.Connection, begin: str, job: Callable[[apsw.Connection], Result]
) -> Result:
    """Run ``job`` in one transaction: all of it, or none."""
    try:
        connection.execute(begin)
        result = job(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return result


def check_release() -> None:
    """Refuse a SQLite that may damage the file.

    Raises:
        ConfigurationError: it is too old.
    """
    version = apsw.sqlite_lib_version()
    if tuple(int(part) for part in version.split(".")) < _OLDEST_SQLITE:
        wanted = ".".join(map(str, _OLDEST_SQLITE))
        raise ConfigurationError(
            "database_url", f"needs SQLite {wanted} or newer, this is {version}; upgrade apsw"
        )


def _check_place(path: Path, *, create: bool) -> None:
    if path.is_dir():
        raise _refusal(path, "is a folder; name a file in it")
    if not path.parent.is_dir():
        raise _refusal(path.parent, "is no folder; make it first")
    if not create and not path.exists():
        raise _refusal(path, "does not exist; `keyturn init` makes it")


def _make_file(path: Path) -> None:
    """An empty one, for the owner alone; SQLite gives the files beside it the same mode."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    os.fchmod(file, 0o600)  # whatever the umask took away
    os.close(file)


def _check_header(connection: apsw.Connection, path: Path, *, create: bool) -> None:
    """Judge the first bytes before SQLite acts on the file, as it may roll back or checkpoint.

    They are read through SQLite's own file handle: closing another one would drop the locks that
    this process holds on the file.
    """
    if path.stat().st_size == 0:
        if not create:
            raise _refusal(path, "is empty; `keyturn init` makes a database of it")
        return
    whole, header = connection.read("main", 0, 0, 100)
    if not whole or not header.startswith(b"SQLite format 3\0"):
        raise _refusal(path, "is not a database, or damaged; it was left as it is")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise _refusal(path, "is a database of another program; it was left as it is")


def _make_ours(connection: apsw.Connection) -> None:
    """Mark an empty file in the same transaction that makes its tables, and before it has a WAL:
    so its header is never without the mark.
    """
    if not connection.execute("SELECT count(*) FROM sqlite_schema").get:
        connection.pragma("application_id", APPLICATION_ID)
    migrate(connection, shipped_migrations(__package__))


def _use_wal(connection: apsw.Connection) -> None:
    """Once for the life of the file. SQLite itself does not wait for others at this step."""
    for _ in range(_BUSY_MILLISECONDS // 10):
        try:
            mode = connection.pragma("journal_mode", "wal")
        except apsw.BusyError:
            time.sleep(0.01)
            continue
        if mode != "wal":
            raise ConfigurationError("database_url", "is on a file system that cannot share memory")
        return
    raise apsw.BusyError


def _refusal(path: Path, what: str) -> ConfigurationError:
    return ConfigurationError("database_url", f"{path} {what}")
