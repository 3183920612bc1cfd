"""``keyturn doctor``: looks at everything a server stands on, and changes nothing."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from keyturn.core.errors import ConfigurationError, KeyturnError
from keyturn.core.model import DAY, SealedKey
from keyturn.core.server_secret import ServerSecrets
from keyturn.signing_keys import PUBLISHED_FOR, USED_FOR, opens

from .assembly import RULES, WEBHOOK, holds_nothing, webhook_of, wire_settings_of
from .databases import file_of, name_of
from .exits import told
from .facts import Facts, read_facts
from .findings import SECONDS_APART, Finding, look
from .front import look_at_webhook, look_from_front
from .secret_files import default_secret_file, find_secrets, is_private, secret_files
from .settings import Settings, unknown_proxy, variable

__all__ = ["examine"]

_RELEASED: Final = datetime(2026, 1, 1, tzinfo=UTC)
_LEAST_ROOM: Final = 200
"""Megabytes, on the disk of a file of SQLite."""
_OLD: Final = 366 * DAY
_MANY_EVENTS: Final = 1000


async def examine(settings: Settings, *, up: bool = False) -> list[Finding]:
    """Look at settings, files, secrets, clock, the database with its keys, and whoever answers at
    the public URL, and the receiver of the webhook.

    Args:
        settings: of the server.
        up: whether a server is meant to run, so that it is wrong where none answers.
    """
    now = time.time()
    closed = [Finding("folders", advice) for advice in _closed_folders(settings)]
    findings = [
        *look("settings", _bad_settings(settings)),
        *look("cookies", (), _weak_cookies(settings)),
        *look("proxy", filter(None, [unknown_proxy(settings)])),
        *(closed or _of_files(settings)),
        *look("clock", _wrong_clock(now)),
    ]
    if not closed and file_of(settings) is not None and holds_nothing(settings):
        state = "holds nothing" if settings.data_dir.exists() else "does not exist"
        advice = f"{settings.data_dir} {state}; `keyturn init` makes it"
        return [*findings, Finding("data folder", advice)]
    if not closed:
        findings += look("secrets", _bad_secrets(settings), _old_secrets(settings, now))
        findings += look("room on the disk", _little_room(settings))
    facts = None
    try:
        if not closed or file_of(settings) is None:
            facts = await read_facts(settings)
            findings += _of_database(facts, settings, now)
    except KeyturnError as error:
        findings.append(Finding(f"database {name_of(settings)}", told(error)))
    findings += await _of_front(settings, facts, up=up)
    return [*findings, *await _of_receiver(settings)]


def _of_files(settings: Settings) -> list[Finding]:
    return [
        *look("modes of files and folders", _open_to_others(settings)),
        *look("owners of files", _of_other_owners(settings)),
    ]


def _of_database(facts: Facts, settings: Settings, now: float) -> list[Finding]:
    advice = [*_damage(facts), *_off_schedule(facts.keys, now)]
    sealing = [finding for key in facts.keys for finding in _sealing(key, settings)]
    webhook = look("webhook", _undelivered(facts, settings)) if WEBHOOK in facts.hooks else []
    return [*look(f"database {facts.database}", advice), *webhook, *sealing]


async def _of_front(settings: Settings, facts: Facts | None, *, up: bool) -> list[Finding]:
    """Nobody is asked at a place that cannot be one."""
    try:
        wire_settings_of(settings)
    except ConfigurationError:
        return []
    secrets = _readable_secrets(settings)
    kids = {key.kid for key in facts.keys} if facts is not None else set()
    return await asyncio.to_thread(
        look_from_front, settings, secrets[0] if secrets else None, kids, up=up
    )


async def _of_receiver(settings: Settings) -> list[Finding]:
    try:
        webhook_of(settings)
    except ConfigurationError:
        return []
    return await asyncio.to_thread(look_at_webhook, settings)


# ── settings and files ──────────────────────────────────────────────────────────────────────────


def _bad_settings(settings: Settings) -> Iterator[str]:
    for rule in RULES:
        try:
            rule(settings)
        except ConfigurationError as error:
            yield told(error)


def _weak_cookies(settings: Settings) -> Iterator[str]:
    https = settings.public_url.startswith("https:")
    if not https and not settings.cookie_insecure_http:
        yield (
            "Safari takes those for https not even from this machine, as others do: for it set"
            f" {variable('cookie_insecure_http')}=true"
        )
    if https and not settings.cookie_prefix.startswith("__"):
        yield (
            "other hosts of the domain, and http, may set them, as their names do not begin with"
            f" __Host-: leave {variable('cookie_prefix')} away if you can"
        )


def _closed_folders(settings: Settings) -> Iterator[str]:
    """Where we cannot look at anything, as we are another user."""
    files = [*secret_files(settings), *filter(None, [file_of(settings)])]
    for folder in sorted({settings.data_dir, *(file.parent for file in files)}):
        with suppress(FileNotFoundError, NotADirectoryError):
            try:
                (folder / "anything").stat()
            except PermissionError:
                name = _name_of_user(os.geteuid())
                yield f"{folder} is closed to {name}: run this as the user of the server"


def _open_to_others(settings: Settings) -> Iterator[str]:
    files = filter(None, (file_of(settings), *secret_files(settings)))
    modes = {settings.data_dir: 700} | dict.fromkeys(files, 600)
    for path, mode in modes.items():
        if path.exists() and not is_private(path):
            yield f"others can get at {path}: run chmod {mode} {path}"


def _of_other_owners(settings: Settings) -> Iterator[str]:
    """What a command that was run by root leaves behind is closed to the server."""
    database = file_of(settings)
    files = [default_secret_file(settings)]
    if database is not None:
        files += [database, Path(f"{database}-wal"), Path(f"{database}-shm")]
    for file in files:
        with suppress(FileNotFoundError):
            owner = file.parent.stat().st_uid
            if file.stat().st_uid != owner:
                name = _name_of_user(owner)
                yield f"{file} is not of {name}, as its folder is: run chown {name} {file}"


def _name_of_user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _little_room(settings: Settings) -> Iterator[str]:
    file = file_of(settings)
    if file is not None and file.parent.is_dir():
        free = shutil.disk_usage(file.parent).free // 1_000_000
        if free < _LEAST_ROOM:
            yield f"{free} MB are left in {file.parent}: make room before nothing can be written"


def _readable_secrets(settings: Settings) -> Sequence[bytes]:
    """None where they are not as they should be, which is told elsewhere."""
    with suppress(ConfigurationError, PermissionError):
        return find_secrets(settings)
    return ()


def _bad_secrets(settings: Settings) -> Iterator[str]:
    try:
        find_secrets(settings)
    except ConfigurationError as error:
        yield told(error)


def _old_secrets(settings: Settings, now: float) -> Iterator[str]:
    if len(_readable_secrets(settings)) > 2:
        yield "there are more than two: take away those unused for an absolute lifetime"
    for file in secret_files(settings)[:1]:
        with suppress(OSError):
            made = file.stat().st_mtime
            if now - made > _OLD:
                day = f"{datetime.fromtimestamp(made, UTC):%Y-%m-%d}"
                yield f"{file} is of {day}: change it once a year, as `keyturn secrets new` says"


def _wrong_clock(now: float) -> Iterator[str]:
    if now < _RELEASED.timestamp():
        yield f"it shows {datetime.fromtimestamp(now, UTC):%Y-%m-%d}, which is over: set it"


# ── the database ────────────────────────────────────────────────────────────────────────────────


def _damage(facts: Facts) -> Iterator[str]:
    if facts.damage:
        yield f"it is damaged ({facts.damage}): restore a backup"
    if facts.outdated:
        yield "it was made by an older release: `keyturn init` brings it up to date"
    if facts.ahead > SECONDS_APART:
        yield (
            f"clocks of the servers differ by at least {int(facts.ahead)} s;"
            " keep them within a second (NTP)"
        )
    if not facts.keys:
        yield "it holds no signing key: run `keyturn init`"
    yield from facts.advice


def _undelivered(facts: Facts, settings: Settings) -> Iterator[str]:
    waiting, given_up = facts.hooks[WEBHOOK]
    if given_up:
        yield f"{given_up} events could not be posted: `keyturn webhook list` says why"
    if not settings.webhook_url:
        yield (
            f"{waiting} events wait to be posted, and none is while {variable('webhook_url')} is"
            " not set: set it, or end that with `keyturn webhook off`"
        )
    elif waiting > _MANY_EVENTS:
        yield f"{waiting} events wait to be posted: see whether the receiver answers"


def _sealing(key: SealedKey, settings: Settings) -> list[Finding]:
    """Whether, and which of the secrets opens a signing key."""
    subject = f"signing key {key.kid} ({key.algorithm})"
    secrets = _readable_secrets(settings)
    if not secrets:
        return []
    opening = [
        place for place, secret in enumerate(secrets, 1) if opens(ServerSecrets([secret]), key)
    ]
    if not opening:
        advice = (
            "none of the secrets opens it: add the one it was sealed under; only if that is lost,"
            f" or the key damaged: `keyturn keys retire -- {key.kid}`"
        )
        return [Finding(subject, advice)]
    subject += f", sealed under secret {opening[0]} of {len(secrets)}"
    if opening[0] > 1:
        advice = "restart a server before you take that secret away, so that it is sealed anew"
        return [Finding(subject, advice)]
    return [Finding(subject)]


def _off_schedule(keys: Sequence[SealedKey], now: float) -> Iterator[str]:
    """Servers that run publish the next signing key in time, and none publishes it earlier."""
    ahead = keys[-1].use_from - now if keys else 0
    if ahead <= -USED_FOR:
        yield (
            f"its newest signing key signs for {int(-ahead) // DAY} days, as no server has been"
            " running to make the next one: start one, or run `keyturn keys rotate`"
        )
    if ahead > PUBLISHED_FOR + DAY:
        yield (
            f"its newest signing key is to sign in {int(ahead) // DAY} days only: if the clock is"
            f" right here, it was wrong then; run `keyturn keys retire {keys[-1].kid}`"
        )
