"""Every endpoint, in one table: what it takes, what it answers, what it may refuse.

``handlers`` serve it and ``openapi`` describes it, so neither knows more than the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from keyturn.accounts.errors import (
    IdentifierTaken,
    InvalidCredentials,
    InvalidField,
    PasswordRefused,
    ResetTokenInvalid,
    TooManyAttempts,
    UserUnknown,
)
from keyturn.core.errors import (
    AccessTokenExpired,
    AccessTokenInvalid,
    AccessTokenMissing,
    AccessTokenRevoked,
    KeyturnError,
    RefreshSuperseded,
    RefreshTokenInvalid,
    RefreshTokenMissing,
    RefreshTokenReused,
    SessionExpired,
    SessionRevoked,
    SessionUnknown,
    Unavailable,
)
from keyturn.feed import Alive, CutoffNews

from . import shapes
from .errors import (
    AlreadyUnderWay,
    BodyMalformed,
    BodyTooLarge,
    CookieConflict,
    CrossOrigin,
    CurrentPasswordWrong,
    FeedTokenInvalid,
    FeedTokenMissing,
    HeadersTooLarge,
    RegistrationClosed,
    UnsupportedMediaType,
)
from .event_stream import EVENT_STREAM
from .settings import REFRESH_PATH, WireSettings

__all__ = [
    "GROUPS",
    "JSON",
    "JWKS_PATH",
    "JWKS_TYPE",
    "METADATA_PATH",
    "READINESS_PATH",
    "REVOCATIONS_PATH",
    "ROUTES",
    "SESSION_PATH",
    "Route",
    "place_of",
    "routes_of",
]

JSON: Final = "application/json"
JWKS_TYPE: Final = "application/jwk-set+json"
JWKS_PATH: Final = "/.well-known/jwks.json"
METADATA_PATH: Final = "/.well-known/oauth-authorization-server"
READINESS_PATH: Final = "/readyz"
REVOCATIONS_PATH: Final = "/revocations"
SESSION_PATH: Final = "/sessions/{sid}"
_SESSION_PREFIX: Final = SESSION_PATH.partition("{")[0]

_SIGNING_IN: Final = "Signing in and out"
_DEVICES: Final = "Devices"
_ACCOUNT: Final = "One's own account"
_ELSEWHERE: Final = "Checking access tokens elsewhere"
_SERVER: Final = "The server itself"

GROUPS: Final = {
    _SIGNING_IN: "From a name and a password to a pair of tokens, to the next pair, and out again.",
    _DEVICES: "Each sign-in is a session on one device, which the user can see and end.",
    _ACCOUNT: "What users do with their own account.",
    _ELSEWHERE: "For services that are told an access token and want to know whether it is good.",
    _SERVER: "For those who run it, and for programs that read about it.",
}
"""What endpoints there are, and what for."""

_Errors = tuple[type[KeyturnError], ...]

_OF_ANY: Final[_Errors] = (BodyTooLarge, HeadersTooLarge, Unavailable)
_OF_CHANGES: Final[_Errors] = (BodyMalformed, CrossOrigin, InvalidField, UnsupportedMediaType)
_OF_ACCESS: Final[_Errors] = (
    AccessTokenExpired,
    AccessTokenInvalid,
    AccessTokenMissing,
    AccessTokenRevoked,
    CookieConflict,
)


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint."""

    method: str
    path: str
    operation: str
    """Its name, in ``handlers`` and in the OpenAPI document."""
    group: str
    """One of ``GROUPS``."""
    summary: str
    description: str = ""
    """What is to be known beyond the summary."""
    body: type[msgspec.Struct] = shapes.NoFields
    """What a request that changes something may hold."""
    example: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Such a body."""
    data: type[msgspec.Struct] | None = None
    """What a success holds, wrapped in ``Answer``. None: a document of its own kind."""
    document: type[msgspec.Struct] | None = None
    """What such a document holds, where there is a shape for it."""
    status: int = 200
    """Of a success."""
    media_type: str = JSON
    cookies: Literal["left", "set", "deleted"] = "left"
    """What becomes of them, if the client has them."""
    needs_access: bool = False
    """Whether it asks for an access token."""
    follows: bool = False
    """Whether it asks for a token of the settings, and answers with events as they happen."""
    events: tuple[type[msgspec.Struct], ...] = ()
    """What these hold, as JSON, beside the JWK set."""
    own_errors: _Errors = ()

    @property
    def changes(self) -> bool:
        """Whether it changes anything; then a page must be allowed to ask."""
        return self.method not in {"GET", "HEAD"}

    @property
    def errors(self) -> Sequence[type[KeyturnError]]:
        """All that it may refuse."""
        return (
            *_OF_ANY,
            *(_OF_CHANGES if self.changes else ()),
            *(_OF_ACCESS if self.needs_access else ()),
            *self.own_errors,
        )


ROUTES: Final = (
    Route(
        method="POST",
        path="/register",
        operation="register",
        group=_SIGNING_IN,
        summary="Add a user",
        description=(
            "The user is not signed in by it. Registrations from one network count as failed "
            "sign-ins do, so they are slowed down. Where registration is closed, this is 403."
        ),
        body=shapes.Registration,
        example={
            "username": "grace",
            "email": "grace@example.com",
            "fullname": "Grace Hopper",
            "password": "moths in the relays",
        },
        data=shapes.UserAnswer,
        status=201,
        own_errors=(IdentifierTaken, PasswordRefused, RegistrationClosed, TooManyAttempts),
    ),
    Route(
        method="POST",
        path="/login",
        operation="login",
        group=_SIGNING_IN,
        summary="Begin a session",
        description=(
            "The pair comes in cookies, and in JSON to clients that are no pages. An unknown "
            "user, a wrong password and a disabled user are refused alike. A session whose "
            "refresh cookie comes along is ended, as this one takes its place."
        ),
        body=shapes.Login,
        example={
            "username": "ada",
            "password": "a deal of brass cogs",
        },
        data=shapes.SignedIn,
        cookies="set",
        own_errors=(InvalidCredentials, TooManyAttempts),
    ),
    Route(
        method="POST",
        path=REFRESH_PATH,
        operation="refresh",
        group=_SIGNING_IN,
        summary="Exchange the refresh token, from the body or the cookie, for a new pair",
        description=(
            "The same token may be presented again within the window, as after a lost answer, and "
            "is answered with the same refresh token. Long after that it is taken for a copy, and "
            "the session ends. A 401 of this endpoint, presented once more, means signed out; "
            "nothing else does. Pages of another origin may not ask, unless the library is told "
            "so."
        ),
        body=shapes.Refresh,
        example={"refreshToken": "ktr_and-the-71-characters-behind"},
        data=shapes.TokenPair,
        cookies="set",
        own_errors=(
            CookieConflict,
            RefreshSuperseded,
            RefreshTokenInvalid,
            RefreshTokenMissing,
            RefreshTokenReused,
            SessionExpired,
            SessionRevoked,
        ),
    ),
    Route(
        method="POST",
        path="/logout",
        operation="logout",
        group=_SIGNING_IN,
        summary="End every session that a presented token names, and delete the cookies",
        description=(
            "Tokens are taken from the body, the bearer and the cookies. Nothing to end is a "
            "success too. Where it cannot be recorded (503) the cookies are deleted all the same."
        ),
        body=shapes.Logout,
        example={"refreshToken": "ktr_and-the-71-characters-behind"},
        data=shapes.NoFields,
        cookies="deleted",
    ),
    Route(
        method="GET",
        path="/me",
        operation="me",
        group=_ACCOUNT,
        summary="The user, as the access token has them",
        description=(
            "From the token alone, without asking the database: that is what checking costs."
        ),
        data=shapes.UserAnswer,
        needs_access=True,
    ),
    Route(
        method="GET",
        path="/sessions",
        operation="listSessions",
        group=_DEVICES,
        summary="The user's devices",
        description=(
            "When the current one was used is not told, and of others the day, when it is over: "
            "else it would tell a thief when to follow."
        ),
        data=shapes.SessionList,
        needs_access=True,
    ),
    Route(
        method="DELETE",
        path=SESSION_PATH,
        operation="revokeSession",
        group=_DEVICES,
        summary="End one session of the user",
        description=(
            "Its access tokens are refused within a second. A session of another user is as "
            "unknown as one that never was."
        ),
        data=shapes.NoFields,
        needs_access=True,
        own_errors=(SessionUnknown,),
    ),
    Route(
        method="POST",
        path="/logout-others",
        operation="logoutOthers",
        group=_DEVICES,
        summary="End all sessions of the user but this one",
        data=shapes.EndedCount,
        needs_access=True,
    ),
    Route(
        method="POST",
        path="/change-password",
        operation="changePassword",
        group=_ACCOUNT,
        summary="Change the password; every session ends, and a new one is the answer",
        description=(
            "Whether the browser keeps the new session when it is closed stays as it was."
        ),
        body=shapes.PasswordChange,
        example={
            "currentPassword": "a deal of brass cogs",
            "newPassword": "the engine weaves algebra",
        },
        data=shapes.SignedIn,
        cookies="set",
        needs_access=True,
        own_errors=(CurrentPasswordWrong, PasswordRefused, TooManyAttempts, UserUnknown),
    ),
    Route(
        method="POST",
        path="/reset-password",
        operation="resetPassword",
        group=_SIGNING_IN,
        summary="Set another password by a token that was made for it; every session ends",
        description=("Nobody is signed in by it. The token stays good if the password is refused."),
        body=shapes.PasswordReset,
        example={
            "token": "the-43-characters-behind-the-link",
            "newPassword": "the engine weaves algebra",
        },
        data=shapes.UserAnswer,
        own_errors=(PasswordRefused, ResetTokenInvalid, TooManyAttempts),
    ),
    Route(
        method="PATCH",
        path="/me",
        operation="changeProfile",
        group=_ACCOUNT,
        summary="Change email and full name; access tokens with the old ones are void",
        description=(
            "One of the two or both. Another email needs the current password. The access token "
            "of this very request is void afterwards: exchange the refresh token."
        ),
        body=shapes.ProfileChange,
        example={
            "fullname": "Ada King, Countess of Lovelace",
        },
        data=shapes.UserAnswer,
        needs_access=True,
        own_errors=(CurrentPasswordWrong, IdentifierTaken, TooManyAttempts, UserUnknown),
    ),
    Route(
        method="DELETE",
        path="/me",
        operation="deleteAccount",
        group=_ACCOUNT,
        summary="Delete the user; every session ends, and the cookies are deleted",
        description=(
            "There is no way back. The names are free for others then; the id is never given again."
        ),
        body=shapes.AccountDeletion,
        example={
            "currentPassword": "a deal of brass cogs",
        },
        data=shapes.NoFields,
        cookies="deleted",
        needs_access=True,
        own_errors=(CurrentPasswordWrong, TooManyAttempts, UserUnknown),
    ),
    Route(
        method="GET",
        path="/me/export",
        operation="exportData",
        group=_ACCOUNT,
        summary="What is known of the user, for the user",
        description=(
            "Account, living sessions, and the newest 1000 events. Neither secrets nor hashes. "
            "One at a time: who asks again before the answer is told to wait (429)."
        ),
        data=shapes.Export,
        needs_access=True,
        own_errors=(AlreadyUnderWay, UserUnknown),
    ),
    Route(
        method="GET",
        path=JWKS_PATH,
        operation="jwks",
        group=_ELSEWHERE,
        summary="The public keys that check access tokens",
        description=(
            "A copy may be kept for 300 seconds. A key is here two weeks before it signs."
        ),
        media_type=JWKS_TYPE,
        document=shapes.JwkSet,
    ),
    Route(
        method="GET",
        path=METADATA_PATH,
        operation="metadata",
        group=_ELSEWHERE,
        summary="Where the public keys are (RFC 8414)",
        description=("For an issuer with a path also where RFC 8414, section 3, looks for it."),
        document=shapes.Metadata,
    ),
    Route(
        method="GET",
        path=REVOCATIONS_PATH,
        operation="followRevocations",
        group=_ELSEWHERE,
        summary="Server-sent events of what is revoked, and of keys",
        description=(
            "Everything at first, then what is new, for holders of a feed token. Named events "
            "with JSON in one line: `keys` (a JWK set), `cutoffs` (`CutoffNews`), `alive` "
            "(`Alive`)."
        ),
        media_type=EVENT_STREAM,
        follows=True,
        events=(CutoffNews, Alive),
        own_errors=(FeedTokenInvalid, FeedTokenMissing),
    ),
    Route(
        method="GET",
        path="/healthz",
        operation="healthz",
        group=_SERVER,
        summary="Whether the process is up",
        description=("It asks nothing of the database: a restart would not help that."),
        data=shapes.Health,
    ),
    Route(
        method="GET",
        path=READINESS_PATH,
        operation="readyz",
        group=_SERVER,
        summary="Whether it can answer",
        description=(
            "The database and the knowledge of what is revoked. One try a second, whoever asks."
        ),
        data=shapes.Readiness,
    ),
    Route(
        method="GET",
        path="/openapi.json",
        operation="openapi",
        group=_SERVER,
        summary="This document",
        description=("OpenAPI 3.1, for generators of clients."),
    ),
)


def routes_of(settings: WireSettings) -> Sequence[Route]:
    """Those that there are with these settings."""
    return [route for route in ROUTES if settings.revocations_tokens or not route.follows]


def place_of(path: str) -> str:
    """``path`` as the table has it, if it does; else as it is."""
    if path.startswith(_SESSION_PREFIX) and "/" not in path[len(_SESSION_PREFIX) :]:
        return SESSION_PATH
    return path
