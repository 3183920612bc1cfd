"""``keyturn keys`` and ``keyturn secrets``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import as_json_option, iso, show
from .running import with_parts

if TYPE_CHECKING:
    from keyturn.core.keyring import Keyring
    from keyturn.server.assembly import Parts

__all__ = ["keys", "secrets"]


@click.group()
def keys() -> None:
    """The keys that sign access tokens."""


@keys.command(name="list")
@as_json_option
@with_parts
async def list_keys(parts: Parts, *, as_json: bool) -> None:
    """List the signing keys.

    One signs; newer ones are to come, older ones only check the tokens that they signed.
    """
    keyring = await _keyring(parts)
    now = parts.sessions.now()
    rows = [
        {
            "kid": key.kid,
            "algorithm": key.algorithm,
            "createdAt": iso(key.created_at),
            "signsFrom": iso(key.use_from),
            "state": "to come" if key.use_from > now else "checks only",
        }
        | ({"state": "signs"} if key is keyring.signing_key(now) else {})
        for key in keyring.keys
    ]
    show(rows, as_json=as_json)


@keys.command()
@click.option(
    "--now", is_flag=True, help="Drop all other keys at once: for when they may have leaked."
)
@with_parts
async def rotate(parts: Parts, *, now: bool) -> None:
    """Make a new signing key, of the configured algorithm.

    It is published now and signs in a quarter of an hour, when all copies of the public keys know
    it. The old one checks until its last token has ended, and is then dropped. Nobody notices.

    With --now it signs at once, and access tokens that older keys signed are refused: clients
    exchange their refresh tokens and go on. Running servers follow within a second; other
    services, when they fetch the public keys anew.
    """
    await _keyring(parts)  # a key sealed under another secret would be one that no server opens
    kid = await parts.sessions.rotate_keys()
    keyring = parts.sessions.keyring
    [key] = [key for key in keyring.keys if key.kid == kid]
    signs = f"it signs from {iso(key.use_from)}"
    if now:  # a key that is alone signs whatever its time of first use
        others = [each.kid for each in keyring.keys if each is not key]
        await parts.store.drop_signing_keys(others)
        signs = "it signs at once, and the others are dropped"
    click.echo(f"Made {key.algorithm} key {kid}; {signs}.")


async def _keyring(parts: Parts) -> Keyring:
    from keyturn.core.keyring import Keyring
    from keyturn.signing_keys import open_key

    stored = await parts.store.signing_keys()
    return Keyring(open_key(key, parts.sessions.secrets) for key in stored)


@click.group()
def secrets() -> None:
    """The server's secrets."""


@secrets.command()
@click.argument("file", type=click.Path(path_type=Path))
def new(file: Path) -> None:
    """Write a new secret into a new file.

    To change the secret so that nobody notices: name the new file in second place of
    KEYTURN_SECRET_FILE (old,new) and restart all servers; then in first place (new,old) and
    restart; then, once KEYTURN_ABSOLUTE_LIFETIME has passed and `keyturn doctor` finds nothing
    wrong, take the old one away.

    SECURITY.md says what to do if the secret was stolen.
    """
    from keyturn.server.secret_files import make_secret_file

    make_secret_file(file)
    click.echo(f"Wrote a secret into {file}.")
