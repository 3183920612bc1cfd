"""What accounts refuse.

KeyturnError
├── InvalidCredentials     no such user, or a wrong password, or disabled: which is not told
├── TooManyAttempts        after failures, of this name or from this network
├── InvalidField           something in a registration cannot be taken
├── PasswordRefused        a new password is too short, too long, or too easy to guess
├── IdentifierTaken        somebody has that username or email
├── ResetTokenInvalid      what should reset a password is unknown, was used, or is over
├── UserUnknown            no such user; told to administrators only
└── UserDisabled           the user is kept from signing in; told to administrators only
"""

from __future__ import annotations

from keyturn.core.errors import KeyturnError, Remedy

__all__ = [
    "IdentifierTaken",
    "InvalidCredentials",
    "InvalidField",
    "PasswordRefused",
    "ResetTokenInvalid",
    "TooManyAttempts",
    "UserDisabled",
    "UserUnknown",
]


class InvalidCredentials(KeyturnError):
    """No such user, a wrong password, or a disabled user. Nobody is told which."""

    code = "invalid_credentials"
    message = "Invalid user credentials"


class TooManyAttempts(KeyturnError):
    """Too many failures, of this name or from this network. Whether this try was right is not told.
    Try again in ``retry_after`` seconds (``Retry-After``).
    """

    code = "too_many_attempts"
    remedy = Remedy.RETRY
    message = "Too many attempts; try again later"

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"Too many attempts; try again in {retry_after} s")
        self.retry_after = retry_after


class InvalidField(KeyturnError):
    """What was given as ``field`` cannot be taken; the message says why."""

    code = "invalid_field"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field


class PasswordRefused(KeyturnError):
    """The new password cannot be taken; the message says why."""

    code = "password_refused"


class IdentifierTaken(KeyturnError):
    """Somebody has that username or email."""

    code = "identifier_taken"
    message = "User with email or username already exists"


class ResetTokenInvalid(KeyturnError):
    """The token is unknown, or was used, or is over. Nobody is told which."""

    code = "reset_token_invalid"
    message = "Invalid or expired reset token"


class UserUnknown(KeyturnError):
    """No user has that id, username or email."""

    code = "user_unknown"
    message = "No such user"


class UserDisabled(KeyturnError):
    """The user is kept from signing in; enable them first."""

    code = "user_disabled"
    message = "The user is disabled"
