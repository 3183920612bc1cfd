"""What the wire itself refuses.

KeyturnError
├── NotFound               there is nothing at this path
├── MethodNotAllowed       something is, but not for this method
├── HeadersTooLarge
├── BodyTooLarge
├── UnsupportedMediaType   a body that is not application/json
├── BodyMalformed          a body that is no JSON object
├── CrossOrigin            a page of an origin that is not trusted asked
├── CookieConflict         the cookies, or a cookie and the body, name sessions that exclude
│                          each other
├── CurrentPasswordWrong   the password that was asked for again is wrong
├── RegistrationClosed
├── AlreadyUnderWay        the user's request before it is not answered yet
├── FeedRefused            whoever would follow revocations must show a token of the settings
│   ├── FeedTokenMissing
│   └── FeedTokenInvalid
└── Unavailable
    └── NotReady           a part of the server that every request needs is missing
"""

from __future__ import annotations

from keyturn.core.errors import KeyturnError, Remedy, Unavailable

__all__ = [
    "AlreadyUnderWay",
    "BodyMalformed",
    "BodyTooLarge",
    "CookieConflict",
    "CrossOrigin",
    "CurrentPasswordWrong",
    "FeedRefused",
    "FeedTokenInvalid",
    "FeedTokenMissing",
    "HeadersTooLarge",
    "MethodNotAllowed",
    "NotFound",
    "NotReady",
    "RegistrationClosed",
    "UnsupportedMediaType",
]


class NotFound(KeyturnError):
    """There is nothing at this path."""

    code = "not_found"
    message = "There is nothing here"


class MethodNotAllowed(KeyturnError):
    """What is at this path answers the methods of ``allow`` only (the header ``Allow``)."""

    code = "method_not_allowed"
    message = "Not with this method"

    def __init__(self, allow: str) -> None:
        super().__init__()
        self.allow = allow


class HeadersTooLarge(KeyturnError):
    """The headers are longer than anything that makes sense here."""

    code = "headers_too_large"
    message = "The headers are over 32 KiB"


class BodyTooLarge(KeyturnError):
    """The body is longer than anything that makes sense here."""

    code = "body_too_large"
    message = "The body is over 64 KiB"


class UnsupportedMediaType(KeyturnError):
    """The body is not declared to be JSON, as a form of another site can never declare it."""

    code = "unsupported_media_type"
    message = "A body must be application/json"


class BodyMalformed(KeyturnError):
    """The body is not one JSON object in UTF-8."""

    code = "body_malformed"
    message = "The body is not a JSON object"


class CrossOrigin(KeyturnError):
    """A page of an origin that is not trusted asked for a change."""

    code = "cross_origin"
    message = "Requests from pages of this origin are refused"


class CookieConflict(KeyturnError):
    """What was presented names different sessions, and none of them may be preferred; or it is more
    than any browser sends.
    """

    code = "cookie_conflict"
    remedy = Remedy.LOGIN
    message = "The request holds tokens of different sessions"


class CurrentPasswordWrong(KeyturnError):
    """The password that was asked for again is wrong. The session is as good as it was."""

    code = "current_password_wrong"
    message = "Invalid current password"


class RegistrationClosed(KeyturnError):
    """Users are added by the administrator only."""

    code = "registration_closed"
    message = "Registration is closed"


class AlreadyUnderWay(KeyturnError):
    """The user asked for the same before, and was not answered yet. Try again in ``retry_after``
    seconds (``Retry-After``).
    """

    code = "already_under_way"
    remedy = Remedy.RETRY
    message = "The request before is not answered yet; try again in a second"
    retry_after = 1


class FeedRefused(KeyturnError):
    """Revocations are told to services that show a token of the settings, to nobody else."""


class FeedTokenMissing(FeedRefused):
    """No token was presented."""

    code = "feed_token_missing"
    message = "Unauthorized request"


class FeedTokenInvalid(FeedRefused):
    """The token is none of those in the settings; an access token is none either."""

    code = "feed_token_invalid"
    message = "Invalid feed token"


class NotReady(Unavailable):
    """``missing`` are the parts of the server that are not there; their names are no secret."""

    def __init__(self, *missing: str) -> None:
        super().__init__(f"Not ready: {', '.join(missing)}")
