"""Every endpoint, in one table: what it takes, what it answers, what it may refuse.

``handlers`` serve it and ``openapi`` describes it, so neither knows more than the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

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
    "JSON",
    "JWKS_PATH",
    "JWKS_TYPE",
    "METADATA_PATH",
    "REVOCATIONS_PATH",
    "ROUTES",
    "SESSION_PATH",
    "Route",
    "routes_of",
]

JSON: Final = "application/json"
JWKS_TYPE: Final = "application/jwk-set+json"
JWKS_PATH: Final = "/.well-known/jwks.json"
METADATA_PATH: Final = "/.well-known/oauth-authorization-server"
REVOCATIONS_PATH: Final = "/revocations"
SESSION_PATH: Final = "/sessions/{sid}"

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
    summary: str
    body: type[msgspec.Struct] = shapes.NoFields
    """What a request that changes something may hold."""
    data: type[msgspec.Struct] | None = None
    """What a success holds, wrapped in ``Answer``. None: a document of its own kind."""
    status: int = 200
    """Of a success."""
    media_type: str = JSON
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
        summary="Add a user",
        body=shapes.Registration,
        data=shapes.UserAnswer,
        status=201,
        own_errors=(IdentifierTaken, PasswordRefused, RegistrationClosed, TooManyAttempts),
    ),
    Route(
        method="POST",
        path="/login",
        operation="login",
        summary="Begin a session",
        body=shapes.Login,
        data=shapes.SignedIn,
        own_errors=(InvalidCredentials, TooManyAttempts),
    ),
    Route(
        method="POST",
        path=REFRESH_PATH,
        operation="refresh",
        summary="Exchange the refresh token, from the body or the cookie, for a new pair",
        body=shapes.Refresh,
        data=shapes.TokenPair,
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
        summary="End every session that a presented token names, and delete the cookies",
        body=shapes.Logout,
        data=shapes.NoFields,
    ),
    Route(
        method="GET",
        path="/me",
        operation="me",
        summary="The user, as the access token has them",
        data=shapes.UserAnswer,
        needs_access=True,
    ),
    Route(
        method="GET",
        path="/sessions",
        operation="listSessions",
        summary="The user's devices",
        data=shapes.SessionList,
        needs_access=True,
    ),
    Route(
        method="DELETE",
        path=SESSION_PATH,
        operation="revokeSession",
        summary="End one session of the user",
        data=shapes.NoFields,
        needs_access=True,
        own_errors=(SessionUnknown,),
    ),
    Route(
        method="POST",
        path="/logout-others",
        operation="logoutOthers",
        summary="End all sessions of the user but this one",
        data=shapes.EndedCount,
        needs_access=True,
    ),
    Route(
        method="POST",
        path="/change-password",
        operation="changePassword",
        summary="Change the password; every session ends, and a new one is the answer",
        body=shapes.PasswordChange,
        data=shapes.SignedIn,
        needs_access=True,
        own_errors=(CurrentPasswordWrong, PasswordRefused, TooManyAttempts, UserUnknown),
    ),
    Route(
        method="POST",
        path="/reset-password",
        operation="resetPassword",
        summary="Set another password by a token that was made for it; every session ends",
        body=shapes.PasswordReset,
        data=shapes.UserAnswer,
        own_errors=(PasswordRefused, ResetTokenInvalid, TooManyAttempts),
    ),
    Route(
        method="PATCH",
        path="/me",
        operation="changeProfile",
        summary="Change email and full name; access tokens with the old ones are void",
        body=shapes.ProfileChange,
        data=shapes.UserAnswer,
        needs_access=True,
        own_errors=(CurrentPasswordWrong, IdentifierTaken, TooManyAttempts, UserUnknown),
    ),
    Route(
        method="DELETE",
        path="/me",
        operation="deleteAccount",
        summary="Delete the user; every session ends, and the cookies are deleted",
        body=shapes.AccountDeletion,
        data=shapes.NoFields,
        needs_access=True,
        own_errors=(CurrentPasswordWrong, TooManyAttempts, UserUnknown),
    ),
    Route(
        method="GET",
        path="/me/export",
        operation="exportData",
        summary="What is known of the user, for the user",
        data=shapes.Export,
        needs_access=True,
        own_errors=(UserUnknown,),
    ),
    Route(
        method="GET",
        path=JWKS_PATH,
        operation="jwks",
        summary="The public keys that check access tokens",
        media_type=JWKS_TYPE,
    ),
    Route(
        method="GET",
        path=METADATA_PATH,
        operation="metadata",
        summary="Where the public keys are (RFC 8414)",
    ),
    Route(
        method="GET",
        path=REVOCATIONS_PATH,
        operation="followRevocations",
        summary="Server-sent events: keys (the JWK set), cutoffs (CutoffNews), alive (Alive)",
        media_type=EVENT_STREAM,
        follows=True,
        events=(CutoffNews, Alive),
        own_errors=(FeedTokenInvalid, FeedTokenMissing),
    ),
    Route(
        method="GET",
        path="/healthz",
        operation="healthz",
        summary="Whether the process is up",
        data=shapes.Health,
    ),
    Route(
        method="GET",
        path="/readyz",
        operation="readyz",
        summary="Whether it can answer",
        data=shapes.Readiness,
    ),
    Route(
        method="GET",
        path="/openapi.json",
        operation="openapi",
        summary="This document",
    ),
)


def routes_of(settings: WireSettings) -> Sequence[Route]:
    """Those that there are with these settings."""
    return [route for route in ROUTES if settings.revocations_tokens or not route.follows]
