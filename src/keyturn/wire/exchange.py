"""The exchange of a refresh token for a request, and what the security log tells of it."""

from __future__ import annotations

import logging

from keyturn.core.errors import RefreshRefused, RefreshTokenReused
from keyturn.core.model import Tokens
from keyturn.sessions import Sessions

from . import security_log
from .client import address_of
from .http import Request
from .security_log import record
from .settings import WireSettings
from .tokens import PresentedTokens

__all__ = ["Exchanges"]


class Exchanges:
    """Exchanges refresh tokens, whoever asks: an endpoint or a navigation."""

    def __init__(
        self, sessions: Sessions, presented: PresentedTokens, settings: WireSettings
    ) -> None:
        self._sessions = sessions
        self._presented = presented
        self._trusted_proxies = settings.trusted_proxies

    async def exchange(self, request: Request, token: str) -> Tokens:
        """Exchange ``token``, which ``request`` presents.

        Raises:
            RefreshRefused: as ``Sessions.refresh``.
            Unavailable: try again; nothing is lost.
        """
        try:
            tokens = await self._sessions.refresh(token)
        except RefreshRefused as error:
            self._record_refusal(request, error, token)
            raise
        if security_log.in_detail():
            sid, address = tokens.session.sid, self._address(request)
            record("refreshed", level=logging.DEBUG, sid=sid, address=address)
        return tokens

    def _record_refusal(self, request: Request, error: RefreshRefused, token: str) -> None:
        event = "refresh_reused" if isinstance(error, RefreshTokenReused) else "refresh_refused"
        sid = self._presented.sid_of_refresh(token)
        record(event, code=error.code, sid=sid, address=self._address(request))

    def _address(self, request: Request) -> str:
        return address_of(request, self._trusted_proxies)
