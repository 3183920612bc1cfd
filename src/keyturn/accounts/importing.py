"""Users who come from elsewhere, each a line of JSON, with their passwords hashed already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from keyturn.core.errors import ClaimsRefused

from .errors import InvalidField
from .model import User
from .store import UserStore

__all__ = ["Imported", "ImportedUser", "Outcome", "UserImport"]


class ImportedUser(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """What a line says of a user."""

    username: str
    email: str
    fullname: str
    permissions: tuple[str, ...] = ()
    password_hash: str
    created_at: str | None = None
    """ISO 8601; UTC unless it says otherwise. The time of the import if absent."""
    disabled: bool = False

    def __repr__(self) -> str:  # a hash in a log is a password to be guessed at leisure
        return f"<ImportedUser {self.username!r}>"


class Outcome(StrEnum):
    """What became of a line."""

    ADDED = "added"
    PRESENT = "present"
    REFUSED = "refused"


class Imported(msgspec.Struct, frozen=True):
    """What became of a line, and why if it was refused."""

    outcome: Outcome
    why: str = ""


_decode: Final = msgspec.json.Decoder(ImportedUser).decode
_JUST_TAKEN: Final = Imported(Outcome.REFUSED, "username or email was taken while it was imported")


class UserImport:
    """Adds users, some hundred lines at a time. Of a line that is refused nothing is taken.

    Args:
        users: where they are added.
        make_user: makes a user of what a line says, or raises ``InvalidField`` or
            ``ClaimsRefused``.
        dry_run: True only tells what would become of each line.
    """

    def __init__(
        self,
        users: UserStore,
        make_user: Callable[[ImportedUser], User],
        *,
        dry_run: bool = False,
    ) -> None:
        from .foreign import kept_form

        self._users = users
        self._make_user = make_user
        self._kept_form = kept_form
        self._dry_run = dry_run
        self._held_if_added: dict[str, User] = {}

    async def take(self, lines: Sequence[bytes]) -> list[Imported]:
        """Add the users of these lines as far as they can be; say what became of each line.

        Raises:
            StoreUnavailable: nothing is known to have been done. To take the lines again does no
                harm: users that were added are present then.
        """
        entries = [self._read(line) for line in lines]
        held = await self._held([entry for entry in entries if isinstance(entry, tuple)])
        told = [_judge(entry[0], held) if isinstance(entry, tuple) else entry for entry in entries]
        new = [
            entry
            for entry, line in zip(entries, told, strict=True)
            if isinstance(entry, tuple) and line.outcome is Outcome.ADDED
        ]
        added = iter([True] * len(new) if self._dry_run else await self._users.add_many(new))
        return [
            line if line.outcome is not Outcome.ADDED or next(added) else _JUST_TAKEN
            for line in told
        ]

    def _read(self, line: bytes) -> Imported | tuple[User, str]:
        try:
            imported = _decode(line.decode())
            return self._make_user(imported), self._kept_form(imported.password_hash)
        except UnicodeDecodeError:
            return Imported(Outcome.REFUSED, "the line is not UTF-8")
        except (ClaimsRefused, InvalidField, msgspec.DecodeError) as error:
            return Imported(Outcome.REFUSED, str(error))

    async def _held(self, accounts: Sequence[tuple[User, str]]) -> dict[str, User]:
        """Whose the names are that are taken. A dry run remembers whom it would have added."""
        keys = [key for user, _ in accounts for key in (user.username_key, user.email_key)]
        held = self._held_if_added if self._dry_run else {}
        for user in await self._users.find_users(keys):
            held[user.username_key] = held[user.email_key] = user
        return held


def _judge(user: User, held: dict[str, User]) -> Imported:
    """What becomes of ``user``, who holds their names from then on if they are added."""
    by_username, by_email = held.get(user.username_key), held.get(user.email_key)
    if by_username is by_email is None:
        held[user.username_key] = held[user.email_key] = user
        return Imported(Outcome.ADDED)
    if by_username is None:
        return Imported(Outcome.REFUSED, "email is that of a user with another username")
    if by_email is None or by_email.id != by_username.id:
        return Imported(Outcome.REFUSED, "username is that of a user with another email")
    return Imported(Outcome.PRESENT)
