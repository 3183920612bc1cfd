"""``Endpoints``: from a request to the handler of its route, and what every answer has."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable, Mapping
from contextlib import aclosing
from urllib.parse import urlsplit

from keyturn.accounts import Accounts
from keyturn.sessions import Sessions

from . import bodies, csrf, headers
from .errors import CrossOrigin, MethodNotAllowed, NotFound
from .handlers import Handler, Handlers
from .http import Request, Response, check_size
from .problems import Problems
from .routes import METADATA_PATH, Route, place_of, routes_of
from .settings import REFRESH_PATH, WireSettings

__all__ = ["Endpoints"]


_Methods = dict[str, tuple[Route, Handler]]


class Endpoints:
    """All that HTTP clients can ask. ``description`` is the OpenAPI document of it.

    Args:
        sessions: loaded by the time of the first request.
        accounts: on the same sessions.
        settings: what the wire is told.
    """

    def __init__(self, sessions: Sessions, accounts: Accounts, settings: WireSettings) -> None:
        self.settings = settings
        self._feed = sessions.feed
        self._problems = Problems(sessions.now, sessions.observer)
        handlers = Handlers(sessions, accounts, settings, self._problems)
        self.description = handlers.description
        self._places = _arrange(routes_of(settings), handlers.by_operation)
        # RFC 8414, section 3: the path of an issuer comes behind the well-known one.
        issuer_path = urlsplit(sessions.issuer).path.rstrip("/")
        self._places[METADATA_PATH + issuer_path] = self._places[METADATA_PATH]
        self._standing_headers = headers.standing(settings)
        self._own_origin = settings.origin.encode()
        self._trusted = frozenset(origin.encode() for origin in settings.trusted_origins)

    async def handle(self, request: Request) -> Response:
        """Answer ``request``. Never raises: what was not foreseen is logged and answered 503."""
        try:
            response = await self._answer(request)
        except Exception as error:  # noqa: BLE001  whatever it was, somebody waits for an answer
            response = self._problems.answer_to(error)
        return self._finish(request, response)

    def methods_at(self, path: str) -> Collection[str]:
        """What may be asked of ``path``; nothing where none of these is."""
        return self._places.get(place_of(path), {}).keys()

    def end_streams(self) -> None:
        """Let those go who follow what happens here. To be called as the server stops, as it waits
        for answers that have begun.
        """
        self._feed.close()

    async def _answer(self, request: Request) -> Response:
        check_size(request)
        methods = self._places.get(place_of(request.path))
        if methods is None:
            raise NotFound
        if request.method not in methods:
            return self._without_route(request, ", ".join(methods))
        route, handler = methods[request.method]
        if not self._allows(request):
            raise CrossOrigin
        return await handler(request, bodies.read(request, route.body) if route.changes else None)

    def _without_route(self, request: Request, methods: str) -> Response:
        """The answer to a browser that asks before a page may (CORS preflight), or none."""
        if request.method == "OPTIONS" and request.header(b"access-control-request-method"):
            if request.header(b"origin") not in self._trusted_at(request.path):
                raise CrossOrigin
            return Response(204, headers.preflight(methods))
        raise MethodNotAllowed(methods)

    def _allows(self, request: Request) -> bool:
        return csrf.allows(
            request.method,
            request.header(b"sec-fetch-site"),
            request.header(b"origin"),
            own_origin=self._own_origin,
            trusted=self._trusted_at(request.path),
        )

    def _trusted_at(self, path: str) -> Collection[bytes]:
        if path == REFRESH_PATH and not self.settings.refresh_from_trusted_origins:
            return ()
        return self._trusted

    def _finish(self, request: Request, response: Response) -> Response:
        finished = [*response.headers, *self._standing_headers]
        finished += headers.cors(request.header(b"origin"), self._trusted_at(request.path))
        if b"cache-control" not in dict(response.headers):
            finished.append(headers.NO_STORE)
        if response.status not in {204, 304} and response.stream is None:
            finished.append((b"content-length", b"%d" % len(response.body)))
        if request.method == "HEAD":
            return Response(response.status, finished)
        stream = None if response.stream is None else self._guarded(response.stream)
        return Response(response.status, finished, response.body, stream)

    async def _guarded(self, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        """The stream; it ends early where something was not foreseen, as its status is sent."""
        try:
            async with aclosing(stream):
                async for chunk in stream:
                    yield chunk
        except Exception as error:  # noqa: BLE001  whatever it was, the client can come again
            self._problems.answer_to(error)


def _arrange(routes: Iterable[Route], handlers: Mapping[str, Handler]) -> dict[str, _Methods]:
    """Routes and their handlers by path and method."""
    places: dict[str, _Methods] = {}
    for route in routes:
        methods = places.setdefault(route.path, {})
        methods[route.method] = (route, handlers[route.operation])
        if route.method == "GET":
            methods["HEAD"] = methods["GET"]
    return places
