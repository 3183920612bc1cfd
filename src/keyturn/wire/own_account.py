"""What users do with their own account: another password, other names, all that is known, the end.

What could lock the user out, or take the account from them, needs the current password.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from msgspec import UNSET, UnsetType

from keyturn.accounts import Accounts
from keyturn.accounts.errors import (
    InvalidCredentials,
    InvalidField,
    ResetTokenInvalid,
    TooManyAttempts,
)
from keyturn.core.access_token import AccessToken
from keyturn.sessions import Sessions

from . import shapes
from .answers import success
from .client import address_of, device_of
from .delivery import Delivery
from .errors import CurrentPasswordWrong
from .http import Request, Response
from .security_log import record
from .settings import WireSettings
from .tokens import PresentedTokens
from .turns import Turns

__all__ = ["OwnAccount"]

_MOST_EVENTS: Final = 1000


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
        self._exports = Turns()

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

    async def reset_password(self, request: Request, body: shapes.PasswordReset) -> Response:
        """Whoever has the token need not be signed in, and is not afterwards."""
        device = device_of(request, self._trusted_proxies)
        try:
            user = await self._accounts.reset_password(body.token, body.new_password, device=device)
        except (ResetTokenInvalid, TooManyAttempts) as error:
            record("password_reset_failed", code=error.code, address=device.address)
            raise
        record("password_reset", user=user.id, address=device.address)
        return success(shapes.UserAnswer(user=shapes.User.of_account(user)), "Password reset")

    async def change_profile(self, request: Request, body: shapes.ProfileChange) -> Response:
        """The access token of this very request is void afterwards, like all with the old names."""
        caller = self._caller(request)
        if body.email is UNSET and body.fullname is UNSET:
            raise InvalidField("email", "or fullname must be given")
        if body.email is not UNSET and body.current_password is UNSET:
            raise InvalidField("currentPassword", "must be given with email")
        address = self._address(request)
        with _proving("profile_change_failed", caller, address):
            user = await self._accounts.change_profile(
                caller.user_id,
                email=_given(body.email),
                fullname=_given(body.fullname),
                current=_given(body.current_password) or "",
                address=address,
            )
        record("profile_changed", user=user.id, sid=caller.sid, address=address)
        return success(shapes.UserAnswer(user=shapes.User.of_account(user)), "Profile changed")

    async def export(self, request: Request, _: None) -> Response:
        """Neither secrets nor hashes. It is the most that a request can ask of the store."""
        caller = self._caller(request)
        async with self._exports.of(caller.user_id):
            user = await self._accounts.get_user(caller.user_id)
            sessions = await self._sessions.list(user.id)
            events = await self._sessions.events(user.id, limit=_MOST_EVENTS)
        record("data_exported", user=user.id, sid=caller.sid, address=self._address(request))
        known = shapes.Export.of(user, sessions, events, caller.sid, self._sessions.now())
        return success(known, "What is known of you")

    async def delete(self, request: Request, body: shapes.AccountDeletion) -> Response:
        """The cookies go too, as at logout."""
        caller = self._caller(request)
        address = self._address(request)
        bearer = self._presented.bearer(request)
        with _proving("account_deletion_failed", caller, address):
            await self._accounts.delete_own(caller.user_id, body.current_password, address=address)
        record("account_deleted", user=caller.user_id, sid=caller.sid, address=address)
        farewell = self._delivery.take_leave(request, [] if bearer is None else [bearer])
        return success(shapes.NoFields(), "Account deleted", headers=farewell)

    def _caller(self, request: Request) -> AccessToken:
        return self._sessions.verify(self._presented.access_token(request))

    def _address(self, request: Request) -> str:
        return address_of(request, self._trusted_proxies)


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


def _given(field: str | UnsetType) -> str | None:
    return None if field is UNSET else field
