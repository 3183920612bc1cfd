"""What a request is called."""

from __future__ import annotations

import json
from ipaddress import ip_network

import pytest

from keyturn.core.errors import StoreUnavailable
from keyturn.wire.http import Request
from keyturn.wire.problems import Problems
from keyturn.wire.request_ids import given_id, serve_under

PROXY = "10.0.0.1"
PROXIES = (ip_network("10.0.0.0/8"),)


@pytest.mark.parametrize(
    ("client", "values", "given"),
    [
        (PROXY, ["a-Z_0.9"], "a-Z_0.9"),
        (PROXY, ["x" * 128], "x" * 128),
        (PROXY, ["x" * 129], ""),
        (PROXY, [], ""),
        (PROXY, [""], ""),
        (PROXY, ["one", "two"], ""),
        (PROXY, ["one two"], ""),
        (PROXY, ["one\n"], ""),
        (PROXY, ["one\r\nrefresh_reused sid=x"], ""),
        (PROXY, ["\x1b[2J"], ""),
        (PROXY, ["é"], ""),
        (PROXY, ['"},{"'], ""),
        ("192.0.2.1", ["one"], ""),
        ("", ["one"], ""),
    ],
)
def test_only_a_trusted_proxy_may_call_a_request_something(
    client: str, values: list[str], given: str
) -> None:
    """H3, H5: and only by what can break out of no line, header or document."""
    headers = [(b"x-request-id", value.encode()) for value in values]

    assert given_id(Request("GET", "/", b"", headers, b"", client), PROXIES) == given


async def test_a_problem_document_has_the_id_of_its_request() -> None:
    """So that whoever shows it to the operator shows where to look."""
    serve_under("one")

    answer = Problems(lambda: 0).answer_to(StoreUnavailable("locked"))

    assert json.loads(answer.body)["requestId"] == "one"


def test_outside_of_any_request_it_has_none() -> None:
    """Where endpoints are served by something that calls requests nothing."""
    answer = Problems(lambda: 0).answer_to(StoreUnavailable("locked"))

    assert "requestId" not in json.loads(answer.body)
