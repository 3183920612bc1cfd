"""The OpenAPI document is true: schemathesis asks by it, and holds every answer against it."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, Final

import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.core import NOT_SET
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.engine import from_schema
from schemathesis.engine.events import FatalError, NonFatalError, ScenarioFinished
from schemathesis.openapi.checks import (
    JsonSchemaError,
    MissingHeaders,
    UndefinedContentType,
    UndefinedStatusCode,
)
from schemathesis.specs.openapi.schemas import OpenApiSchema

from keyturn.integrations.asgi import App
from keyturn.wire.openapi import describe
from keyturn.wire.routes import ROUTES, SESSION_PATH, Route
from tests.support import Clock
from tests.wire.support import EVERYTHING, FEED_TOKEN, Site, site

pytestmark = pytest.mark.no_cover  # the tracer makes them several times slower

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]

EXAMPLES: Final = {route.operation: route.example for route in ROUTES}
SIGNED_IN: Final = "signed-in"
ANOTHER_SID: Final = "k0y-2hB4wUuFqE3nYp8Zgx"
WAYS: Final[dict[str, dict[str, Any]]] = {
    "nobody": {},
    "bearer": {"openapi": {"bearer": {"bearer": SIGNED_IN}, "feed": {"bearer": FEED_TOKEN}}},
    "cookie": {"openapi": {"cookie": {"api_key": SIGNED_IN}}},
}
"""How whoever asks proves it, by the names of the document."""

CONFIG: Final[dict[str, Any]] = {
    "seed": 1,
    "generation": {"max-examples": 6, "deterministic": True, "database": "none"},
    "phases": {"stateful": {"enabled": False}},  # each request is made of a new server
    "checks": {
        # Who has fields of the right form may still not have the right password; a password of the
        # right length may be a common one. That the examples are accepted has a test of its own.
        "positive_data_acceptance": {"enabled": False},
    },
}


class Stage:
    """A server that is new for each request, so none depends on those before. Ada is signed in on
    two devices; what the document has as examples is replaced by what is real here.
    """

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        assert scope["type"] == "http"
        async with site(Clock()) as here:
            real = await self._furnish(here)
            bodies = [_replaced(await _body_of(receive), real)]

            async def receive_real() -> _Message:
                if bodies:
                    return {"type": "http.request", "body": bodies.pop()}
                return await receive()

            async def send_and_end(message: _Message) -> None:
                await send(message)
                if b"event: alive" in message.get("body", b""):
                    here.endpoints.end_streams()

            headers = [(name, _replaced(value, real)) for name, value in scope["headers"]]
            path = _replaced(scope["path"].encode(), real).decode()
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


def load(document: dict[str, Any] | None = None, way: str = "nobody") -> OpenApiSchema:
    """The document as the server has it, or another one on the same server. (Not read from there:
    where schemathesis has read it, it does not ask any more.)
    """
    config = SchemathesisConfig.from_dict(CONFIG | {"auth": WAYS[way]})
    described = describe(ROUTES, EVERYTHING) if document is None else document
    schema = schemathesis.openapi.from_dict(described, config=config)
    schema.app = Stage()
    return schema


def run(schema: OpenApiSchema) -> Iterator[tuple[str, int, str]]:
    """Ask by it: for each answer what was asked, the status, and what is wrong, if anything."""
    for event in from_schema(schema).execute():
        assert not isinstance(event, NonFatalError | FatalError), event
        if not isinstance(event, ScenarioFinished):
            continue
        for case_id, interaction in event.recorder.interactions.items():
            case = event.recorder.cases[case_id].value
            faults = [
                f"{check.failure_info.failure.title}: {check.failure_info.failure.message}"
                for check in event.recorder.checks.get(case_id, [])
                if check.failure_info is not None
            ]
            status = interaction.response.status_code if interaction.response else 0
            yield f"{case.method} {case.path}", status, "; ".join(faults)


@pytest.mark.parametrize("way", WAYS)
def test_every_answer_is_as_the_document_says(way: str) -> None:
    """Statuses, media types, headers and JSON; by whoever asks, with fields that are right and
    wrong, and with methods that there are not.
    """
    answers = list(run(load(way=way)))

    assert [answer for answer in answers if answer[2]] == []
    assert {f"{route.method} {route.path}" for route in ROUTES} <= {asked for asked, *_ in answers}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation)
def test_the_examples_of_the_document_work(route: Route) -> None:
    """Each is a request that succeeds, on a server whose Ada it is about."""
    case = load()[route.path][route.method].Case(
        path_parameters={"sid": ANOTHER_SID} if route.path == SESSION_PATH else {},
        body=dict(route.example) or NOT_SET,
        media_type="application/json" if route.example else None,
    )

    token = FEED_TOKEN if route.follows else SIGNED_IN
    answer = case.call_and_validate(headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == route.status


def _forget_a_status(responses: Any) -> None:
    del responses["401"]


def _change_a_media_type(responses: Any) -> None:
    responses["401"]["content"]["application/json"] = responses["401"]["content"].popitem()[1]


def _ask_for_a_header(responses: Any) -> None:
    responses["401"]["headers"]["X-Hint"] = {"required": True, "schema": {"type": "string"}}


def _forget_a_code(responses: Any) -> None:
    schema = responses["401"]["content"]["application/problem+json"]["schema"]
    schema["properties"]["code"]["enum"].remove("access_token_missing")


@pytest.mark.parametrize(
    ("lie", "found"),
    [
        (_forget_a_status, UndefinedStatusCode),
        (_change_a_media_type, UndefinedContentType),
        (_ask_for_a_header, MissingHeaders),
        (_forget_a_code, JsonSchemaError),
    ],
)
def test_a_document_that_lies_is_found_out(
    lie: Callable[[Any], None], found: type[Failure]
) -> None:
    """The check can fail."""
    document = copy.deepcopy(describe(ROUTES, EVERYTHING))
    lie(document["paths"]["/me"]["get"]["responses"])

    with pytest.raises(FailureGroup) as caught:
        load(document)["/me"]["GET"].Case().call_and_validate()

    assert [type(failure) for failure in caught.value.exceptions] == [found]


def test_a_run_tells_of_what_it_found() -> None:
    """It ends at the first request that met the lie."""
    document = copy.deepcopy(describe(ROUTES, EVERYTHING))
    document["paths"] = {"/me": {"get": document["paths"]["/me"]["get"]}}
    _forget_a_status(document["paths"]["/me"]["get"]["responses"])

    ((_, status, fault),) = [answer for answer in run(load(document)) if answer[0] == "GET /me"]

    assert status == 401
    assert fault.startswith("Undocumented status code: Received: 401")
