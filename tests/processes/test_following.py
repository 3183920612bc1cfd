"""Services elsewhere that follow real servers: how soon they know, and that they miss nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from keyturn import (
    AccessTokenInvalid,
    AccessTokenRevoked,
    ConfigurationError,
    KeyturnError,
    Verifier,
)
from keyturn.core import base64url
from tests.server.processes import Server, register, run_keyturn, serving, sign_in, until

FEED_TOKEN = "a-token-of-the-services-that-follow"
ISSUER = "http://127.0.0.1:8000"
SETTINGS = {"KEYTURN_PUBLIC_URL": ISSUER, "KEYTURN_REVOCATIONS_TOKEN": FEED_TOKEN}


class Network(httpx.HTTPTransport):
    """Leads to the issuer's address wherever a server is that answers for it."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server
        self.places: list[str | None] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(port=self.server.port)
        if request.url.path == "/revocations":
            self.places.append(request.headers.get("last-event-id"))
        return super().handle_request(request)


@contextmanager
def following(network: Network, **options: Any) -> Iterator[Verifier]:
    def new_client() -> httpx.Client:
        return httpx.Client(transport=network)

    options.setdefault("feed_token", FEED_TOKEN)
    with Verifier(ISSUER, new_client=new_client, **options) as verifier:
        yield verifier


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Server]]:
    """Two on one file, with Ada."""
    with ExitStack() as stack:
        both = [stack.enter_context(serving(tmp_path, **SETTINGS)) for _ in range(2)]
        with both[0].client() as client:
            register(client)
        yield both


def tokens_from(server: Server) -> dict[str, str]:
    with server.client() as client:
        return sign_in(client)


def log_out(server: Server, tokens: dict[str, str]) -> None:
    with server.client() as client:
        refresh = {"refreshToken": tokens["refreshToken"]}
        assert client.post("/logout", json=refresh).status_code == 200


def refused(
    verifier: Verifier, tokens: dict[str, str], error: type[KeyturnError]
) -> Callable[[], bool]:
    def is_refused() -> bool:
        try:
            verifier.verify(tokens["accessToken"])
        except KeyturnError as refusal:
            return isinstance(refusal, error)
        return False

    return is_refused


def is_good(verifier: Verifier, tokens: dict[str, str]) -> bool:
    return not refused(verifier, tokens, KeyturnError)()


def cut(verifier: Verifier) -> None:
    """Break the connection that the feed comes by."""
    assert verifier._follower is not None
    verifier._follower._issuer.interrupt()


def test_what_one_server_revoked_is_refused_by_whoever_follows_another(
    servers: list[Server],
) -> None:
    """D12: a logout at one server, and a service elsewhere that has the feed of the other."""
    one, other = servers
    delays = []
    with following(Network(other)) as verifier:
        for _ in range(10):
            tokens = tokens_from(one)
            good_before = is_good(verifier, tokens)
            log_out(one, tokens)
            began = time.monotonic()
            until(refused(verifier, tokens, AccessTokenRevoked))
            delays.append(time.monotonic() - began)
            assert good_before

    delays.sort()
    print(f"refused elsewhere after {delays[5]:.3f} s, {delays[-1]:.3f} s at most")


def test_a_follower_outlives_its_server(servers: list[Server], tmp_path: Path) -> None:
    """What is revoked while nobody tells it is known as soon as somebody does."""
    one, other = servers
    network = Network(other)
    tokens = tokens_from(one)
    with following(network) as verifier:
        other.stop()
        log_out(one, tokens)
        unknown_yet = is_good(verifier, tokens)
        with serving(tmp_path, **SETTINGS) as another:
            network.server = another

            until(refused(verifier, tokens, AccessTokenRevoked))
            assert unknown_yet


def test_a_feed_that_is_cut_goes_on_where_it_was(servers: list[Server]) -> None:
    """Over a new connection, from the place that it had got to."""
    one, other = servers
    network = Network(other)
    with following(network) as verifier:
        for round_ in range(1, 4):
            tokens = tokens_from(one)
            cut(verifier)
            log_out(one, tokens)

            until(refused(verifier, tokens, AccessTokenRevoked))
            until(lambda round_=round_: len(network.places) > round_)  # type: ignore[misc]

    first, *later = network.places
    assert first is None
    assert len({place.partition("-")[0] for place in later if place}) == 1


def test_a_feed_may_go_on_at_another_server(servers: list[Server]) -> None:
    """Whichever of them answers, nothing is missed."""
    one, other = servers
    network = Network(one)
    with following(network) as verifier:
        for server in (other, one, other):
            tokens = tokens_from(one)
            network.server = server
            cut(verifier)
            log_out(one, tokens)

            until(refused(verifier, tokens, AccessTokenRevoked))


def kid_of(tokens: dict[str, str]) -> str:
    header = json.loads(base64url.decode(tokens["accessToken"].partition(".")[0]))
    return str(header["kid"])


@pytest.mark.parametrize("feed_token", [FEED_TOKEN, None])
@pytest.mark.parametrize("change", ["rotate --now", "retire"])
def test_a_key_that_was_made_meanwhile_is_good(
    servers: list[Server], tmp_path: Path, change: str, feed_token: str | None
) -> None:
    """E2: as soon as it signs, told by the feed or asked for; the dropped one checks no more."""
    one, other = servers
    older = tokens_from(one)
    with following(Network(other), feed_token=feed_token) as verifier:
        good_before = is_good(verifier, older)
        arguments = [*change.split(), *([kid_of(older)] if change == "retire" else [])]
        assert run_keyturn(tmp_path, "keys", *arguments).returncode == 0
        newer: list[dict[str, str]] = []

        def new_key_is_good() -> bool:
            newer.append(tokens_from(one))
            return kid_of(newer[-1]) != kid_of(older) and is_good(verifier, newer[-1])

        until(new_key_is_good)
        until(refused(verifier, older, AccessTokenInvalid))
        assert good_before
        assert is_good(verifier, newer[-1])


def test_a_wrong_feed_token_is_said(servers: list[Server]) -> None:
    """By name; the server logs it without the token."""
    wrong = "another-token-for-services-that-follow"
    with (
        pytest.raises(ConfigurationError, match=r"^feed_token: is refused by"),
        following(Network(servers[0]), feed_token=wrong),
    ):
        pass

    written = servers[0].errors.read_text()
    assert "feed_refused" in written
    assert wrong not in written


def test_a_server_without_a_feed_is_said(tmp_path: Path) -> None:
    """It is the server that has to be told a token."""
    with (
        serving(tmp_path, KEYTURN_PUBLIC_URL=ISSUER) as server,
        pytest.raises(ConfigurationError, match=r"^feed_token: the issuer has no feed"),
        following(Network(server)),
    ):
        pass


def test_whoever_follows_no_longer_complains_of_nothing(
    servers: list[Server], caplog: pytest.LogCaptureFixture
) -> None:
    """The end of its own connection is no failure; it is waited for, and no thread is left."""
    with following(Network(servers[0])) as verifier:
        assert verifier._follower is not None
        threads = verifier._follower._threads

    assert not any(thread.is_alive() for thread in threads)
    assert [line for line in caplog.records if line.name == "keyturn"] == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_that_stops_lets_followers_go(tmp_path: Path, workers: str) -> None:
    """Their streams end as they should: it does not wait for them until it loses patience."""
    bearer = {"authorization": f"Bearer {FEED_TOKEN}"}
    with serving(tmp_path, "--workers", workers, **SETTINGS) as server, ExitStack() as stack:
        streams = [
            stack.enter_context(
                stack.enter_context(server.client()).stream("GET", "/revocations", headers=bearer)
            ).iter_text()
            for _ in range(4)
        ]
        told = [next(stream) for stream in streams]
        began = time.monotonic()
        code = server.stop()
        print(f"stopped after {time.monotonic() - began:.2f} s with {len(streams)} followers")
        rest = ["".join(stream) for stream in streams]  # raises if it was cut short

    assert code == 0
    assert all("event: keys" in first + more for first, more in zip(told, rest, strict=True))


FORKED = Path(__file__).with_name("forked.py")


@pytest.mark.parametrize("parent", ["follows", "closes"])
def test_a_process_that_is_forked_off_follows_by_itself(tmp_path: Path, parent: str) -> None:
    """As a worker of a server that loads the application first; also if the parent stops."""
    with serving(tmp_path, KEYTURN_REVOCATIONS_TOKEN=FEED_TOKEN) as server:
        with server.client() as client:
            register(client)
        tokens = tokens_from(server)
        command = [sys.executable, "-W", "error", str(FORKED), server.url, FEED_TOKEN, parent]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as forked:
            assert forked.stdin is not None
            assert forked.stdout is not None
            print(tokens["accessToken"], file=forked.stdin, flush=True)
            ready = [forked.stdout.readline() for _ in range(2)]
            log_out(server, tokens)
            told = sorted(forked.stdout)
        followed = server.errors.read_text().count("feed_followed")

    assert ready == ["good\n", "good\n"]
    assert told == ["child: revoked\n", *(["parent: revoked\n"] if parent == "follows" else [])]
    assert followed == 2
