"""Refusals as problem documents (RFC 9457), and the status of each."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
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
    AccessRefused,
    AccessTokenMissing,
    KeyturnError,
    RefreshRefused,
    RefreshSuperseded,
    RefreshTokenMissing,
    SessionOver,
    SessionUnknown,
    Unavailable,
)
from keyturn.observing import SILENT, Observer

from .errors import (
    AlreadyUnderWay,
    BodyMalformed,
    BodyTooLarge,
    CookieConflict,
    CrossOrigin,
    CurrentPasswordWrong,
    FeedRefused,
    FeedTokenMissing,
    HeadersTooLarge,
    MethodNotAllowed,
    NotFound,
    NotReady,
    RegistrationClosed,
    UnsupportedMediaType,
)
from .http import Header, Response
from .request_ids import request_id

__all__ = ["MEDIA_TYPE", "Problem", "Problems", "status_of"]

_log = logging.getLogger("keyturn")

MEDIA_TYPE: Final = "application/problem+json"

_STATUSES: Final[dict[type[KeyturnError], int]] = {
    BodyMalformed: 400,
    CookieConflict: 400,
    InvalidField: 400,
    PasswordRefused: 400,
    ResetTokenInvalid: 400,
    AccessRefused: 401,
    FeedRefused: 401,
    InvalidCredentials: 401,
    RefreshRefused: 401,
    CrossOrigin: 403,
    CurrentPasswordWrong: 403,
    RegistrationClosed: 403,
    NotFound: 404,
    SessionUnknown: 404,
    UserUnknown: 404,
    MethodNotAllowed: 405,
    IdentifierTaken: 409,
    RefreshSuperseded: 409,
    BodyTooLarge: 413,
    UnsupportedMediaType: 415,
    AlreadyUnderWay: 429,
    TooManyAttempts: 429,
    HeadersTooLarge: 431,
    Unavailable: 503,
}

_REFUSALS: Final = tuple(_STATUSES)

_NOTHING_PRESENTED: Final = (
    AccessTokenMissing,
    FeedTokenMissing,
    InvalidCredentials,
    RefreshTokenMissing,
)


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What went wrong, and what to do about it."""

    type: str
    """``urn:keyturn:problem:`` and the code."""
    title: str
    status: int
    detail: str
    code: str
    """Stable; what programs go by."""
    message: str
    """The same as ``detail``."""
    remedy: str
    """What to do next: ``retry``, ``refresh``, ``login`` or ``none``."""
    field: str = ""
    """The field of the body that is wrong, where it is one."""
    reason: str = ""
    """Why a session is over, where it is."""
    request_id: str = msgspec.field(default="", name="requestId")
    """Of the request that was answered so, by which the log tells of it."""


def status_of(kind: type[KeyturnError]) -> int:
    """The HTTP status of an error: its own, or that of the kind it is of."""
    return next(_STATUSES[ancestor] for ancestor in kind.__mro__ if ancestor in _STATUSES)


class Problems:
    """Answers the requests that failed. What is our fault is for the operator: it is logged, and
    the client is told no more than to try again.

    Args:
        clock: Unix time in seconds.
        observer: is told of every refusal.
    """

    def __init__(self, clock: Callable[[], int], observer: Observer = SILENT) -> None:
        self._observer = observer
        self._clock = clock
        self._second = 0
        self._told: set[str] = set()

    def answer_to(self, error: Exception) -> Response:
        """The answer to a request that met ``error``."""
        refusal = self._told_to_client(error)
        self._observer.refused(refusal.code)
        return _problem(refusal)

    def _told_to_client(self, error: Exception) -> KeyturnError:
        if isinstance(error, Unavailable) and not isinstance(error, NotReady):
            self.report(error)
            return Unavailable(retry_after=error.retry_after)
        if isinstance(error, _REFUSALS):
            return error
        # Not the error's own words: they may hold a token or a password.
        where = "".join(traceback.format_tb(error.__traceback__))
        _log.error("unforeseen %s\n%s", type(error).__name__, where)
        return Unavailable()

    def report(self, error: Unavailable) -> None:
        """Log it, once a second: a disk that is full fails thousands of requests alike."""
        now = self._clock()
        if now != self._second:
            self._second, self._told = now, set()
        sentence = str(error)
        if sentence not in self._told:
            self._told.add(sentence)
            _log.warning("cannot answer: %s", sentence)


def _problem(error: KeyturnError) -> Response:
    status = status_of(type(error))
    detail = str(error)
    document = Problem(
        type=f"urn:keyturn:problem:{error.code}",
        title=error.code.replace("_", " ").capitalize(),
        status=status,
        detail=detail,
        code=error.code,
        message=detail,
        remedy=error.remedy,
        field=error.field if isinstance(error, InvalidField) else "",
        reason=error.reason if isinstance(error, SessionOver) else "",
        request_id=request_id(),
    )
    return Response(status, _headers(error, status), msgspec.json.encode(document))


def _headers(error: KeyturnError, status: int) -> list[Header]:
    headers = [(b"content-type", MEDIA_TYPE.encode())]
    if status == 401:
        headers.append((b"www-authenticate", _challenge(error)))
    if isinstance(error, Unavailable | TooManyAttempts | AlreadyUnderWay):
        headers.append((b"retry-after", b"%d" % error.retry_after))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode()))
    return headers


def _challenge(error: KeyturnError) -> bytes:
    """RFC 6750, section 3: without an error code where no token was presented."""
    if isinstance(error, _NOTHING_PRESENTED):
        return b"Bearer"
    return b'Bearer error="invalid_token"'
