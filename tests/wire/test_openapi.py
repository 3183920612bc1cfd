"""The OpenAPI document is true: schemathesis asks by it, and holds every answer against it."""

from __future__ import annotations

import copy
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import pytest
import schemathesis
from schemathesis import Case
from schemathesis.checks import CheckFunction
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.openapi.checks import JsonSchemaError, MissingHeaders, UndefinedStatusCode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from schemathesis.specs.openapi.schemas import OpenApiSchema

from keyturn.integrations.asgi import App
from keyturn.wire.openapi import describe
from keyturn.wire.routes import ROUTES
from keyturn.wire.settings import WireSettings
from tests.support import Clock
from tests.wire.support import ACCESS, FEED_TOKEN, ORIGIN, Site, site

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]

EXAMPLES: Final = {route.operation: route.example for route in ROUTES}
SIGNED_IN: Final = "signed-in"
ANOTHER_SID: Final = "k0y-2hB4wUuFqE3nYp8Zgx"
WAYS: Final = {
    "nobody": {},
    "bearer": {"Authorization": f"Bearer {SIGNED_IN}"},
    "cookie": {"Cookie": f"{ACCESS}={SIGNED_IN}"},
}

CONFIG: Final = {
    "seed": 1,
    "generation": {"max-examples": 12, "deterministic": True},
}
EXCLUDED: Final[list[CheckFunction]] = [
    # Who has fields of the right form may still not have the right password; a password of the
    # right length may be a common one. That the examples are accepted has a test of its own.
    positive_data_acceptance,
]


class Stage:
    """A server that is new for each request, so none depends on those before. Ada is signed in on
    two devices; what the document has as examples is replaced by what is real here.
    """

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        assert scope["type"] == "http"
        async with site(Clock()) as here:
            real = await self._furnish(here)
            body = await _body_of(receive)

            async def receive_real() -> _Message:
                return {"type": "http.request", "body": _replaced(body, real)}

            async def send_and_end(message: _Message) -> None:
                await send(message)
                if b"event: alive" in message.get("body", b""):
                    here.endpoints.end_streams()

            headers = [(name, _replaced(value, real)) for name, value in scope["headers"]]
            path = _replaced(scope["path"].encode(), real).decode()
            if path == "/revocations":
                headers = [
                    (name, value.replace(real[SIGNED_IN].encode(), FEED_TOKEN.encode()))
                    for name, value in headers
                ]
            scope = {**scope, "headers": headers, "path": path}
            await App(here.endpoints)(scope, receive_real, send_and_end)

    async def _furnish(self, here: Site) -> dict[str, str]:
        """What is real here, by how the document has it."""
        user = await here.accounts.find_user("ada")
        password = EXAMPLES["login"]["password"]
        await here.accounts.set_password(user.id, password)
        _, tokens = await here.accounts.login("ada", password)
        _, other = await here.accounts.login("ada", password)
        return {
            SIGNED_IN: tokens.access_token,
            ANOTHER_SID: other.session.sid,
            EXAMPLES["refresh"]["refreshToken"]: tokens.refresh_token,
            EXAMPLES["resetPassword"]["token"]: await here.accounts.make_reset_token(user.id),
        }


def _replaced(content: bytes, real: dict[str, str]) -> bytes:
    for told, value in real.items():
        content = content.replace(told.encode(), value.encode())
    return content


async def _body_of(receive: _Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def load(document: dict[str, Any] | None = None) -> OpenApiSchema:
    config = SchemathesisConfig.from_dict(CONFIG)
    if document is None:
        return schemathesis.openapi.from_asgi("/openapi.json", Stage(), config=config)
    schema = schemathesis.openapi.from_dict(document, config=config)
    schema.app = Stage()
    return schema


@pytest.fixture(params=WAYS)
def served(request: pytest.FixtureRequest) -> OpenApiSchema:
    schema = load()
    schema.app.credentials = WAYS[request.param]
    return schema


described = schemathesis.pytest.from_fixture("served")


@described.parametrize()
def test_every_answer_is_as_the_document_says(case: Case) -> None:
    """Statuses, media types, headers and JSON; by whoever asks, with fields that are right and
    wrong, and with methods that there are not.
    """
    case.call_and_validate(
        headers=case.operation.app.credentials,
        excluded_checks=EXCLUDED,
    )
