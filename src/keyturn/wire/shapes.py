"""The JSON of requests and answers. Docstrings here are shown in the OpenAPI document."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Self

import msgspec
from msgspec import UNSET, UnsetType

from keyturn.accounts.model import User as AccountUser
from keyturn.core import model
from keyturn.core.access_token import AccessToken

__all__ = [
    "Answer",
    "EndedCount",
    "Health",
    "Login",
    "Logout",
    "NoFields",
    "PasswordChange",
    "Readiness",
    "Refresh",
    "Registration",
    "Session",
    "SessionList",
    "SignedIn",
    "TokenPair",
    "User",
    "UserAnswer",
]

_HOUR = 3600


class _Shape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


# ── requests ────────────────────────────────────────────────────────────────────────────────────


class NoFields(_Shape, frozen=True, kw_only=True):
    """Nothing."""


class Registration(_Shape, frozen=True, kw_only=True):
    """A new user."""

    username: str
    email: str
    fullname: str
    password: str


class Login(_Shape, frozen=True, kw_only=True):
    """Who signs in, named by username or by email."""

    username: str = ""
    email: str = ""
    password: str
    remember: bool = True


class Refresh(_Shape, frozen=True, kw_only=True):
    """The refresh token of a client that keeps it itself; of others the cookie has it."""

    refresh_token: str = ""


class Logout(_Shape, frozen=True, kw_only=True):
    """The refresh token of a client that keeps it itself; of others the cookie has it."""

    refresh_token: str = ""


class PasswordChange(_Shape, frozen=True, kw_only=True):
    """The password as it is, and as it shall be."""

    current_password: str
    new_password: str


# ── answers ─────────────────────────────────────────────────────────────────────────────────────


class Answer(msgspec.Struct, frozen=True):
    """What every success is wrapped in."""

    data: Any
    message: str


class User(_Shape, frozen=True, kw_only=True, omit_defaults=True):
    """A user, as far as others may know."""

    id: str
    username: str
    email: str
    fullname: str
    permissions: tuple[str, ...] = ()

    @classmethod
    def of_account(cls, user: AccountUser) -> Self:
        """As the database has it."""
        return cls(
            id=user.id,
            username=user.username,
            email=user.email,
            fullname=user.fullname,
            permissions=user.permissions,
        )

    @classmethod
    def of_token(cls, token: AccessToken) -> Self:
        """As the access token has it."""
        claims = token.claims
        return cls(
            id=token.user_id,
            username=claims.username,
            email=claims.email,
            fullname=claims.fullname,
            permissions=claims.permissions,
        )


class UserAnswer(_Shape, frozen=True, kw_only=True):
    """A user."""

    user: User


class TokenPair(_Shape, frozen=True, kw_only=True):
    """The new pair: in cookies, here, or both. Lifetimes are seconds, ``refreshAt`` Unix time."""

    access_token: str | UnsetType = UNSET
    refresh_token: str | UnsetType = UNSET
    expires_in: int
    refresh_at: int
    refresh_expires_in: int

    @classmethod
    def of(cls, tokens: model.Tokens, *, told: bool, **more: Any) -> Self:
        """The times of the pair, and the tokens themselves if they may be ``told``."""
        return cls(
            access_token=tokens.access_token if told else UNSET,
            refresh_token=tokens.refresh_token if told else UNSET,
            expires_in=tokens.expires_in,
            refresh_at=tokens.refresh_at,
            refresh_expires_in=tokens.refresh_expires_in,
            **more,
        )


class SignedIn(TokenPair, frozen=True, kw_only=True):
    """A user and their new pair."""

    user: User


class Session(_Shape, frozen=True, kw_only=True):
    """One device on which the user is signed in. ``lastUsed`` is the hour, and not told of the
    current one.
    """

    sid: str
    created_at: str
    last_used: str | UnsetType = UNSET
    user_agent: str
    address: str
    current: bool

    @classmethod
    def of_row(cls, session: model.Session, current_sid: str) -> Self:
        """As its user may see it: told to the minute, a thief would know when to follow."""
        current = session.sid == current_sid
        last_used = session.last_used_at
        return cls(
            sid=session.sid,
            created_at=_iso(session.created_at),
            last_used=UNSET if current else _iso(last_used - last_used % _HOUR),
            user_agent=session.device.user_agent,
            address=session.device.address,
            current=current,
        )


class SessionList(_Shape, frozen=True, kw_only=True):
    """The user's devices, newest sign-in first."""

    sessions: list[Session]


class EndedCount(_Shape, frozen=True, kw_only=True):
    """How many sessions were ended."""

    ended: int


class Health(_Shape, frozen=True, kw_only=True):
    """The process is up."""

    status: str


class Readiness(_Shape, frozen=True, kw_only=True):
    """What a request needs, each part ``ready``."""

    store: str
    revocations: str


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
