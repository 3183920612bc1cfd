"""``keyturn keys`` and ``keyturn secrets``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keyturn.core.errors import StoreUnavailable

from .asking import confirm, yes_option
from .failures import Refused
from .output import as_json_option, iso, show, tell
from .running import TAKES_IDS, with_parts

if TYPE_CHECKING:
    from keyturn.core.model import SealedKey
    from keyturn.server.assembly import Parts

__all__ = ["keys", "secrets"]


@click.group()
def keys() -> None:
    """The keys that sign access tokens.

    They follow each other by themselves: running servers make a new one every 90 days, two weeks
    before it signs.
    """


@keys.command(name="list", epilog="Example: keyturn keys list")
@as_json_option
@with_parts
async def list_keys(parts: Parts, *, as_json: bool) -> None:
    """List the signing keys, in the order they were made.

    One signs; newer ones are to come. Older ones only check the tokens that they signed, and are
    dropped when the last of these has ended, at checksUntil.
    """
    show(await _rows(parts), as_json=as_json)


async def _rows(parts: Parts) -> list[dict[str, Any]]:
    from keyturn.signing_keys import checked_until

    stored = await parts.store.signing_keys()
    until = checked_until(stored, parts.sessions.cutoff_ttl)
    now = parts.sessions.now()
    return [
        {
            "kid": key.kid,
            "algorithm": key.algorithm,
            "state": _state(key, stored, now),
            "createdAt": iso(key.created_at),
            "signsFrom": iso(key.use_from),
            "checksUntil": iso(until.get(key.kid)),
        }
        for key in stored
    ]


def _state(key: SealedKey, stored: Sequence[SealedKey], now: int) -> str:
    from keyturn.core.keyring import in_use

    if key is in_use(stored, now):
        return "signs"
    return "to come" if key is in_use(stored, max(now, key.use_from)) else "checks only"


@keys.command(epilog="Example: keyturn keys rotate")
@click.option(
    "--now", is_flag=True, help="Retire all other keys at once: for when they may have leaked."
)
@as_json_option
@with_parts
async def rotate(parts: Parts, *, now: bool, as_json: bool) -> None:
    """Make a new signing key, of the configured algorithm.

    There is no need to unless you want one before its time. It is published now and signs in a
    quarter of an hour, when all copies of the public keys know it. The old one checks until its
    last token has ended, and is then dropped. Nobody notices.

    With --now it signs in two seconds, when all running servers know it. Then all other keys are
    retired, as `keyturn keys retire` does with one.
    """
    kid = await parts.sessions.rotate_keys(at_once=now)
    key = next((row for row in await _rows(parts) if row["kid"] == kid), None)
    if key is None:
        raise StoreUnavailable(f"Somebody else has dropped key {kid} meanwhile")
    signs = "it signs, and all others are dropped" if now else f"it signs from {key['signsFrom']}"
    tell(f"Made {key['algorithm']} key {kid}; {signs}.", key, as_json=as_json)


@keys.command(context_settings=TAKES_IDS, epilog="Example: keyturn keys retire KID")
@click.argument("kid")
@yes_option
@as_json_option
@with_parts
async def retire(parts: Parts, kid: str, *, yes: bool, as_json: bool) -> None:
    """Drop a signing key that may have leaked.

    KID is as `keyturn keys list` shows it. Running servers refuse the access tokens that it signed
    within a second. Sessions live on: clients exchange their refresh tokens and go on.

    If it is the one that signs, the next one takes its place, or a new one if none is to come. No
    server refuses a token of that one: the command waits two seconds until all know it, unless it
    was made long ago.

    Services that follow the feed of revocations learn it as soon as servers do. Others keep a copy
    of the public keys for up to five minutes: until then they accept the retired key, and do not
    know one that was just made.

    A damaged key, or one whose secret is lost, is dropped in the same way once you have said yes:
    none of the secrets opens it. If a secret is only missing here, say no and add it: servers that
    have it do not open a key that is made without it, and do not start until that one is retired.
    """
    from keyturn.signing_keys import SigningKeyUnknown

    lost = await _is_lost(parts, kid)
    if lost and not yes:
        confirm(
            f"None of the secrets opens signing key {kid}. Is the one it was sealed under lost for"
            " good, and not only missing here, or is the key damaged, so that it may be dropped?"
        )
    try:
        await parts.sessions.retire_key(kid, lost=lost)
    except SigningKeyUnknown as error:
        raise Refused(
            error.code, f"there is no signing key {kid!r}; `keyturn keys list` shows all"
        ) from None
    sentence = f"Retired key {kid}; tokens that it signed are refused."
    tell(sentence, {"kid": kid}, as_json=as_json)


async def _is_lost(parts: Parts, kid: str) -> bool:
    """Whether that key is there, and none of the secrets opens it."""
    from keyturn.signing_keys import opens

    stored = await parts.store.signing_keys()
    return any(key.kid == kid and not opens(parts.sessions.secrets, key) for key in stored)


@click.group()
def secrets() -> None:
    """The server's secrets."""


@secrets.command(epilog="Example: keyturn secrets new /etc/keyturn/secret-2026")
@click.argument("file", type=click.Path(path_type=Path))
@as_json_option
def new(file: Path, *, as_json: bool) -> None:
    """Write a new secret into a new file.

    To change the secret so that nobody notices: name the new file in second place of
    KEYTURN_SECRET_FILE (old,new) and restart all servers; then in first place (new,old) and
    restart; then, once KEYTURN_ABSOLUTE_LIFETIME has passed and `keyturn doctor` finds nothing
    wrong, take the old one away.

    SECURITY.md says what to do if the secret was stolen.
    """
    from keyturn.server.secret_files import make_secret_file

    make_secret_file(file)
    tell(f"Wrote a secret into {file}.", {"file": str(file)}, as_json=as_json)
