"""The pages of a running server, and a server without them."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.server.processes import serving

BROWSER = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document", "accept": "text/html"}


def test_a_server_has_pages(tmp_path: Path) -> None:
    """All that they load is in the package, under the name of the service."""
    with serving(tmp_path, KEYTURN_SERVICE_NAME="Analytical Engines") as server:
        page = httpx.get(f"{server.url}/", headers=BROWSER, follow_redirects=True)
        client = httpx.get(f"{server.url}/keyturn.js")
        reference = httpx.get(f"{server.url}/docs", headers=BROWSER)

    assert (page.status_code, page.url.path) == (200, "/login")
    assert "Analytical Engines" in page.text
    assert "export class Keyturn" in client.text
    assert f"curl {server.url}/healthz" in reference.text


def test_a_server_without_pages_answers_as_if_there_were_none(tmp_path: Path) -> None:
    """B1: a GET of an endpoint that changes something is 405, whoever asks."""
    with serving(tmp_path, KEYTURN_PAGES="false") as server:
        answers = {
            path: httpx.get(server.url + path, headers=BROWSER)
            for path in ("/", "/login", "/logout", "/account", "/docs", "/keyturn.js", "/static/")
        }

    statuses = {path: answer.status_code for path, answer in answers.items()}
    kinds = {answer.headers["content-type"] for answer in answers.values()}
    assert statuses == {
        "/": 404,
        "/login": 405,
        "/logout": 405,
        "/account": 404,
        "/docs": 404,
        "/keyturn.js": 404,
        "/static/": 404,
    }
    assert kinds == {"application/problem+json"}
