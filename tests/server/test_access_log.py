"""A line for each request, where that is wanted, and nothing secret in it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyturn.server.access_log import AccessLog
from keyturn.wire.http import Request, Response
from tests.server.processes import Server, register, run_keyturn, serving, sign_in

REFRESH = "ktr_" + "Ab-_" * 17 + "Abc"


def lines(server: Server) -> list[dict[str, Any]]:
    told = [json.loads(line) for line in server.errors.read_text().splitlines()]
    return [line for line in told if line["logger"] == "keyturn.access"]


def test_each_request_is_a_line_where_that_is_wanted(tmp_path: Path) -> None:
    """H3: when, from where, what, how it went, how long it took; whatever else is logged."""
    settings = {"KEYTURN_ACCESS_LOG": "true", "KEYTURN_LOG_LEVEL": "error"}
    with serving(tmp_path, **settings) as server:
        answer = httpx.get(f"{server.url}/healthz?token=secret")
        (line,) = lines(server)

    assert line.pop("seconds") >= 0
    assert line.pop("time")
    assert line == {
        "level": "info",
        "logger": "keyturn.access",
        "message": "answered",
        "method": "GET",
        "path": "/healthz",
        "status": 200,
        "address": "127.0.0.1",
        "requestId": answer.headers["x-request-id"],
    }


def test_by_default_no_request_is_logged(tmp_path: Path) -> None:
    """What concerns who is signed in is, and by the same id."""
    run_keyturn(tmp_path, "init")
    with serving(tmp_path) as server, server.client() as client:
        register(client)
        answer = client.post("/login", json={"username": "ada", "password": "wrong-wrong"})
        told = [json.loads(line) for line in server.errors.read_text().splitlines()]

    ids = [line["requestId"] for line in told if line["message"].startswith("login_failed")]
    assert {line["logger"] for line in told} == {"keyturn.security"}
    assert ids == [answer.headers["x-request-id"]] == [answer.json()["requestId"]]


def test_wherever_a_token_is_put_none_is_logged(tmp_path: Path) -> None:
    """H3: path, query, headers, cookies, body, request id."""
    settings = {
        "KEYTURN_ACCESS_LOG": "true",
        "KEYTURN_LOG_LEVEL": "debug",
        "KEYTURN_TRUSTED_PROXIES": "127.0.0.1",
    }
    with serving(tmp_path, **settings) as server, server.client() as client:
        register(client)
        tokens = sign_in(client)
        secrets = [tokens["accessToken"], tokens["refreshToken"]]
        for token in secrets:
            client.get(f"/{token}", params={"token": token})
            client.get(f"/sessions/{token}", headers={"Authorization": f"Bearer {token}"})
            client.get("/account", headers={"Cookie": f"__Host-refreshToken={token}"})
            client.get("/me", headers={"X-Request-Id": token, "Referer": f"/?{token}"})
            client.get("/me", headers={"X-Forwarded-For": token, "User-Agent": token})
            client.post("/refresh-token", json={"refreshToken": token})
        written = server.errors.read_text()

    assert len(lines(server)) == 14
    for token in secrets:
        assert not [part for part in token.split(".") if part in written]
        assert token[8:60] not in written


@pytest.mark.parametrize(
    "path", ["/a status=200", "/a\nb", "/\x1b[2J", "/" + "x" * 9999, "/\ud800"]
)
async def test_a_path_can_forge_nothing(path: str, caplog: pytest.LogCaptureFixture) -> None:
    """H3: it is one word, of bounded length."""

    async def answer(_: Request) -> Response:
        return Response(404)

    with caplog.at_level(logging.INFO):
        await AccessLog(answer, ()).handle(Request("GET", path, b"q=1", [], b"", "192.0.2.1"))

    (line,) = caplog.records
    assert " " not in (word := vars(line)["path"])
    assert word.isascii()
    assert word.isprintable()
    assert len(word) <= 1024
