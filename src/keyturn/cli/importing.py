"""``keyturn users import``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import count, islice
from typing import IO, TYPE_CHECKING, Any, Final

import click

from keyturn.core.errors import Unavailable
from keyturn.server.exits import FAILED

from .output import as_json_option, printable, tell
from .running import with_parts

if TYPE_CHECKING:
    from keyturn.accounts import Imported
    from keyturn.server.assembly import Parts

__all__ = ["import_users"]

_BATCH: Final = 500  # lines that are taken at once
_LONGEST_LINE: Final = 64 * 1024  # bytes; what is longer is cut, and then no JSON


@click.command(
    name="import", epilog="Example: keyturn users import users.jsonl --dry-run --skip-existing"
)
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@click.option(
    "--skip-existing", is_flag=True, help="Pass over users who are there already, by both names."
)
@as_json_option
@with_parts
async def import_users(
    parts: Parts, file: IO[bytes], *, dry_run: bool, skip_existing: bool, as_json: bool
) -> None:
    """Add the users of a list, with their passwords hashed already.

    FILE, or standard input if it is -, has a JSON object on each line: username, email, fullname,
    passwordHash, and if need be permissions, createdAt, disabled. A hash may be of argon2, bcrypt,
    scrypt or PBKDF2, as Django, Werkzeug and passlib write them.

    Of a line that is refused nothing is taken; the others are. Exits with 1 if there was one, or a
    user was there already. To run it again does no harm.
    """
    report = _Report(dry_run=dry_run, skip_existing=skip_existing, as_json=as_json)
    user_import = parts.accounts.new_import(dry_run=dry_run)
    lines = _numbered_lines(file)
    while batch := list(islice(lines, _BATCH)):
        try:
            taken = await user_import.take([line for _, line in batch])
        except Unavailable:
            report.stop(batch[0][0])
            raise
        for (number, _), line in zip(batch, taken, strict=True):
            report.add(number, line)
    tell(report.sentence, report.row, as_json=as_json)
    if report.failed:
        sys.exit(FAILED)


class _Report:
    """Tells people of each line that will not do when it comes, and at the end how many did;
    programs everything at the end.
    """

    def __init__(self, *, dry_run: bool, skip_existing: bool, as_json: bool) -> None:
        self._as_json = as_json
        self._dry_run = dry_run
        self._skip_existing = skip_existing
        self._added = 0
        self._present = 0
        self._refused: list[dict[str, Any]] = []

    def add(self, number: int, line: Imported) -> None:
        if line.outcome == "added":
            self._added += 1
        elif line.outcome == "refused":
            self._refused.append({"line": number, "why": line.why})
            self._complain(number, line.why)
        else:
            self._present += 1
            if not self._skip_existing:
                self._complain(number, "is of a user who is there already")

    def stop(self, number: int) -> None:
        if self._as_json:
            tell("", self.row | {"doneBefore": number}, as_json=True)
            return
        done = f"lines before {number} are done; the others can be tried with --skip-existing"
        click.echo(f"Stopped: {done}.", err=True)

    def _complain(self, number: int, why: str) -> None:
        if not self._as_json:
            click.echo(f"line {number}: {printable(why)}", err=True)

    @property
    def failed(self) -> bool:
        return bool(self._refused) or (self._present > 0 and not self._skip_existing)

    @property
    def sentence(self) -> str:
        did = "Would add" if self._dry_run else "Added"
        told = f"{did} {self._added} user{'' if self._added == 1 else 's'}"
        if self._present:
            told += f"; {self._present} {'was' if self._present == 1 else 'were'} there already"
        if lines := len(self._refused):
            told += f"; {lines} line{' was' if lines == 1 else 's were'} refused"
        return f"{told}."

    @property
    def row(self) -> dict[str, Any]:
        return {
            "dryRun": self._dry_run,
            "added": self._added,
            "present": self._present,
            "refused": self._refused,
        }


def _numbered_lines(file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Those that are not blank, from 1 on."""
    for number in count(1):
        line = file.readline(_LONGEST_LINE)
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(_LONGEST_LINE)
        if not line:
            return
        if line.strip():
            yield number, line
