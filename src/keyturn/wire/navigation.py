"""Navigations renew in passing.

A browser that asks for a page with an access token that has ended, and with a good refresh cookie,
is answered at once, as signed in, with the cookies of the exchange; its user sees no login page.
That is safe, as an exchange may be repeated. It is done only for what a person is about to look at:
not for what a script fetches, which can exchange by itself, nor for frames, images, and what the
browser guesses will be looked at next.

No refusal deletes a cookie: it may arrive after a newer sign-in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote_from_bytes

import msgspec

from keyturn.core.access_token import AccessToken
from keyturn.core.errors import (
    AccessRefused,
    RefreshRefused,
    RefreshSuperseded,
    RefreshTokenMissing,
    Unavailable,
)
from keyturn.core.model import Tokens
from keyturn.sessions import Sessions

from .delivery import Delivery
from .errors import CookieConflict
from .exchange import Exchanges
from .headers import NO_STORE
from .http import Header, Request, Response
from .settings import WireSettings
from .tokens import PresentedTokens

__all__ = ["Failed", "Known", "Late", "Navigations", "Unknown", "Visitor", "may_renew"]

_MARK: Final = b"keyturn-late"
_VISIBLE: Final = "".join(map(chr, range(0x21, 0x7F)))
_OF_CACHES: Final = frozenset(
    {
        b"age",
        b"cache-control",
        b"cdn-cache-control",
        b"etag",
        b"expires",
        b"last-modified",
        b"pragma",
        b"surrogate-control",
    }
)


class Known(msgspec.Struct, frozen=True):
    """Somebody who is signed in."""

    user: AccessToken
    refresh_at: int | None = None
    """When the new pair is best exchanged, in Unix time; None where nothing was renewed."""
    set_cookies: Sequence[Header] = ()
    """Of the exchange, if there was one."""

    def finish(self, response: Response) -> Response:
        """The answer to this visitor: with the new cookies, and then kept by no cache."""
        if not self.set_cookies:
            return response
        kept = [header for header in response.headers if header[0] not in _OF_CACHES]
        headers = [*kept, NO_STORE, *self.set_cookies]
        return msgspec.structs.replace(response, headers=headers)


class Unknown(msgspec.Struct, frozen=True):
    """Nobody that could be told. ``refusal`` says why an exchange was refused, if one was."""

    refusal: RefreshRefused | None = None
    may_be_renewed: bool = False
    """Whether a script of the page does well to try an exchange: a refresh token of ours was
    presented, and not refused for good.
    """


class Late(msgspec.Struct, frozen=True):
    """The cookie was superseded by a turn just now, so the browser holds a newer one by the time it
    asks again. The page is to answer 303 with this ``Location``: the same URL, marked, so that it
    is said once.
    """

    location: bytes

    @property
    def response(self) -> Response:
        """That answer."""
        return Response(303, [(b"location", self.location), NO_STORE])


class Failed(msgspec.Struct, frozen=True):
    """It could not be found out, by our fault. The visitor is unknown to a page that anybody may
    see, and any other answers 503.
    """

    error: Unavailable


Visitor = Known | Unknown | Late | Failed
"""Whom a page is for."""


class Navigations:
    """Tells who asks for a page, and renews their tokens if need be.

    Args:
        sessions: loaded by the time of the first request.
        settings: what the wire is told.
    """

    def __init__(self, sessions: Sessions, settings: WireSettings) -> None:
        self._sessions = sessions
        self._presented = PresentedTokens(sessions, settings)
        self._delivery = Delivery(self._presented, settings)
        self._exchanges = Exchanges(sessions, self._presented, settings)

    async def visitor(self, request: Request) -> Visitor:
        """Who asks. Raises nothing that was foreseen."""
        try:
            return Known(self._sessions.verify(self._presented.access_token(request)))
        except CookieConflict:
            return Unknown()
        except Unavailable as error:
            return Failed(error)
        except AccessRefused:
            if may_renew(request):
                return await self._renewed(request)
            return Unknown(may_be_renewed=bool(self._presented.refresh_tokens(request)))

    async def _renewed(self, request: Request) -> Visitor:
        try:
            token = self._presented.refresh_token(request, "")
            return self._known(await self._exchanges.exchange(request, token))
        except RefreshSuperseded as refusal:
            if _is_marked(request):
                return Unknown(refusal, may_be_renewed=True)
            return Late(_marked(request))
        except (CookieConflict, RefreshTokenMissing, AccessRefused):
            return Unknown()
        except RefreshRefused as refusal:
            return Unknown(refusal)
        except Unavailable as error:
            return Failed(error)

    def _known(self, tokens: Tokens) -> Known:
        user = self._sessions.verify(tokens.access_token)  # a logout may have been faster
        return Known(user, tokens.refresh_at, self._delivery.set_cookies(tokens))


def may_renew(request: Request) -> bool:
    """Whether a person is about to look at the answer (Fetch Metadata; no page can forge it)."""
    return (
        request.method == "GET"
        and request.header(b"sec-fetch-mode") == b"navigate"
        and request.header(b"sec-fetch-dest") == b"document"
        and request.header(b"sec-purpose") is None
    )


def _is_marked(request: Request) -> bool:
    return _MARK in request.query.split(b"&")


def _marked(request: Request) -> bytes:
    """The same URL, with a mark: a reference that is a query alone keeps host and path (RFC 3986,
    section 5.2.2), whatever a proxy in front made of them.
    """
    query = quote_from_bytes(request.query, safe=_VISIBLE).encode()
    return b"?" + (query and query + b"&") + _MARK
