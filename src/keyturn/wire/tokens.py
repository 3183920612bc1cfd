"""Which tokens a request presents: in its body, as bearer, or in cookies.

A body or bearer wins over a cookie. Of several values of one cookie only the genuine ones count:
another site on the same domain may have put the others there. Of one session the newest is taken:
the older ones are where past settings put them. To find that out takes a signature each, so there
is a bound on how many are judged; no honest browser comes near it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, TypeVar

from keyturn.core import refresh_token
from keyturn.core.access_token import AccessToken
from keyturn.core.errors import (
    AccessTokenInvalid,
    AccessTokenMissing,
    RefreshTokenInvalid,
    RefreshTokenMissing,
)
from keyturn.core.refresh_token import RefreshToken
from keyturn.sessions import Sessions

from . import cookies
from .errors import CookieConflict
from .http import Request
from .settings import WireSettings

__all__ = ["PresentedTokens"]

_Read = TypeVar("_Read", AccessToken, RefreshToken)

_MOST_VALUES: Final = 8
"""Different ones of one cookie."""
_BEARER: Final = re.compile(rb"bearer(?:[ \t]+(.*))?", re.IGNORECASE | re.DOTALL)


class PresentedTokens:
    """Finds the tokens of requests, and the sessions that they name. Does no I/O."""

    def __init__(self, sessions: Sessions, settings: WireSettings) -> None:
        self._sessions = sessions
        self.access_cookie = cookies.access_cookie(settings)
        self.refresh_cookie = cookies.refresh_cookie(settings)

    # ── what is presented ───────────────────────────────────────────────────────────────────────

    def access_token(self, request: Request) -> str:
        """The access token to judge.

        Raises:
            AccessTokenMissing: there is none.
            CookieConflict: those in cookies are of different sessions, or too many.
        """
        token = self.bearer(request)
        if token is None:
            token = _newest(
                request.cookie(self.access_cookie.name),
                self._read_access,
                lambda token: (token.version, token.issued_at),
            )
        if token is None:
            raise AccessTokenMissing
        return token

    def refresh_token(self, request: Request, in_body: str) -> str:
        """The refresh token to exchange. A bearer is none: clients send their access token so.

        Raises:
            RefreshTokenMissing: there is none.
            CookieConflict: those in cookies are of different sessions, or too many.
        """
        token = in_body or _newest(
            request.cookie(self.refresh_cookie.name),
            self._read_refresh,
            lambda token: (token.generation,),
        )
        if token is None:
            raise RefreshTokenMissing
        return token

    def refresh_tokens(self, request: Request) -> list[str]:
        """The genuine refresh tokens in our cookie, of as many values as are judged."""
        return list(filter(self.sid_of_refresh, _judged(request, self.refresh_cookie.name)))

    def cookie_tokens(self, request: Request) -> list[str]:
        """Whatever is in our cookies, of either kind, as far as it is judged."""
        names = (self.access_cookie.name, self.refresh_cookie.name)
        return [value for name in names for value in _judged(request, name)]

    def holds_ours(self, request: Request, name: bytes) -> bool:
        """Whether a token of ours is among the values of this cookie that are judged."""
        return any(map(self.sid_of, _judged(request, name)))

    def bearer(self, request: Request) -> str | None:
        """The credentials of scheme ``Bearer`` (RFC 6750, section 2.1), if the request has any."""
        credentials = request.header(b"authorization")
        match = credentials and _BEARER.fullmatch(credentials)
        return (match[1] or b"").decode("latin-1") if match else None

    # ── what is named ───────────────────────────────────────────────────────────────────────────

    def cookies_name_other(self, request: Request, sids: Iterable[str]) -> bool:
        """Whether a token in a cookie names a session that is none of ``sids``."""
        return bool(set(map(self.sid_of, self.cookie_tokens(request))) - {None, *sids})

    def sid_of(self, token: str) -> str | None:
        """The session that a genuine token of either kind names, whether or not it lives."""
        return self.sid_of_refresh(token) or self.sid_of_access(token)

    def sid_of_access(self, token: str) -> str | None:
        """The session that a genuine access token names; judged by its signature alone."""
        read = self._read_access(token)
        return None if read is None else read.sid

    def sid_of_refresh(self, token: str) -> str | None:
        """The session that a genuine refresh token names; judged by its tag alone."""
        read = self._read_refresh(token)
        return None if read is None else read.sid

    def _read_access(self, token: str) -> AccessToken | None:
        with suppress(AccessTokenInvalid):
            return self._sessions.read(token)
        return None

    def _read_refresh(self, token: str) -> RefreshToken | None:
        with suppress(RefreshTokenInvalid):
            return refresh_token.parse(self._sessions.secrets, token)
        return None


def _judged(request: Request, name: bytes) -> Sequence[str]:
    return request.cookie(name)[:_MOST_VALUES]


def _newest(
    values: Sequence[str],
    read: Callable[[str], _Read | None],
    order: Callable[[_Read], tuple[int, ...]],
) -> str | None:
    """The value to go by; where none of several is genuine, any will be refused as it should.

    Raises:
        CookieConflict: genuine ones are of different sessions, or there are too many to be judged.
    """
    if len(values) < 2:
        return values[0] if values else None
    if len(values) > _MOST_VALUES:
        raise CookieConflict("The request holds too many different cookies of one name")
    genuine = {value: token for value in values if (token := read(value)) is not None}
    if len({token.sid for token in genuine.values()}) > 1:
        raise CookieConflict
    return max(genuine, key=lambda value: order(genuine[value]), default=values[0])
