"""``keyturn doctor``: looks at everything a server stands on, and changes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import apsw

import keyturn.stores.sqlite
from keyturn.core.errors import ConfigurationError, KeyturnError
from keyturn.core.model import SealedKey
from keyturn.core.server_secret import ServerSecrets
from keyturn.signing_keys import open_key
from keyturn.stores.migrations import pending, shipped_migrations
from keyturn.stores.sqlite.faults import told_as_unavailable
from keyturn.stores.sqlite.opening import APPLICATION_ID
from keyturn.stores.sqlite.statements import signing_keys

from .assembly import database_file, holds_nothing, policy_of, wire_settings_of
from .exits import told
from .secret_files import find_secrets, is_private, secret_files
from .settings import Settings, unknown_proxy

__all__ = ["Finding", "examine"]

_RELEASED: Final = datetime(2026, 1, 1, tzinfo=UTC)
_SECONDS_APART: Final = 2
"""How far the clocks of servers may be apart before it is worth telling."""


class Finding(NamedTuple):
    """Something that was looked at. ``advice`` says what to change; without it all is well."""

    subject: str
    advice: str = ""


class _Facts(NamedTuple):
    """What one reading of the database tells."""

    outdated: bool
    quick_check: str
    newest_turn: int | None
    keys: Sequence[SealedKey]


async def examine(settings: Settings) -> list[Finding]:
    """Look at settings, modes of files, secrets, clock, and the database with its keys."""
    now = time.time()
    findings = [
        *_look("settings", _bad_settings(settings)),
        *_look("proxy", filter(None, [unknown_proxy(settings)])),
        *_look("modes of files and folders", _open_to_others(settings)),
        *_look("clock", _wrong_clock(now)),
    ]
    if holds_nothing(settings):
        state = "holds nothing" if settings.data_dir.exists() else "does not exist"
        advice = f"{settings.data_dir} {state}; `keyturn init` makes it"
        return [*findings, Finding("data folder", advice)]
    findings += _look("secrets", _bad_secrets(settings))
    database = f"database {database_file(settings)}, SQLite {apsw.sqlite_lib_version()}"
    try:
        facts = await asyncio.to_thread(_read, database_file(settings))
    except KeyturnError as error:
        return [*findings, Finding(database, told(error))]
    return [
        *findings,
        *_look(database, _damage(facts, now)),
        *(finding for key in facts.keys for finding in _sealing(key, settings)),
    ]


def _look(subject: str, advice: Iterable[str]) -> list[Finding]:
    return [Finding(subject, each) for each in advice] or [Finding(subject)]


def _read(file: Path) -> _Facts:
    """What the database says, without a trace of the reading.

    Raises:
        ConfigurationError: it is absent, foreign, or of another release.
        StoreUnavailable: the disk failed, it is locked, or damaged.
    """
    if not file.exists() or not file.stat().st_size:
        raise ConfigurationError("database_url", f"{file} holds nothing; `keyturn init` makes it")
    with told_as_unavailable(), closing(_connect(file)) as connection:
        connection.execute("BEGIN")  # one state, though a server may write
        if connection.pragma("application_id") != APPLICATION_ID:
            raise ConfigurationError("database_url", f"{file} is a database of another program")
        applied = dict(connection.execute("SELECT number, checksum FROM migration"))
        return _Facts(
            bool(pending(applied, shipped_migrations(keyturn.stores.sqlite.__name__))),
            connection.execute("PRAGMA quick_check(1)").get,
            connection.execute("SELECT max(turned_at) FROM session").get,
            signing_keys(connection),
        )


def _connect(file: Path) -> apsw.Connection:
    """For reading only. A file that nobody has open is declared to be ``immutable``, as SQLite
    would else leave two more beside it, even after mere reading.
    """
    in_use = file.with_name(file.name + "-wal").exists()
    uri = f"{file.absolute().as_uri()}?{'mode=ro' if in_use else 'immutable=1'}"
    return apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)


def _bad_settings(settings: Settings) -> Iterator[str]:
    for rule in (policy_of, wire_settings_of):
        try:
            rule(settings)
        except ConfigurationError as error:
            yield told(error)


def _open_to_others(settings: Settings) -> Iterator[str]:
    modes = {settings.data_dir: 700, database_file(settings): 600}
    modes |= dict.fromkeys(secret_files(settings), 600)
    for path, mode in modes.items():
        if path.exists() and not is_private(path):
            yield f"others can get at {path}: run chmod {mode} {path}"


def _bad_secrets(settings: Settings) -> Iterator[str]:
    try:
        find_secrets(settings)
    except ConfigurationError as error:
        yield told(error)


def _wrong_clock(now: float) -> Iterator[str]:
    if now < _RELEASED.timestamp():
        yield f"it shows {datetime.fromtimestamp(now, UTC):%Y-%m-%d}, which is over: set it"


def _damage(facts: _Facts, now: float) -> Iterator[str]:
    if facts.quick_check != "ok":
        yield f"it is damaged ({facts.quick_check}): restore a backup"
    if facts.outdated:
        yield "it was made by an older release: the next start of a server brings it up to date"
    ahead = (facts.newest_turn or 0) - now
    if ahead > _SECONDS_APART:
        yield (
            f"clocks of the servers differ by at least {int(ahead)} s;"
            " keep them within a second (NTP)"
        )
    if not facts.keys:
        yield "it holds no signing key: run `keyturn init`"


def _sealing(key: SealedKey, settings: Settings) -> list[Finding]:
    """Whether, and which of the secrets opens a signing key."""
    subject = f"signing key {key.kid} ({key.algorithm})"
    try:
        secrets = find_secrets(settings)
    except ConfigurationError:
        return []  # told of already
    opening = [place for place, secret in enumerate(secrets, 1) if _opens(secret, key)]
    if not opening:
        return [Finding(subject, "none of the secrets opens it: add the one it was sealed under")]
    subject += f", sealed under secret {opening[0]} of {len(secrets)}"
    if opening[0] > 1:
        advice = "restart a server before you take that secret away, so that it is sealed anew"
        return [Finding(subject, advice)]
    return [Finding(subject)]


def _opens(secret: bytes, key: SealedKey) -> bool:
    try:
        open_key(key, ServerSecrets([secret]))
    except ConfigurationError:
        return False
    return True
