"""The webhook of real servers, and the commands that look after it."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import standardwebhooks

from keyturn.hooks import open_outbox
from keyturn.hooks.webhook import new_secret
from keyturn.observing import HOOK_OUTCOMES
from keyturn.server.assembly import WEBHOOK, Parts
from tests.commands import Command
from tests.server.processes import (
    ADA,
    Server,
    register,
    run_keyturn,
    serving,
    sign_in,
    until,
)
from tests.server.test_metrics import TOKEN, figures

SECRET = new_secret(bytes(range(32)))


class Receiver:
    """Believes what is signed, and keeps it."""

    def __init__(self) -> None:
        self.status = 204
        self.connections: set[Any] = set()
        self.told: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.url = ""

    def take(self, headers: dict[str, str], body: bytes) -> None:
        self.told.append(standardwebhooks.Webhook(SECRET).verify(body, headers))
        self.ids.append(headers["webhook-id"])


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            receiver.connections.add(self.client_address)
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.take({name.lower(): text for name, text in self.headers.items()}, body)
            self.send_response(receiver.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield receiver
        server.shutdown()
        thread.join()


@contextmanager
def posting(folder: Path, url: str, **settings: str) -> Iterator[Server]:
    settings |= {"KEYTURN_WEBHOOK_URL": url, "KEYTURN_WEBHOOK_SECRET": SECRET}
    with serving(folder, "--workers", "2", **settings) as server:
        yield server


def test_two_workers_post_every_event_once(tmp_path: Path, receiver: Receiver) -> None:
    with posting(tmp_path, receiver.url) as server, server.client() as client:
        register(client)
        for _ in range(5):
            sign_in(client)
        client.post("/login", json={"username": "ada", "password": "wrong horse battery"})
        until(lambda: len(receiver.told) >= 6)
        server.stop()

    assert Counter(told["type"] for told in receiver.told) == {
        "signed_in": 5,
        "authentication_failed": 1,
    }
    assert len(set(receiver.ids)) == 6
    assert len(receiver.connections) <= 2  # each worker keeps its own


def test_what_happens_while_no_server_runs_is_posted_later(
    tmp_path: Path, receiver: Receiver
) -> None:
    with posting(tmp_path, receiver.url) as server, server.client() as client:
        register(client)
        sign_in(client)
        until(lambda: len(receiver.told) > 0)
        server.stop()
    posted = len(receiver.told)
    assert run_keyturn(tmp_path, "users", "disable", "ada").returncode == 0
    with posting(tmp_path, receiver.url):
        until(lambda: len(receiver.told) > posted)

    assert {told["data"].get("reason") for told in receiver.told[posted:]} == {"user_disabled"}


def test_what_comes_of_it_is_among_the_figures(tmp_path: Path, receiver: Receiver) -> None:
    """Each outcome as 0 before there was any: whoever watches sees the first that is given up."""
    settings = {"KEYTURN_METRICS_TOKEN": TOKEN, "TMPDIR": str(tmp_path)}
    with posting(tmp_path, receiver.url, **settings) as server, server.client() as client:
        before = figures(server)
        register(client)
        sign_in(client)
        until(lambda: figures(server)["keyturn_hook_tries_total", WEBHOOK, "told"] == 1)
        receiver.status = 410
        client.post("/login", json={"username": "ada", "password": "wrong horse battery"})
        until(lambda: figures(server)["keyturn_hook_tries_total", WEBHOOK, "given_up"] == 1)
        told = figures(server)

    assert [before["keyturn_hook_tries_total", WEBHOOK, each] for each in HOOK_OUTCOMES] == [0] * 3
    assert told["keyturn_hook_tries_total", WEBHOOK, "put_off"] == 0
    assert told["keyturn_hook_delay_seconds_count", WEBHOOK] == 1


def test_a_receiver_that_refuses_disturbs_nobody(tmp_path: Path, receiver: Receiver) -> None:
    """The log says so, without a word of the secret."""
    receiver.status = 500
    with posting(tmp_path, f"{receiver.url}?password=hidden") as server:
        with server.client() as client:
            register(client)
            assert sign_in(client)["accessToken"]
        until(lambda: "was not told of" in server.errors.read_text())
        assert server.stop() == 0

        assert "hidden" not in server.errors.read_text()
        assert SECRET not in server.errors.read_text()


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"KEYTURN_WEBHOOK_URL": "http://example.com"}, "KEYTURN_WEBHOOK_URL: must be https"),
        ({"KEYTURN_WEBHOOK_URL": "https://example.com"}, "KEYTURN_WEBHOOK_SECRET: is missing"),
        (
            {"KEYTURN_WEBHOOK_URL": "https://example.com", "KEYTURN_WEBHOOK_SECRET": "short"},
            "KEYTURN_WEBHOOK_SECRET: must be whsec_",
        ),
        (
            {"KEYTURN_WEBHOOK_URL": "https://example.com", "KEYTURN_WEBHOOK_SECRET": "whsec_é"},
            "KEYTURN_WEBHOOK_SECRET: must be whsec_",
        ),
    ],
)
def test_an_impossible_webhook_is_told_at_start(
    tmp_path: Path, settings: dict[str, str], fault: str
) -> None:
    result = run_keyturn(tmp_path, "serve", "--port", "0", **settings)

    assert (result.returncode, fault in result.stderr) == (2, True), result.stderr


# ── the commands ────────────────────────────────────────────────────────────────────────────────


async def two_given_up(parts: Parts) -> list[str]:
    outbox = open_outbox(parts.store)
    await outbox.subscribe(WEBHOOK)
    await parts.accounts.login("ada", ADA_PASSWORD)
    await parts.accounts.login("ada", ADA_PASSWORD)
    ids = []
    for _ in range(2):
        delivery = await outbox.take(WEBHOOK, now=parts.sessions.now(), until=2**40, latest=2**41)
        assert delivery is not None
        await outbox.put_off(delivery, due_at=None, error="WebhookRefused: the answer was 500")
        ids.append(delivery.id)
    return ids


ADA_PASSWORD = ADA["password"]


@pytest.fixture
def with_given_up(keyturn: Command) -> tuple[Command, list[str]]:
    keyturn.told("users", "passwd", "ada", "--password-stdin", typed=ADA_PASSWORD)
    return keyturn, keyturn.meanwhile(two_given_up)


def test_what_was_given_up_is_listed_with_its_reason(
    with_given_up: tuple[Command, list[str]],
) -> None:
    keyturn, ids = with_given_up

    rows = keyturn.rows("webhook", "list")
    assert [row["id"] for row in rows] == ids
    assert {row["error"] for row in rows} == {"WebhookRefused: the answer was 500"}
    assert json.loads(keyturn.told("webhook", "status", "--json")) == {
        "on": True,
        "toBeTold": 0,
        "oldest": None,
        "givenUp": 2,
    }


def test_one_is_tried_again_and_another_dropped(with_given_up: tuple[Command, list[str]]) -> None:
    keyturn, [first, second] = with_given_up

    assert keyturn.told("webhook", "retry", first) == "To be told again: 1.\n"
    assert keyturn.told("webhook", "discard", second) == "Dropped: 1.\n"
    assert [row["id"] for row in keyturn.rows("webhook", "list", "--waiting")] == [first]
    assert keyturn.rows("webhook", "list") == []


def test_all_are_tried_again(with_given_up: tuple[Command, list[str]]) -> None:
    keyturn, _ = with_given_up

    assert keyturn.told("webhook", "retry", "--all") == "To be told again: 2.\n"


@pytest.mark.parametrize("command", ["retry", "discard"])
def test_one_that_was_not_given_up_is_told(keyturn: Command, command: str) -> None:
    result = keyturn("webhook", command, "unknown")

    assert result.exit_code == 1
    assert "1 of them were not given up; `keyturn webhook list`" in result.output


@pytest.mark.parametrize("arguments", [(), ("some", "--all")])
def test_it_must_be_said_which(keyturn: Command, arguments: tuple[str, ...]) -> None:
    result = keyturn("webhook", "retry", *arguments)

    assert (result.exit_code, "name IDs, or --all" in result.output) == (2, True)


def test_switched_off_nothing_is_kept(with_given_up: tuple[Command, list[str]]) -> None:
    keyturn, _ = with_given_up
    keyturn.told("webhook", "off")
    keyturn.told("users", "disable", "ada")

    assert json.loads(keyturn.told("webhook", "status", "--json")) == {
        "on": False,
        "toBeTold": 0,
        "oldest": None,
        "givenUp": 0,
    }


def test_a_secret_is_made_for_both_sides(keyturn: Command) -> None:
    secret = keyturn.told("webhook", "secret").strip()

    assert standardwebhooks.Webhook(secret).sign("id", datetime.now(UTC), "data")
    assert secret != keyturn.told("webhook", "secret").strip()
