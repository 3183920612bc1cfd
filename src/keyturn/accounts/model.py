"""A user, and an account: the user with what is needed to sign them in."""

from __future__ import annotations

import msgspec

from .identifiers import key_of

__all__ = ["Account", "User"]


class User(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who may sign in. Fit for showing: it holds nothing secret."""

    id: str
    """128 random bits as 22 characters of base64url; never given to another user."""
    username: str
    email: str
    fullname: str
    permissions: tuple[str, ...] = ()
    created_at: int
    disabled_at: int | None = None

    @property
    def disabled(self) -> bool:
        """Whether the user is kept from signing in."""
        return self.disabled_at is not None

    @property
    def username_key(self) -> str:
        """What the username is unique and found by."""
        return key_of(self.username)

    @property
    def email_key(self) -> str:
        """What the email is unique and found by."""
        return key_of(self.email)


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of a user, all parts of it from the same moment."""

    user: User
    password_hash: str
    epoch: int
    """Of the user's sessions: what is decided on this reading holds only while it stands."""

    def __repr__(self) -> str:  # a hash in a log is a password to be guessed at leisure
        return f"<Account of user {self.user.id}>"
