"""Which page a browser is answered, and with what headers.

The pages lie beside the endpoints: a GET of ``/login`` is a page, a POST the endpoint. A page
changes nothing but the cookies of whoever navigates to it (``keyturn.wire.navigation``); what
people do there, a script asks of the endpoints.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property
from typing import Any, Final
from urllib.parse import parse_qs

from keyturn.accounts import Accounts
from keyturn.accounts.errors import UserUnknown
from keyturn.accounts.model import User
from keyturn.core.access_token import AccessToken
from keyturn.core.errors import (
    RefreshRefused,
    RefreshTokenReused,
    SessionOver,
)
from keyturn.core.model import EndReason
from keyturn.sessions import Sessions
from keyturn.wire import headers
from keyturn.wire.destinations import destination
from keyturn.wire.endpoints import Endpoints
from keyturn.wire.errors import MethodNotAllowed
from keyturn.wire.http import Header, Request, Response, check_size
from keyturn.wire.navigation import Failed, Known, Late, Navigations, Unknown, Visitor
from keyturn.wire.problems import Problems
from keyturn.wire.request_ids import request_id

from .account import devices_of, happenings_of
from .reference import groups_of
from .rendering import Renderer, read_texts
from .static_files import CLIENT_PATH, StaticFiles

__all__ = ["Pages"]

_HTML: Final = (b"content-type", b"text/html; charset=utf-8")
_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    b" form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_OF_PAGES: Final = (
    (b"content-security-policy", _POLICY),
    (b"cross-origin-opener-policy", b"same-origin"),
)
_MOST_EVENTS: Final = 20

_Answer = Callable[[Request, Visitor], Awaitable[Response]]
_PrivateAnswer = Callable[[Request, Known], Awaitable[Response]]


class Pages:
    """The pages, and behind them the endpoints.

    Args:
        endpoints: what answers all else.
        sessions: loaded by the time of the first request.
        accounts: on the same sessions.
        service_name: what users call the service.
        password_length: characters that a new password must have.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        sessions: Sessions,
        accounts: Accounts,
        *,
        service_name: str,
        password_length: int,
    ) -> None:
        self._endpoints = endpoints
        self._settings = endpoints.settings
        self._sessions = sessions
        self._accounts = accounts
        self._password_length = password_length
        self._navigations = Navigations(sessions, self._settings)
        self._problems = Problems(sessions.now, sessions.observer)
        self._static = StaticFiles()
        self._texts = read_texts()
        self._renderer = Renderer(
            self._texts,
            service=service_name,
            base_path=self._settings.base_path,
            static_path=self._static.path_of,
        )
        self._standing_headers = headers.standing(self._settings)
        self._trusted = frozenset(origin.encode() for origin in self._settings.trusted_origins)
        self._public: dict[str, _Answer] = {
            "": self._home,  # the base path without a slash
            "/": self._home,
            "/docs": self._docs,
            "/login": self._login,
            "/reset-password": self._reset_password,
            "/signed-out": self._signed_out,
        }
        if self._settings.registration == "open":
            self._public["/register"] = self._register
        self._private: dict[str, _PrivateAnswer] = {
            "/account": self._account,
            "/change-password": self._change_password,
            "/delete-account": self._delete_account,
            "/edit-profile": self._edit_profile,
            "/logout": self._logout,
        }

    async def handle(self, request: Request) -> Response:
        """Answer ``request``. Never raises: what was not foreseen is logged and answered 503."""
        is_page = request.path in self._public or request.path in self._private
        if is_page and request.method in {"GET", "HEAD"}:
            return self._finish(request, await self._page(request), _OF_PAGES)
        if (file := self._file(request)) is not None:
            return self._finish(request, file, ())
        if is_page and self._is_asked_in_vain(request):
            return self._finish(request, self._not_allowed(request), ())
        response = await self._endpoints.handle(request)
        if response.status in {404, 405} and _wants_page(request):
            return self._finish(request, self._nothing_here(response), _OF_PAGES)
        return response

    # ── whom a page is for ──────────────────────────────────────────────────────────────────────

    async def _page(self, request: Request) -> Response:
        visitor: Visitor = Unknown()
        try:
            check_size(request)
            visitor = await self._navigations.visitor(request)
            response = await self._page_for(request, visitor)
        except Exception as error:  # noqa: BLE001  whatever it was, somebody waits for an answer
            response = self._failure(error)
        return visitor.finish(response) if isinstance(visitor, Known) else response

    async def _page_for(self, request: Request, visitor: Visitor) -> Response:
        if isinstance(visitor, Late):
            return visitor.response
        if request.path in self._public:
            if isinstance(visitor, Failed):
                self._problems.report(visitor.error)
            return await self._public[request.path](request, visitor)
        if isinstance(visitor, Failed):
            raise visitor.error
        if isinstance(visitor, Unknown):
            return self._ask_to_sign_in(request, visitor)
        return await self._private[request.path](request, visitor)

    def _ask_to_sign_in(self, request: Request, visitor: Unknown) -> Response:
        """Say why, if it is known. That page is a navigation too, which repeats the exchange: a
        refusal that crossed a sign-in in another tab is noticed there.
        """
        leads_to = "" if request.path == "/logout" else self._renderer.url(request.path)
        if reason := _reason_of(visitor.refusal):
            return self._see("/signed-out", reason=reason, next=leads_to)
        if request.path == "/logout" and not visitor.may_be_renewed:
            return self._see("/signed-out")
        return self._see("/login", next=leads_to)

    # ── pages for anybody ───────────────────────────────────────────────────────────────────────

    async def _home(self, _request: Request, visitor: Visitor) -> Response:
        return self._see("/account" if isinstance(visitor, Known) else "/login")

    async def _login(self, request: Request, visitor: Visitor) -> Response:
        if isinstance(visitor, Known):
            return self._go_on(request)
        here = self._renderer.url(request.path)
        hidden = not here.startswith(self._settings.cookies.refresh_path)  # the cookie is not sent
        return self._html(
            "login",
            next=self._next(request),
            registration=self._settings.registration == "open",
            resume=hidden or isinstance(visitor, Failed) or _may_be_renewed(visitor),
        )

    async def _register(self, request: Request, visitor: Visitor) -> Response:
        if isinstance(visitor, Known):
            return self._go_on(request)
        next_page = self._next(request)
        return self._html("register", next=next_page, password_length=self._password_length)

    async def _reset_password(self, _request: Request, _visitor: Visitor) -> Response:
        """The token is behind the ``#``, which browsers do not send."""
        return self._html("reset_password", password_length=self._password_length)

    async def _signed_out(self, request: Request, visitor: Visitor) -> Response:
        if isinstance(visitor, Known):
            return self._go_on(request)
        reasons = self._texts["reasons"]
        reason = reasons.get(_asked(request, "reason"), reasons["unknown"])
        return self._html("signed_out", reason=reason, next=self._next(request))

    async def _docs(self, _request: Request, _visitor: Visitor) -> Response:
        return Response(200, [_HTML], self._reference)

    @cached_property
    def _reference(self) -> bytes:
        """The same for everybody."""
        document = self._endpoints.description
        return self._renderer.render(
            "docs",
            about=document["info"]["description"],
            groups=groups_of(document, self._texts),
            problems=document["x-problems"],
        )

    def _go_on(self, request: Request) -> Response:
        """Lead somebody signed in to where they were going."""
        asked = self._next(request)
        return _see_other(asked) if asked else self._see("/account")

    def _next(self, request: Request) -> str:
        return destination(_asked(request, "next"), self._settings) or ""

    # ── pages for whoever is signed in ──────────────────────────────────────────────────────────

    async def _account(self, request: Request, visitor: Known) -> Response:
        caller = visitor.user
        sessions = await self._sessions.list(caller.user_id)
        events = await self._sessions.events(caller.user_id, limit=_MOST_EVENTS)
        now = self._sessions.now()
        return self._html(
            "account",
            visitor,
            user=await self._user(caller),
            devices=devices_of(sessions, caller.sid, now, self._texts),
            events=happenings_of(events, sessions, now, self._texts),
            notice=self._texts["notices"].get(_asked(request, "notice"), ""),
        )

    async def _user(self, caller: AccessToken) -> User:
        """As the database has them; of users who are elsewhere, as the token has them."""
        try:
            return await self._accounts.get_user(caller.user_id)
        except UserUnknown:
            claims = caller.claims
            return User(
                id=caller.user_id,
                username=claims.username or caller.user_id,
                email=claims.email,
                fullname=claims.fullname,
                created_at=caller.auth_time,
            )

    async def _change_password(self, _: Request, visitor: Known) -> Response:
        name = visitor.user.claims.username
        length = self._password_length
        return self._html("change_password", visitor, name=name, password_length=length)

    async def _edit_profile(self, _: Request, visitor: Known) -> Response:
        return self._html("edit_profile", visitor, user=await self._user(visitor.user))

    async def _delete_account(self, _: Request, visitor: Known) -> Response:
        user = await self._user(visitor.user)
        return self._html("delete_account", visitor, name=user.username)

    async def _logout(self, _: Request, visitor: Known) -> Response:
        claims = visitor.user.claims
        return self._html("logout", visitor, name=claims.fullname or claims.username)

    # ── answers ─────────────────────────────────────────────────────────────────────────────────

    def _html(self, template: str, visitor: Known | None = None, **values: Any) -> Response:
        if visitor is not None:
            now = self._sessions.now()
            at = visitor.refresh_at
            values["expires_in"] = visitor.user.expires_at - now
            values["refresh_in"] = None if at is None else max(0, at - now)
        return Response(200, [_HTML], self._renderer.render(template, **values))

    def _see(self, path: str, **query: str) -> Response:
        return _see_other(self._renderer.url(path, **query))

    def _file(self, request: Request) -> Response | None:
        """A static file, where there is one."""
        file = self._static.answer(request)
        if file is not None and request.method not in {"GET", "HEAD"}:
            return self._problems.answer_to(MethodNotAllowed("GET, HEAD"))
        return file

    def _is_asked_in_vain(self, request: Request) -> bool:
        """Whether neither a page nor an endpoint is asked so. A preflight is of the endpoints."""
        preflight = request.header(b"access-control-request-method") is not None
        return not preflight and request.method not in self._endpoints.methods_at(request.path)

    def _not_allowed(self, request: Request) -> Response:
        methods = ("GET", "HEAD", *self._endpoints.methods_at(request.path))
        return self._problems.answer_to(MethodNotAllowed(", ".join(methods)))

    def _nothing_here(self, problem: Response) -> Response:
        return self._message("not_found", problem, keep=b"allow")

    def _failure(self, error: Exception) -> Response:
        problem = self._problems.answer_to(error)
        name = "unavailable" if problem.status == 503 else "too_much"
        return self._message(name, problem, keep=b"retry-after")

    def _message(self, name: str, problem: Response, *, keep: bytes) -> Response:
        """What ``problem`` says to programs, as a page."""
        words = self._texts[name]
        body = self._renderer.render("message", page=name, words=words, request_id=request_id())
        kept = [header for header in problem.headers if header[0] == keep]
        return Response(problem.status, [_HTML, *kept], body)

    def _finish(
        self, request: Request, response: Response, own_headers: Sequence[Header]
    ) -> Response:
        own = {name for name, _ in own_headers}
        standing = [header for header in self._standing_headers if header[0] not in own]
        finished = [*response.headers, *own_headers, *standing]
        if request.path == CLIENT_PATH:
            finished += headers.cors(request.header(b"origin"), self._trusted)
        if all(name != b"cache-control" for name, _ in response.headers):
            finished.append(headers.NO_STORE)
        if response.status != 304:
            finished.append((b"content-length", b"%d" % len(response.body)))
        body = b"" if request.method == "HEAD" else response.body
        return Response(response.status, finished, body)


def _see_other(location: str) -> Response:
    return Response(303, [(b"location", location.encode())])


def _may_be_renewed(visitor: Visitor) -> bool:
    return isinstance(visitor, Unknown) and visitor.may_be_renewed


def _reason_of(refusal: RefreshRefused | None) -> str:
    """Why a session is over, as the texts name it; empty where none is known to have been."""
    if isinstance(refusal, SessionOver):
        return refusal.reason or "unknown"
    return EndReason.REUSE_DETECTED if isinstance(refusal, RefreshTokenReused) else ""


def _asked(request: Request, name: str) -> str:
    """A parameter of the query; empty where there is none, or several."""
    try:
        values = parse_qs(request.query.decode("ascii"), max_num_fields=16).get(name, [])
    except ValueError:
        return ""
    return values[0] if len(values) == 1 else ""


def _wants_page(request: Request) -> bool:
    """Whether a person looks at the answer, and not a program."""
    if request.method not in {"GET", "HEAD"}:
        return False
    purpose = request.header(b"sec-fetch-dest")
    if purpose is not None:
        return purpose == b"document"
    return b"text/html" in (request.header(b"accept") or b"")
