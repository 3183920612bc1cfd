"""The OpenAPI document in words: every operation, field and code of it is on the page."""

from __future__ import annotations

import html
import re
import shlex
from typing import Any

import pytest

from keyturn.server.pages.reference import Operation, groups_of
from keyturn.server.pages.rendering import read_texts
from keyturn.wire.openapi import describe
from keyturn.wire.routes import ROUTES, Route
from keyturn.wire.settings import WireSettings
from tests.server.pages.test_routes import paged
from tests.support import Clock

URL = "https://example.com/auth"
DOCUMENT = describe(ROUTES, WireSettings(public_url=URL))
OPERATIONS = {
    operation.name: operation
    for group in groups_of(DOCUMENT, read_texts())
    for operation in group.operations
}

every_route = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation)


def operation(name: str) -> Operation:
    return OPERATIONS[name]


def described(name: str) -> dict[str, str]:
    """The fields of the body of an operation, and what is told of their types."""
    return {field.name: field.kind for field in operation(name).body}


@every_route
def test_every_route_is_an_operation(route: Route) -> None:
    """With its codes, by status."""
    told = operation(route.operation)

    codes = {code for refusal in told.refusals for code in refusal.codes}
    assert (told.method, told.path, told.summary) == (route.method, route.path, route.summary)
    assert codes == {error.code for error in route.errors}
    assert str(route.status) in {success.status for success in told.successes}


def test_fields_have_types_and_limits() -> None:
    """Those that the accounts hold."""
    assert described("register") == {
        "username": "text, 3 to 64 characters",
        "email": "text, 3 to 254 characters",
        "fullname": "text, 1 to 128 characters",
        "password": "text, 8 to 1024 characters",
    }
    assert described("login")["remember"] == "true or false"


def test_fields_of_fields_have_their_path() -> None:
    """Through lists too; what may be absent is told as such."""
    (success,) = operation("listSessions").successes

    told = {field.name: (field.kind, field.needed) for field in success.fields}
    assert told["data.sessions[].createdAt"] == ("time", True)
    assert told["data.sessions[].lastUsed"] == ("time", False)
    assert told["message"] == ("text", True)
    assert "data" not in told


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("healthz", [f"curl {URL}/healthz"]),
        (
            "revokeSession",
            [
                f'curl -X DELETE "{URL}/sessions/$SID"',
                '-H "Authorization: Bearer $ACCESS_TOKEN"',
            ],
        ),
        (
            "login",
            [
                f"curl -X POST {URL}/login",
                "-H 'Content-Type: application/json'",
                """-d '{"username": "ada", "password": "a deal of brass cogs"}'""",
            ],
        ),
        (
            "followRevocations",
            [f"curl {URL}/revocations", '-H "Authorization: Bearer $FEED_TOKEN"'],
        ),
    ],
)
def test_an_example_is_for_a_shell(name: str, lines: list[str]) -> None:
    """Tokens and ids come from its variables."""
    assert operation(name).example == " \\\n  ".join(lines)


def test_an_apostrophe_ends_no_argument() -> None:
    """Of JSON in single quotes."""
    document: dict[str, Any] = DOCUMENT | {"paths": {"/login": DOCUMENT["paths"]["/login"]}}
    body = document["paths"]["/login"]["post"]["requestBody"]["content"]["application/json"]
    kept, body["example"] = body["example"], {"password": "it's; rm -rf"}

    (told,) = [each for group in groups_of(document, read_texts()) for each in group.operations]

    body["example"] = kept
    assert shlex.split(told.example.replace("\\\n", ""))[-1] == '{"password": "it\'s; rm -rf"}'


async def test_the_page_has_all_of_it() -> None:
    """Every operation under an anchor that the contents name, and every code with its remedy; no
    link leads nowhere.
    """
    async with paged(Clock(), service="Ada & Co") as there:
        page = (await there.get("/docs")).body.decode()

    anchors = re.findall(r' id="([^"]*)"', page)
    links = re.findall(r' href="#([^"]*)"', page)
    rows = re.findall(r'<th scope="row" id="(\w+)">.*?</tr>', page, re.DOTALL)
    assert len(anchors) == len(set(anchors))
    assert set(links) <= set(anchors)
    assert {route.operation for route in ROUTES} <= set(links)
    assert rows == [problem["code"] for problem in DOCUMENT["x-problems"]]
    for problem in DOCUMENT["x-problems"]:
        assert html.escape(problem["meaning"].partition("`")[0], quote=False) in html.unescape(page)


async def test_what_the_server_does_not_offer_is_not_on_it() -> None:
    """As in the document: the feed is there where it can be followed."""
    async with paged(Clock(), WireSettings(public_url=URL)) as there:
        page = (await there.get("/docs")).body.decode()

    assert "/revocations" not in page
    assert f"curl {URL}/healthz" in page


async def test_no_text_of_the_document_becomes_markup() -> None:
    """Back quotes make code; nothing else makes anything."""
    async with paged(Clock()) as there:
        render = there.pages._renderer.render
        page = render("docs", about="<b> `<i>` &", groups=[], problems=[]).decode()

    assert "&lt;b&gt; <code>&lt;i&gt;</code> &amp;" in page
