"""The OpenAPI 3.1 document, made from the table of routes and the shapes of their JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from keyturn.core.errors import KeyturnError

from . import problems
from .problems import Problem, status_of
from .routes import JSON, JWKS_PATH, SESSION_PATH, Route
from .settings import WireSettings
from .shapes import NoFields

__all__ = ["describe"]

_REFERENCES: Final = "#/components/schemas/{name}"
_SESSION_ID: Final = {
    "name": "sid",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
}
_LAST_EVENT_ID: Final = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "Of the last event that came; what was told since is told, or everything",
    "schema": {"type": "string"},
}


def describe(routes: Sequence[Route], settings: WireSettings) -> dict[str, Any]:
    """The document, to be written as JSON."""
    shapes = {
        shape for route in routes for shape in (route.body, route.data, *route.events) if shape
    }
    _, components = msgspec.json.schema_components([*shapes, Problem], ref_template=_REFERENCES)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Keyturn", "version": "1"},
        "servers": [{"url": settings.public_url}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "feed": {"type": "http", "scheme": "bearer"},
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": settings.cookies.effective_prefix + "accessToken",
                },
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "responses": _successes(route) | _refusals(route.errors),
    }
    if route.path == SESSION_PATH:
        operation["parameters"] = [_SESSION_ID]
    if route.follows:
        operation["parameters"] = [_LAST_EVENT_ID]
        operation["security"] = [{"feed": []}]
    if route.body is not NoFields:
        operation["requestBody"] = {
            "content": {JSON: {"schema": _reference(route.body)}},
            "required": any(field.required for field in msgspec.structs.fields(route.body)),
        }
    if route.needs_access:
        operation["security"] = [{"bearer": []}, {"cookie": []}]
    return operation


def _successes(route: Route) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string" if route.follows else "object"}
    if route.data is not None:
        schema["required"] = ["data", "message"]
        schema["properties"] = {"data": _reference(route.data), "message": {"type": "string"}}
    content = {route.media_type: {"schema": schema}}
    answers: dict[str, Any] = {
        str(route.status): {"description": route.summary, "content": content}
    }
    if route.path == JWKS_PATH:
        answers["304"] = {"description": "The copy named by If-None-Match is good still"}
    return answers


def _refusals(errors: Iterable[type[KeyturnError]]) -> dict[str, Any]:
    """By status, each with the codes that its problem document may have."""
    codes: dict[int, list[str]] = {}
    for error in errors:
        codes.setdefault(status_of(error), []).append(error.code)
    return {str(status): _refusal(status, sorted(codes[status])) for status in sorted(codes)}


def _refusal(status: int, codes: list[str]) -> dict[str, Any]:
    schema = {**_reference(Problem), "properties": {"code": {"enum": codes}}}
    return {
        "description": HTTPStatus(status).phrase,
        "content": {problems.MEDIA_TYPE: {"schema": schema}},
    }


def _reference(shape: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": _REFERENCES.format(name=shape.__name__)}
