"""Every error that Keyturn raises on purpose. Each class has a stable ``code`` and a ``remedy``.

KeyturnError
├── ConfigurationError            a setting is unknown, impossible or contradicts another
├── Unavailable                   our fault: nothing is known to be wrong with what was asked
│   ├── StoreUnavailable          the store did not answer, or could not write
│   │   └── RowUnavailable        it could not read or write this one row
│   └── CutoffsStale              what is revoked is not known well enough to vouch for a token
├── RefreshRefused                an exchange was refused
│   ├── RefreshTokenMissing
│   ├── RefreshTokenInvalid       not one of ours
│   ├── RefreshTokenReused        somebody kept a copy; the session is over
│   ├── RefreshSuperseded         too late by one turn: retry with the token held by now
│   └── SessionOver               says why
│       ├── SessionExpired
│       └── SessionRevoked
├── AccessRefused                 never means signed out: exchange the refresh token
│   ├── AccessTokenMissing
│   ├── AccessTokenInvalid
│   ├── AccessTokenExpired
│   └── AccessTokenRevoked
├── SignInRaced                   the user was changed while they signed in: read and try again
├── SessionUnknown                no such session of this user
└── ClaimsRefused                 the claims cannot be put into an access token
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

__all__ = [
    "AccessRefused",
    "AccessTokenExpired",
    "AccessTokenInvalid",
    "AccessTokenMissing",
    "AccessTokenRevoked",
    "ClaimsRefused",
    "ConfigurationError",
    "CutoffsStale",
    "KeyturnError",
    "RefreshRefused",
    "RefreshSuperseded",
    "RefreshTokenInvalid",
    "RefreshTokenMissing",
    "RefreshTokenReused",
    "Remedy",
    "RowUnavailable",
    "SessionExpired",
    "SessionOver",
    "SessionRevoked",
    "SessionUnknown",
    "SignInRaced",
    "StoreUnavailable",
    "Unavailable",
]


class Remedy(StrEnum):
    """What the client does next."""

    RETRY = "retry"
    REFRESH = "refresh"
    LOGIN = "login"
    NONE = "none"


class KeyturnError(Exception):
    """The root. ``str(error)`` is a sentence for people and never holds a token or a secret."""

    code: ClassVar[str] = "error"
    remedy: ClassVar[Remedy] = Remedy.NONE
    message: ClassVar[str] = "Something went wrong"

    def __init__(self, message: str = "") -> None:
        super().__init__(message or self.message)


class ConfigurationError(KeyturnError):
    """``setting`` is unknown, impossible or contradicts another."""

    code = "configuration"

    def __init__(self, setting: str, message: str) -> None:
        super().__init__(f"{setting}: {message}")
        self.setting = setting


class Unavailable(KeyturnError):
    """Our fault. Try again in ``retry_after`` seconds (``Retry-After``); nothing was lost."""

    code = "unavailable"
    remedy = Remedy.RETRY
    message = "Temporarily unavailable"

    def __init__(self, message: str = "", *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StoreUnavailable(Unavailable):
    """The store did not answer in time, or could not write."""


class RowUnavailable(StoreUnavailable):
    """One row was locked, damaged or refused, and nothing was done: ask for each row alone."""


class CutoffsStale(Unavailable):
    """What is revoked was never learnt, or too long ago for the configured ``max_staleness``."""


class RefreshRefused(KeyturnError):
    """An exchange was refused."""

    remedy = Remedy.LOGIN


class RefreshTokenMissing(RefreshRefused):
    """No refresh token was presented."""

    code = "refresh_token_missing"
    message = "Unauthorized request"


class RefreshTokenInvalid(RefreshRefused):
    """Not a token that we issued. Nothing was changed by it."""

    code = "refresh_token_invalid"
    message = "Invalid refresh token"


class RefreshTokenReused(RefreshRefused):
    """Two parties hold diverging copies of the session, so it is over."""

    code = "refresh_token_reused"
    message = "Refresh token is expired or used"


class RefreshSuperseded(RefreshRefused):
    """Superseded by the turn that just happened: retry with the token held by now."""

    code = "refresh_superseded"
    remedy = Remedy.RETRY
    message = "Refresh token was just superseded; retry with the newest one"


class SessionOver(RefreshRefused):
    """``reason`` is the value of an ``EndReason``, or empty where no row is left to tell."""

    def __init__(self, reason: str = "") -> None:
        super().__init__()
        self.reason = reason


class SessionExpired(SessionOver):
    """The session reached its idle timeout or its absolute lifetime."""

    code = "session_expired"
    message = "Session has expired"


class SessionRevoked(SessionOver):
    """The session was ended before its time."""

    code = "session_revoked"
    message = "Session was ended"


class AccessRefused(KeyturnError):
    """An access token was refused."""

    remedy = Remedy.REFRESH


class AccessTokenMissing(AccessRefused):
    """No access token was presented."""

    code = "access_token_missing"
    message = "Unauthorized request"


class AccessTokenInvalid(AccessRefused):
    """Not a token that we issued for this audience."""

    code = "access_token_invalid"
    message = "Invalid access token"


class AccessTokenExpired(AccessRefused):
    """The access token's time is over."""

    code = "access_token_expired"
    message = "Access token has expired"


class AccessTokenRevoked(AccessRefused):
    """A cutoff voids the access token."""

    code = "access_token_revoked"
    message = "Access token was revoked"


class SignInRaced(KeyturnError):
    """The user's epoch moved after credentials and claims were read: read them again."""

    code = "sign_in_raced"
    remedy = Remedy.RETRY
    message = "The account was changed during sign-in; try again"


class SessionUnknown(KeyturnError):
    """No such session of this user."""

    code = "session_unknown"
    message = "No such session"


class ClaimsRefused(KeyturnError):
    """The claims cannot be put into an access token: too large, or of a reserved name or type."""

    code = "claims_refused"
