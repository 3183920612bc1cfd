"""Where new tokens go: into cookies, into JSON, or both; and how cookies are taken away again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from keyturn.core.model import Tokens

from .errors import CookieConflict
from .http import Header, Request
from .settings import WireSettings
from .tokens import PresentedTokens

__all__ = ["Delivery", "Outlet"]

_CLEAR_SITE_DATA: Final = (b"clear-site-data", b'"cache", "cookies", "storage"')


class Outlet(msgspec.Struct, frozen=True):
    """Where the answer to a request may put tokens."""

    cookies: bool
    json: bool


class Delivery:
    """Decides where tokens go, and makes the ``Set-Cookie`` headers."""

    def __init__(self, presented: PresentedTokens, settings: WireSettings) -> None:
        self._presented = presented
        self._cookies = (presented.access_cookie, presented.refresh_cookie)
        self._tokens_in_body = settings.tokens_in_body
        self._clear_site_data = settings.clear_site_data

    def outlet(self, request: Request, sid: str | None = None) -> Outlet:
        """Where to put tokens of session ``sid``, if a body or bearer names it. Cookies of another
        session are left alone.

        Raises:
            CookieConflict: then neither is left, and whatever is handed out would be lost.
        """
        in_cookies = sid is None or not self._presented.cookies_name_other(request, {sid})
        in_json = self._tokens_in_body == "always" or (
            self._tokens_in_body == "auto" and not _made_by_page(request)
        )
        if not (in_cookies or in_json):
            raise CookieConflict
        return Outlet(in_cookies, in_json)

    def set_cookies(self, tokens: Tokens) -> list[Header]:
        """Both cookies, in the place of their twins. On an echo not the refresh cookie: by the time
        this answer arrives, the browser may hold the next one.
        """
        remember = tokens.session.remember
        access = self._presented.access_cookie.replace(
            tokens.access_token, tokens.expires_in if remember else None
        )
        if tokens.echoed:
            return access
        refresh = self._presented.refresh_cookie.replace(
            tokens.refresh_token, tokens.refresh_expires_in if remember else None
        )
        return access + refresh

    def take_leave(self, request: Request, won: Iterable[str]) -> list[Header]:
        """Take the cookies away, as ``delete_cookies`` does, and what else is kept of this site,
        where that is wanted.
        """
        deletions = self.delete_cookies(request, won)
        return [*deletions, _CLEAR_SITE_DATA] if deletions and self._clear_site_data else deletions

    def delete_cookies(self, request: Request, won: Iterable[str]) -> list[Header]:
        """Take both cookies away, and all else that holds tokens of ours; none where the tokens
        that ``won`` over them name other sessions than these do.
        """
        sids = set(filter(None, map(self._presented.sid_of, won)))
        if sids and self._presented.cookies_name_other(request, sids):
            return []
        places = [place for cookie in self._cookies for place in (cookie, *cookie.twins)]
        return [*(place.delete() for place in places), *self.delete_strays(request)]

    def delete_strays(self, request: Request) -> list[Header]:
        """Take away what other settings left under other names, where it holds a token of ours; the
        name alone may be somebody else's.
        """
        strays = [stray for cookie in self._cookies for stray in cookie.strays]
        names = {stray.name for stray in strays}
        ours = {name for name in names if self._presented.holds_ours(request, name)}
        return [stray.delete() for stray in strays if stray.name in ours]


def _made_by_page(request: Request) -> bool:
    """Whether a script could read the answer. Programs that are no browsers send neither header."""
    return any(request.header(name) is not None for name in (b"sec-fetch-site", b"origin"))
