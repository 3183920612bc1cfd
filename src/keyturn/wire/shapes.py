"""The JSON of requests and answers. Docstrings here are shown in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Self

import msgspec
from msgspec import UNSET, Meta, UnsetType

from keyturn.accounts.identifiers import EMAIL_LENGTHS, FULLNAME_LENGTHS, USERNAME_LENGTHS
from keyturn.accounts.model import User as AccountUser
from keyturn.accounts.passwords import LEAST_LENGTH, LONGEST
from keyturn.core import model
from keyturn.core.access_token import AccessToken
from keyturn.core.model import EndReason, EventKind

from .discretion import happened_at, is_exchange, is_told, last_used_at

__all__ = [
    "Account",
    "AccountDeletion",
    "Answer",
    "EndedCount",
    "Event",
    "Export",
    "Health",
    "Jwk",
    "JwkSet",
    "Login",
    "Logout",
    "Metadata",
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


def _told(description: str, lengths: tuple[int, int] | None = None, **more: Any) -> Meta:
    """What the document says of a field. It judges none: the accounts do, and say what is wrong."""
    if lengths is not None:
        more |= dict(zip(("minLength", "maxLength"), lengths, strict=True))
    return Meta(description=description, extra_json_schema=more)


_Username = Annotated[
    str, _told("Unique, without regard to case; has no @. Others may see it", USERNAME_LENGTHS)
]
_Email = Annotated[str, _told("Unique, without regard to case", EMAIL_LENGTHS)]
_Fullname = Annotated[str, _told("As others are to see it, on one line", FULLNAME_LENGTHS)]
_CurrentPassword = Annotated[str, _told("The password as it is")]
_NewPassword = Annotated[
    str,
    _told(
        "Neither common nor made of the user's names; the server may ask for more characters",
        (LEAST_LENGTH, LONGEST),
        format="password",
    ),
]
_KeptRefreshToken = Annotated[
    str, _told("Of clients that keep it themselves; else the cookie has it")
]
_Time = Annotated[str, _told("ISO 8601, in UTC", format="date-time")]
_Sid = Annotated[str, _told("Id of the session")]
_UserAgent = Annotated[str, _told("As the browser calls itself")]
_Address = Annotated[str, _told("IP address")]
_Kinds = ", ".join(EventKind)
_Reasons = ", ".join(EndReason)


class _Shape(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


# ── requests ────────────────────────────────────────────────────────────────────────────────────


class NoFields(_Shape, frozen=True, kw_only=True):
    """Nothing."""


class Registration(_Shape, frozen=True, kw_only=True):
    """A new user."""

    username: _Username
    email: _Email
    fullname: _Fullname
    password: _NewPassword


class Login(_Shape, frozen=True, kw_only=True):
    """Who signs in, named by username or by email."""

    username: Annotated[str, _told("Either this or the email")] = ""
    email: Annotated[str, _told("Either this or the username")] = ""
    password: _CurrentPassword
    remember: Annotated[bool, _told("False: cookies that end with the browser")] = True


class Refresh(_Shape, frozen=True, kw_only=True):
    """The refresh token of a client that keeps it itself; of others the cookie has it."""

    refresh_token: _KeptRefreshToken = ""


class Logout(_Shape, frozen=True, kw_only=True):
    """The refresh token of a client that keeps it itself; of others the cookie has it."""

    refresh_token: _KeptRefreshToken = ""


class PasswordChange(_Shape, frozen=True, kw_only=True):
    """The password as it is, and as it shall be."""

    current_password: _CurrentPassword
    new_password: _NewPassword


class PasswordReset(_Shape, frozen=True, kw_only=True):
    """The token that the user was given for this, good once; and the password as it shall be."""

    token: Annotated[str, _told("Of the link that the user was given; good once")]
    new_password: _NewPassword


class ProfileChange(_Shape, frozen=True, kw_only=True):
    """What is to be another. The email needs the current password beside it."""

    email: _Email | UnsetType = UNSET
    fullname: _Fullname | UnsetType = UNSET
    current_password: _CurrentPassword | UnsetType = UNSET


class AccountDeletion(_Shape, frozen=True, kw_only=True):
    """The password, as there is no way back."""

    current_password: _CurrentPassword


# ── answers ─────────────────────────────────────────────────────────────────────────────────────


class Answer(msgspec.Struct, frozen=True):
    """What every success is wrapped in."""

    data: Any
    message: str


class User(_Shape, frozen=True, kw_only=True, omit_defaults=True):
    """A user, as far as others may know."""

    id: Annotated[str, _told("Never given to anybody else")]
    username: str
    email: str
    fullname: str
    permissions: Annotated[
        tuple[str, ...], _told("Words that access tokens carry; absent where there are none")
    ] = ()

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

    access_token: Annotated[str, _told("Absent where a page asks: it has cookies")] | UnsetType = (
        UNSET
    )
    refresh_token: Annotated[str, _told("Absent where a page asks: it has cookies")] | UnsetType = (
        UNSET
    )
    expires_in: Annotated[int, _told("Seconds that the access token lives")]
    refresh_at: Annotated[int, _told("Unix time at which it is best exchanged")]
    refresh_expires_in: Annotated[int, _told("Seconds to the end of the session, if unused")]

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
    """One device on which the user is signed in. ``lastUsed`` is a day before this one (UTC), or
    that of the sign-in, and not told of the current one.
    """

    sid: _Sid
    created_at: _Time
    last_used: _Time | UnsetType = UNSET
    user_agent: _UserAgent
    address: _Address
    current: Annotated[bool, _told("Whether it is the one that asks")]

    @classmethod
    def of_row(cls, session: model.Session, current_sid: str, now: int) -> Self:
        """As its user may see it."""
        current = session.sid == current_sid
        return cls(
            sid=session.sid,
            created_at=_iso(session.created_at),
            last_used=UNSET if current else _iso(last_used_at(session, now)),
            user_agent=session.device.user_agent,
            address=session.device.address,
            current=current,
        )


class SessionList(_Shape, frozen=True, kw_only=True):
    """The user's devices, newest sign-in first."""

    sessions: list[Session]


class Account(User, frozen=True, kw_only=True, omit_defaults=True):
    """A user, as far as they may know themselves."""

    created_at: _Time

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
    """What happened to the user, or to a session of theirs. Of an exchange ``at`` is the day (UTC),
    and it is told when that is over; those of the current session are not told.
    """

    at: _Time
    kind: Annotated[str, _told(f"{_Kinds}; there may be more")]
    sid: _Sid | UnsetType = UNSET
    reason: Annotated[str, _told(f"Why a session ended: {_Reasons}")] | UnsetType = UNSET
    user_agent: _UserAgent | UnsetType = UNSET
    address: _Address | UnsetType = UNSET

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
        now: int,
    ) -> Self:
        """Without secrets."""
        return cls(
            account=Account.of_account(user),
            sessions=[Session.of_row(session, current_sid, now) for session in sessions],
            events=[
                Event.of_event(event)
                for event in events
                if is_told(event, now) and (event.sid != current_sid or not is_exchange(event))
            ],
        )


class EndedCount(_Shape, frozen=True, kw_only=True):
    """How many sessions were ended."""

    ended: int


class Health(_Shape, frozen=True, kw_only=True):
    """The process is up."""

    status: Annotated[str, _told("up")]


class Readiness(_Shape, frozen=True, kw_only=True):
    """What a request needs, each part ``ready``."""

    store: Annotated[str, _told("ready")]
    revocations: Annotated[str, _told("ready")]


class Jwk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A public key (RFC 7517): of EC ``crv``, ``x`` and ``y``, of OKP ``crv`` and ``x``, of RSA
    ``n`` and ``e``.
    """

    kty: str
    alg: str
    kid: Annotated[str, _told("RFC 7638 thumbprint")]
    use: str
    crv: str = ""
    x: str = ""
    y: str = ""
    n: str = ""
    e: str = ""


class JwkSet(msgspec.Struct, frozen=True, kw_only=True):
    """The public keys."""

    keys: list[Jwk]


class Metadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where things are (RFC 8414)."""

    issuer: str
    jwks_uri: str
    revocations_uri: Annotated[str, _told("Where the feed is, if there is one")] = ""


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
