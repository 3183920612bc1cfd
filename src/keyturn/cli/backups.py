"""``keyturn backup`` and ``restore``."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from keyturn.server.settings import Settings

from .output import as_json_option, tell
from .running import with_settings

__all__ = ["backup", "restore"]


@click.command(epilog="Example: keyturn backup /var/backups/keyturn-2026-01-31")
@click.argument("file", type=click.Path(path_type=Path))
@as_json_option
@with_settings
def backup(settings: Settings, file: Path, *, as_json: bool) -> None:
    """Copy the whole database into a new file.

    As it stands at one moment, while servers go on. Of SQLite the file is a database; of PostgreSQL
    an archive of pg_dump, which must be installed.

    The secret is not in it: keep a copy of that elsewhere. Without it nobody stays signed in after
    a restore, which needs --secret-lost then; with both, whoever has them can make tokens.
    """
    from keyturn.server.backups import back_up

    asyncio.run(back_up(settings, file))
    tell(f"Wrote a backup into {file}.", {"file": str(file)}, as_json=as_json)


@click.command(epilog="Example: keyturn restore /var/backups/keyturn-2026-01-31")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--secret-lost", is_flag=True, help="Also if none of the secrets opens its signing keys."
)
@as_json_option
@with_settings
def restore(settings: Settings, file: Path, *, secret_lost: bool, as_json: bool) -> None:
    """Put a backup in the place of the database.

    What it replaces is kept under another name. On SQLite the server must be stopped. Access tokens
    issued until now are void; clients exchange their refresh tokens and go on.

    Sessions begun since the backup are gone, and those ended since live again. To end what may be
    in the wrong hands: `keyturn sessions revoke` with the ids that the security log tells of, with
    --since TIME, or with --all.

    With --secret-lost nobody stays signed in, and no server starts until `keyturn keys retire` has
    dropped the signing keys that the doctor names.
    """
    from keyturn.server.backups import restore as put_in_place

    kept = asyncio.run(put_in_place(settings, file, secret_lost=secret_lost))
    sentence = f"Restored {file}.{f' What was there before is kept as {kept}.' if kept else ''}"
    if secret_lost:
        sentence += " `keyturn doctor` names the signing keys to be retired now."
    tell(sentence, {"file": str(file), "kept": kept or None}, as_json=as_json)
