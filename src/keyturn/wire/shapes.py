"""The JSON of requests and answers. Docstrings here are shown in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Self

import msgspec
from msgspec import UNSET, UnsetType

from keyturn.accounts.model import User as AccountUser
from keyturn.core import model
from keyturn.core.access_token import AccessToken

from .discretion import happened_at, is_exchange, last_used_at

__all__ = [
    "Account",
    "AccountDeletion",
    "Answer",
    "EndedCount",
    "Event",
    "Export",
    "Health",
    "Login",
    "Logout",
    "NoFields",
    "PasswordChange",
    "PasswordReset",
    "ProfileChange",
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


class PasswordReset(_Shape, frozen=True, kw_only=True):
    """The token that the user was given for this, good once; and the password as it shall be."""

    token: str
    new_password: str


class ProfileChange(_Shape, frozen=True, kw_only=True):
    """What is to be another. The email needs the current password beside it."""

    email: str | UnsetType = UNSET
    fullname: str | UnsetType = UNSET
    current_password: str | UnsetType = UNSET


class AccountDeletion(_Shape, frozen=True, kw_only=True):
    """The password, as there is no way back."""

    current_password: str


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
        """As its user may see it."""
        current = session.sid == current_sid
        return cls(
            sid=session.sid,
            created_at=_iso(session.created_at),
            last_used=UNSET if current else _iso(last_used_at(session)),
            user_agent=session.device.user_agent,
            address=session.device.address,
            current=current,
        )


class SessionList(_Shape, frozen=True, kw_only=True):
    """The user's devices, newest sign-in first."""

    sessions: list[Session]


class Account(User, frozen=True, kw_only=True, omit_defaults=True):
    """A user, as far as they may know themselves."""

    created_at: str

    @classmethod
    def of_account(cls, user: AccountUser) -> Self:
        """As the database has it."""
        return cls(
            id=user.id,
            username=user.username,
            email=user.email,
            fullname=user.fullname,
            permissions=user.permissions,
            created_at=_iso(user.created_at),
        )


class Event(_Shape, frozen=True, kw_only=True):
    """What happened to the user, or to a session of theirs. ``at`` of an exchange is the hour, and
    those of the current session are not told.
    """

    at: str
    kind: str
    sid: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    user_agent: str | UnsetType = UNSET
    address: str | UnsetType = UNSET

    @classmethod
    def of_event(cls, event: model.Event) -> Self:
        """As its user may see it."""
        return cls(
            at=_iso(happened_at(event)),
            kind=event.kind,
            sid=event.sid or UNSET,
            reason=event.reason or UNSET,
            user_agent=event.device.user_agent or UNSET,
            address=event.device.address or UNSET,
        )


class Export(_Shape, frozen=True, kw_only=True):
    """What is known of the user: their account, living sessions, and the newest events."""

    account: Account
    sessions: list[Session]
    events: list[Event]

    @classmethod
    def of(
        cls,
        user: AccountUser,
        sessions: Iterable[model.Session],
        events: Iterable[model.Event],
        current_sid: str,
    ) -> Self:
        """Without secrets."""
        return cls(
            account=Account.of_account(user),
            sessions=[Session.of_row(session, current_sid) for session in sessions],
            events=[
                Event.of_event(event)
                for event in events
                if event.sid != current_sid or not is_exchange(event)
            ],
        )


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
