"""What users do with their own account."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from keyturn.accounts import Accounts
from keyturn.accounts.errors import InvalidCredentials, TooManyAttempts
from keyturn.core.access_token import AccessToken
from keyturn.sessions import Sessions

from . import shapes
from .answers import success
from .client import device_of
from .delivery import Delivery
from .errors import CurrentPasswordWrong
from .http import Request, Response
from .security_log import record
from .settings import WireSettings
from .tokens import PresentedTokens

__all__ = ["OwnAccount"]


class OwnAccount:
    """What users do with their own account, each a handler of one operation."""

    def __init__(
        self,
        sessions: Sessions,
        accounts: Accounts,
        settings: WireSettings,
        presented: PresentedTokens,
        delivery: Delivery,
    ) -> None:
        self._sessions = sessions
        self._accounts = accounts
        self._trusted_proxies = settings.trusted_proxies
        self._presented = presented
        self._delivery = delivery

    async def change_password(self, request: Request, body: shapes.PasswordChange) -> Response:
        """End every session, and begin one with the new password."""
        caller = self._caller(request)
        device = device_of(request, self._trusted_proxies)
        by_bearer = self._presented.bearer(request) is not None
        outlet = self._delivery.outlet(request, caller.sid if by_bearer else None)
        with _proving("password_change_failed", caller, device.address):
            user, tokens = await self._accounts.change_password(
                caller.user_id,
                body.current_password,
                body.new_password,
                device=device,
                remember=await self._remembered(caller),
            )
        record("password_changed", user=user.id, sid=tokens.session.sid, address=device.address)
        cookies = self._delivery.set_cookies(tokens) if outlet.cookies else ()
        data = shapes.SignedIn.of(tokens, told=outlet.json, user=shapes.User.of_account(user))
        return success(data, "Password changed", headers=cookies)

    async def _remembered(self, caller: AccessToken) -> bool:
        """Whether the browser was told to keep the cookies of this session."""
        living = await self._sessions.list(caller.user_id)
        return all(session.remember for session in living if session.sid == caller.sid)

    def _caller(self, request: Request) -> AccessToken:
        return self._sessions.verify(self._presented.access_token(request))


@contextmanager
def _proving(event: str, caller: AccessToken, address: str) -> Iterator[None]:
    """Within, a wrong current password is told as one, and logged as ``event``: that is no reason
    to sign anybody out.
    """
    try:
        yield
    except (InvalidCredentials, TooManyAttempts) as error:
        record(event, code=error.code, user=caller.user_id, sid=caller.sid, address=address)
        if isinstance(error, InvalidCredentials):
            raise CurrentPasswordWrong from None
        raise
