"""``keyturn doctor``: looks at everything a server stands on, and changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from keyturn.core.errors import ConfigurationError, KeyturnError
from keyturn.core.model import DAY, SealedKey
from keyturn.core.server_secret import ServerSecrets
from keyturn.signing_keys import PUBLISHED_FOR, USED_FOR, open_key

from .assembly import holds_nothing, policy_of, wire_settings_of
from .databases import file_of, name_of
from .exits import told
from .facts import Facts, read_facts
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


async def examine(settings: Settings) -> list[Finding]:
    """Look at settings, modes of files, secrets, clock, and the database with its keys."""
    now = time.time()
    findings = [
        *_look("settings", _bad_settings(settings)),
        *_look("proxy", filter(None, [unknown_proxy(settings)])),
        *_look("modes of files and folders", _open_to_others(settings)),
        *_look("clock", _wrong_clock(now)),
    ]
    if file_of(settings) is not None and holds_nothing(settings):
        state = "holds nothing" if settings.data_dir.exists() else "does not exist"
        advice = f"{settings.data_dir} {state}; `keyturn init` makes it"
        return [*findings, Finding("data folder", advice)]
    findings += _look("secrets", _bad_secrets(settings))
    try:
        facts = await read_facts(settings)
    except KeyturnError as error:
        return [*findings, Finding(f"database {name_of(settings)}", told(error))]
    return [
        *findings,
        *_look(f"database {facts.database}", [*_damage(facts), *_off_schedule(facts.keys, now)]),
        *(finding for key in facts.keys for finding in _sealing(key, settings)),
    ]


def _look(subject: str, advice: Iterable[str]) -> list[Finding]:
    return [Finding(subject, each) for each in advice] or [Finding(subject)]


def _bad_settings(settings: Settings) -> Iterator[str]:
    for rule in (policy_of, wire_settings_of):
        try:
            rule(settings)
        except ConfigurationError as error:
            yield told(error)


def _open_to_others(settings: Settings) -> Iterator[str]:
    files = filter(None, (file_of(settings), *secret_files(settings)))
    modes = {settings.data_dir: 700} | dict.fromkeys(files, 600)
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


def _damage(facts: Facts) -> Iterator[str]:
    if facts.damage:
        yield f"it is damaged ({facts.damage}): restore a backup"
    if facts.outdated:
        yield "it was made by an older release: `keyturn init` brings it up to date"
    if facts.ahead > _SECONDS_APART:
        yield (
            f"clocks of the servers differ by at least {int(facts.ahead)} s;"
            " keep them within a second (NTP)"
        )
    if not facts.keys:
        yield "it holds no signing key: run `keyturn init`"
    yield from facts.advice


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
