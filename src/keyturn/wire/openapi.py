"""The OpenAPI 3.1 document, made from the table of routes and the shapes of their JSON."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
from msgspec import UNSET

from keyturn.core.errors import KeyturnError

from . import problems
from .errors import MethodNotAllowed, NotFound
from .problems import Problem, status_of
from .routes import GROUPS, JSON, JWKS_PATH, SESSION_PATH, Route
from .settings import WireSettings
from .shapes import NoFields

__all__ = ["describe"]

_ABOUT: Final = """\
Keeps users signed in: short access tokens that any service can check, and refresh tokens that are \
exchanged for the next pair.

A success is `{"data": …, "message": …}`. A refusal is a problem document (RFC 9457) whose `code` \
is for programs, and whose `remedy` says what to do next: `retry` (again, after `Retry-After` \
where that is given), `refresh` (exchange the refresh token, then again), `login`, `none`.

An access token comes as `Authorization: Bearer`, else in its cookie. Requests that change \
something are refused to pages of origins that are not trusted. Each GET is answered to HEAD too.
"""

_REFERENCES: Final = "#/components/schemas/{name}"
_SESSION_ID: Final = {
    "name": "sid",
    "in": "path",
    "required": True,
    "description": "Id of the session, as the list of devices has it",
    "schema": {"type": "string", "minLength": 1},
    "example": "k0y-2hB4wUuFqE3nYp8Zgx",
}
_LAST_EVENT_ID: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "Of the last event that came; what was told since is told, or everything",
    "schema": {"type": "string"},
}
_IF_NONE_MATCH: Final = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The ETag of a copy; if that is good still, the answer is 304",
    "schema": {"type": "string"},
}

_HEADERS_OF_REFUSALS: Final = {
    HTTPStatus.UNAUTHORIZED: {
        "WWW-Authenticate": {
            "description": 'Bearer, with error="invalid_token" where a token was presented',
            "required": True,
            "schema": {"type": "string"},
        }
    },
    HTTPStatus.TOO_MANY_REQUESTS: {
        "Retry-After": {
            "description": "Seconds",
            "required": True,
            "schema": {"type": "integer", "minimum": 1},
        }
    },
}
_HEADERS_OF_REFUSALS[HTTPStatus.SERVICE_UNAVAILABLE] = _HEADERS_OF_REFUSALS[
    HTTPStatus.TOO_MANY_REQUESTS
]
_HEADERS_OF_KEYS: Final = {
    name: {"description": description, "required": True, "schema": {"type": "string"}}
    for name, description in {
        "Cache-Control": "For how long a copy may be kept",
        "ETag": "What If-None-Match is asked with",
    }.items()
}

_COOKIES: Final = {
    "set": "The cookies with the new pair; none where those that came along are of another session",
    "deleted": "That deletes the cookies; none where those that came along are of another session",
}


def describe(routes: Sequence[Route], settings: WireSettings) -> dict[str, Any]:
    """The document, to be written as JSON."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Keyturn", "version": "1", "description": _ABOUT},
        "servers": [{"url": settings.public_url}],
        "tags": [{"name": name, "description": what_for} for name, what_for in GROUPS.items()],
        "paths": paths,
        "components": {
            "schemas": _schemas(routes),
            "securitySchemes": _ways_to_prove_it(settings),
        },
        "x-problems": _problems(routes),
    }


def _schemas(routes: Sequence[Route]) -> Mapping[str, Any]:
    bodies = {route.body for route in routes}
    shapes = {
        shape
        for route in routes
        for shape in (route.body, route.data, route.document, *route.events)
        if shape
    }
    _, schemas = msgspec.json.schema_components([*shapes, Problem], ref_template=_REFERENCES)
    for schema in schemas.values():
        schema["description"] = _in_markdown(schema["description"])
    for body in bodies:
        schemas[body.__name__]["additionalProperties"] = False
    return dict(sorted(schemas.items()))


def _ways_to_prove_it(settings: WireSettings) -> Mapping[str, Any]:
    return {
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "The access token",
        },
        "cookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": settings.cookies.effective_prefix + "accessToken",
            "description": "The access token",
        },
        "feed": {
            "type": "http",
            "scheme": "bearer",
            "description": "A feed token, one of those in the settings of the server",
        },
    }


def _problems(routes: Iterable[Route]) -> Sequence[Mapping[str, Any]]:
    """Every code, and what it means."""
    kinds: set[type[KeyturnError]] = {NotFound, MethodNotAllowed}
    kinds.update(error for route in routes for error in route.errors)
    return [
        {
            "code": kind.code,
            "status": status_of(kind),
            "remedy": kind.remedy,
            "meaning": _in_markdown(kind.__doc__ or ""),
        }
        for kind in sorted(kinds, key=lambda kind: (status_of(kind), kind.code))
    ]


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation,
        "tags": [route.group],
        "summary": route.summary,
        "description": route.description,
        "responses": _successes(route) | _refusals(route.errors),
    }
    if parameters := _parameters(route):
        operation["parameters"] = parameters
    if route.body is not NoFields:
        operation["requestBody"] = _body(route)
    if route.follows:
        operation["security"] = [{"feed": []}]
    if route.needs_access:
        operation["security"] = [{"bearer": []}, {"cookie": []}]
    return operation


def _parameters(route: Route) -> Sequence[Mapping[str, Any]]:
    if route.follows:
        return [_LAST_EVENT_ID]
    if route.path == JWKS_PATH:
        return [_IF_NONE_MATCH]
    return [_SESSION_ID] if route.path == SESSION_PATH else []


def _body(route: Route) -> Mapping[str, Any]:
    content: dict[str, Any] = {"schema": _reference(route.body)}
    if route.example:
        content["example"] = route.example
    # Where fields may be absent, but not all of them, {} will not do either.
    needed = any(
        field.required or field.default is UNSET for field in msgspec.structs.fields(route.body)
    )
    return {"content": {JSON: content}, "required": needed}


def _successes(route: Route) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": route.summary,
        "content": {route.media_type: {} if route.follows else {"schema": _of_success(route)}},
    }
    if route.cookies in _COOKIES:
        described = {"description": _COOKIES[route.cookies], "schema": {"type": "string"}}
        answer["headers"] = {"Set-Cookie": described}
    if route.path != JWKS_PATH:
        return {str(route.status): answer}
    return {
        str(route.status): answer | {"headers": _HEADERS_OF_KEYS},
        "304": {
            "description": "The copy named by If-None-Match is good still",
            "headers": _HEADERS_OF_KEYS,
        },
    }


def _of_success(route: Route) -> Mapping[str, Any]:
    if route.document is not None:
        return _reference(route.document)
    if route.data is None:
        return {"type": "object"}
    return {
        "type": "object",
        "required": ["data", "message"],
        "properties": {"data": _reference(route.data), "message": {"type": "string"}},
    }


def _refusals(errors: Iterable[type[KeyturnError]]) -> dict[str, Any]:
    """By status, each with the codes that its problem document may have."""
    codes: dict[int, list[str]] = {}
    for error in errors:
        codes.setdefault(status_of(error), []).append(error.code)
    return {str(status): _refusal(status, sorted(codes[status])) for status in sorted(codes)}


def _refusal(status: int, codes: list[str]) -> dict[str, Any]:
    told = {"status": {"const": status}, "code": {"enum": codes}}
    refusal: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "content": {
            problems.MEDIA_TYPE: {"schema": {**_reference(Problem), "properties": told}},
        },
    }
    if status in _HEADERS_OF_REFUSALS:
        refusal["headers"] = _HEADERS_OF_REFUSALS[HTTPStatus(status)]
    return refusal


def _reference(shape: type[msgspec.Struct]) -> Mapping[str, str]:
    return {"$ref": _REFERENCES.format(name=shape.__name__)}


def _in_markdown(docstring: str) -> str:
    """As OpenAPI has its descriptions; docstrings are written in reStructuredText."""
    return inspect.cleandoc(docstring).replace("``", "`")
