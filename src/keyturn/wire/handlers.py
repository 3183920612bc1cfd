"""What each operation of ``routes`` does."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from keyturn.accounts import Accounts
from keyturn.accounts.errors import InvalidCredentials, InvalidField, TooManyAttempts
from keyturn.core.access_token import AccessToken
from keyturn.core.errors import CutoffsStale, Unavailable
from keyturn.core.keyring import JWKS_MAX_AGE
from keyturn.core.model import EndReason
from keyturn.sessions import Sessions

from . import shapes
from .answers import document, success
from .client import address_of, device_of
from .delivery import Delivery
from .errors import (
    FeedRefused,
    FeedTokenInvalid,
    FeedTokenMissing,
    NotReady,
    RegistrationClosed,
)
from .event_stream import stream_of
from .exchange import Exchanges
from .http import Request, Response
from .openapi import describe
from .own_account import OwnAccount
from .problems import Problems
from .routes import JWKS_PATH, JWKS_TYPE, REVOCATIONS_PATH, routes_of
from .security_log import record
from .settings import WireSettings
from .tokens import PresentedTokens

__all__ = ["Handler", "Handlers"]

Handler = Callable[[Request, Any], Awaitable[Response]]
"""Takes the request and its body, and may raise what its route names."""

_KEEP_A_WHILE: Final = (b"cache-control", b"public, max-age=%d" % JWKS_MAX_AGE)


class Handlers:
    """A method for each operation, under its name in ``by_operation``; ``description`` is the
    OpenAPI document of them all.
    """

    def __init__(
        self,
        sessions: Sessions,
        accounts: Accounts,
        settings: WireSettings,
        problems: Problems,
    ) -> None:
        self._sessions = sessions
        self._accounts = accounts
        self._settings = settings
        self._problems = problems
        self._presented = PresentedTokens(sessions, settings)
        self._delivery = Delivery(self._presented, settings)
        self._exchanges = Exchanges(sessions, self._presented, settings)
        self.description = describe(routes_of(settings), settings)
        own = OwnAccount(sessions, accounts, settings, self._presented, self._delivery)
        self.by_operation: Mapping[str, Handler] = {
            "register": self._register,
            "login": self._login,
            "refresh": self._refresh,
            "logout": self._logout,
            "me": self._me,
            "listSessions": self._list_sessions,
            "revokeSession": self._revoke_session,
            "logoutOthers": self._logout_others,
            "changePassword": own.change_password,
            "resetPassword": own.reset_password,
            "changeProfile": own.change_profile,
            "exportData": own.export,
            "deleteAccount": own.delete,
            "jwks": self._jwks,
            "metadata": self._metadata,
            "followRevocations": self._follow_revocations,
            "healthz": self._healthz,
            "readyz": self._readyz,
            "openapi": self._openapi,
        }

    # ── signing in and out ──────────────────────────────────────────────────────────────────────

    async def _register(self, request: Request, body: shapes.Registration) -> Response:
        if self._settings.registration == "closed":
            raise RegistrationClosed
        address = self._address(request)
        user = await self._accounts.register(
            body.username, body.email, body.fullname, body.password, address=address
        )
        record("registered", user=user.id, address=address)
        data = shapes.UserAnswer(user=shapes.User.of_account(user))
        return success(data, "User registered", status=201)

    async def _login(self, request: Request, body: shapes.Login) -> Response:
        identifier = _identifier(body)
        device = device_of(request, self._settings.trusted_proxies)
        outlet = self._delivery.outlet(request)
        older = self._presented.refresh_tokens(request)
        try:
            user, tokens = await self._accounts.login(
                identifier,
                body.password,
                device=device,
                remember=body.remember,
                replaces=older[0] if older else None,
            )
        except (InvalidCredentials, TooManyAttempts) as error:
            name = self._accounts.name_in_log(identifier)
            record("login_failed", code=error.code, login=name, address=device.address)
            raise
        record("login_succeeded", user=user.id, sid=tokens.session.sid, address=device.address)
        await self._end_if_possible(older[1:])  # the first was replaced
        cookies = self._delivery.delete_strays(request) + self._delivery.set_cookies(tokens)
        data = shapes.SignedIn.of(tokens, told=outlet.json, user=shapes.User.of_account(user))
        return success(data, "Signed in", headers=cookies)

    async def _end_if_possible(self, tokens: Iterable[str]) -> None:
        """End their sessions if that can be done now; for them no sign-in is lost."""
        try:
            await self._sessions.logout(*tokens)
        except Unavailable as error:
            self._problems.report(error)

    async def _refresh(self, request: Request, body: shapes.Refresh) -> Response:
        token = self._presented.refresh_token(request, body.refresh_token)
        outlet = self._delivery.outlet(
            request, self._presented.sid_of_refresh(token) if body.refresh_token else None
        )
        tokens = await self._exchanges.exchange(request, token)
        cookies = self._delivery.set_cookies(tokens) if outlet.cookies else ()
        data = shapes.TokenPair.of(tokens, told=outlet.json)
        return success(data, "Tokens refreshed", headers=cookies)

    async def _logout(self, request: Request, body: shapes.Logout) -> Response:
        won = [token for token in (body.refresh_token, self._presented.bearer(request)) if token]
        presented = won + self._presented.cookie_tokens(request)
        try:
            ended = await self._sessions.logout(*presented)
        except Exception as error:  # noqa: BLE001  whoever logs out is rid of the cookies in any case
            failure = self._problems.answer_to(error)
            deletions = self._delivery.delete_cookies(request, won)
            return Response(failure.status, [*failure.headers, *deletions], failure.body)
        for sid in ended:
            record("logout", sid=sid, address=self._address(request))
        farewell = self._delivery.take_leave(request, won)
        return success(shapes.NoFields(), "Signed out", headers=farewell)

    # ── the user and their devices ──────────────────────────────────────────────────────────────

    async def _me(self, request: Request, _: None) -> Response:
        user = shapes.User.of_token(self._caller(request))
        return success(shapes.UserAnswer(user=user), "Current user")

    async def _list_sessions(self, request: Request, _: None) -> Response:
        caller = self._caller(request)
        living = await self._sessions.list(caller.user_id)
        now = self._sessions.now()
        rows = [shapes.Session.of_row(session, caller.sid, now) for session in living]
        return success(shapes.SessionList(sessions=rows), "Sessions")

    async def _revoke_session(self, request: Request, _: shapes.NoFields) -> Response:
        caller = self._caller(request)
        sid = request.path.rpartition("/")[2]
        user_id, reason = caller.user_id, EndReason.REVOKED_BY_USER
        if await self._sessions.revoke(sid, user_id=user_id, reason=reason):
            record("session_revoked", user=user_id, sid=sid, address=self._address(request))
        return success(shapes.NoFields(), "Session ended")

    async def _logout_others(self, request: Request, _: shapes.NoFields) -> Response:
        caller = self._caller(request)
        ended = await self._sessions.revoke_all(
            caller.user_id, keep=caller.sid, reason=EndReason.REVOKED_BY_USER
        )
        address = self._address(request)
        record("other_sessions_revoked", user=caller.user_id, sid=caller.sid, address=address)
        return success(shapes.EndedCount(ended=ended), "Other sessions ended")

    # ── about the server ────────────────────────────────────────────────────────────────────────

    async def _jwks(self, request: Request, _: None) -> Response:
        keys = self._sessions.keyring.jwks()
        etag = b'"%b"' % hashlib.sha256(keys).hexdigest()[:32].encode()
        caching = [_KEEP_A_WHILE, (b"etag", etag)]
        known = request.header(b"if-none-match") or b""
        if known == b"*" or etag in known:
            return Response(304, caching)
        return Response(200, [(b"content-type", JWKS_TYPE.encode()), *caching], keys)

    async def _metadata(self, _request: Request, _: None) -> Response:
        url = self._settings.public_url
        followed = bool(self._settings.revocations_tokens)
        return document(
            shapes.Metadata(
                issuer=self._sessions.issuer,
                jwks_uri=url + JWKS_PATH,
                revocations_uri=url + REVOCATIONS_PATH if followed else "",
            )
        )

    async def _follow_revocations(self, request: Request, _: None) -> Response:
        address = self._address(request)
        try:
            self._check_follower(request)
        except FeedRefused as error:
            record("feed_refused", code=error.code, address=address)
            raise
        if self._sessions.staleness == float("inf"):
            raise CutoffsStale
        record("feed_followed", address=address)
        return stream_of(self._sessions.feed, request)

    def _check_follower(self, request: Request) -> None:
        presented = self._presented.bearer(request)
        if presented is None:
            raise FeedTokenMissing
        token = presented.encode("latin-1")
        tokens = self._settings.revocations_tokens
        if not any(hmac.compare_digest(token, known.encode()) for known in tokens):
            raise FeedTokenInvalid

    async def _healthz(self, _request: Request, _: None) -> Response:
        return success(shapes.Health(status="up"), "Up")

    async def _readyz(self, _request: Request, _: None) -> Response:
        parts = {"store": await self._store_answers(), "revocations": not self._sessions.stale}
        if missing := [name for name, ready in parts.items() if not ready]:
            raise NotReady(*missing)
        return success(shapes.Readiness(store="ready", revocations="ready"), "Ready")

    async def _store_answers(self) -> bool:
        try:
            await self._sessions.check_store()
        except Unavailable as error:
            self._problems.report(error)
            return False
        return True

    async def _openapi(self, _request: Request, _: None) -> Response:
        return document(self.description)

    # ── what several of them do ─────────────────────────────────────────────────────────────────

    def _caller(self, request: Request) -> AccessToken:
        return self._sessions.verify(self._presented.access_token(request))

    def _address(self, request: Request) -> str:
        return address_of(request, self._settings.trusted_proxies)


def _identifier(body: shapes.Login) -> str:
    if bool(body.username) == bool(body.email):
        only_one = ", not both" if body.username else ""
        raise InvalidField("username", f"or email must be given{only_one}")
    return body.username or body.email
