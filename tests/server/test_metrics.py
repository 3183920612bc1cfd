"""``/metrics``: figures of all workers, for those who have the token."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from keyturn._version import __version__
from keyturn.accounts import PasswordHashing
from keyturn.core.rotation import Verdict
from keyturn.server.connections import Connection
from keyturn.server.figures import REGISTRY
from keyturn.server.metrics import Metrics
from keyturn.server.settings import load_settings
from keyturn.server.watching import Watch
from keyturn.stores.memory import MemoryStore
from keyturn.wire.http import Header, Request, Response
from tests.server.processes import (
    PATIENCE,
    Server,
    register,
    run_keyturn,
    serving,
    sign_in,
    until,
)
from tests.support import Clock, loaded

TOKEN = "correct-horse-battery-staple-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "docs" / "operations.md").read_text()
RULES = (ROOT / "deploy" / "keyturn.rules.yml").read_text()


@contextmanager
def measured(folder: Path, *options: str) -> Iterator[Server]:
    settings = {"KEYTURN_METRICS_TOKEN": TOKEN, "TMPDIR": str(folder)}
    with serving(folder, *options, **settings) as server:
        yield server


def figures(server: Server) -> dict[tuple[str, ...], float]:
    """The samples, by name and values of labels."""
    answer = httpx.get(f"{server.url}/metrics", headers=BEARER, timeout=PATIENCE)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_requests_of_all_workers_are_counted(tmp_path: Path) -> None:
    """Whichever worker is asked tells the same, once the others have written down what they did."""
    with measured(tmp_path, "--workers", "3") as server:
        for _ in range(30):
            httpx.get(f"{server.url}/healthz")  # a connection each, so that all workers get some
        httpx.post(f"{server.url}/refresh-token")
        until(lambda: requests_told(server) == 31)
        told = [figures(server) for _ in range(9)]

    for each in told:
        assert each["keyturn_requests_total", "GET", "/healthz", "200"] == 30
        assert each["keyturn_requests_total", "POST", "/refresh-token", "401"] == 1
        assert each["keyturn_request_seconds_count", "/healthz"] == 30
        assert not any(name.endswith("_created") for name, *_ in each)  # which none knows of others


def test_strangers_cannot_make_up_figures(tmp_path: Path) -> None:
    """H6: whatever path and method they ask with, it is one of a few."""
    with measured(tmp_path) as server:
        for number in range(5):
            httpx.request("PURGE", f"{server.url}/nowhere/{number}")
        httpx.delete(f"{server.url}/sessions/made-up")
        told = figures(server)

    names = {name[1:] for name in told if name[0] == "keyturn_requests_total"}
    assert names == {("other", "other", "404"), ("DELETE", "/sessions/{sid}", "401")}


@pytest.mark.parametrize("credentials", ["", f"Bearer {TOKEN[::-1]}", f"Basic {TOKEN}", TOKEN])
def test_without_the_token_there_is_nothing_there(tmp_path: Path, credentials: str) -> None:
    """H8: nor is there with another one."""
    with measured(tmp_path) as server:
        asked = httpx.get(f"{server.url}/metrics", headers={"Authorization": credentials})
        nowhere = httpx.get(f"{server.url}/nowhere")

    told, told_of_nowhere = asked.json(), nowhere.json()
    assert asked.status_code == 404
    assert told.pop("requestId") != told_of_nowhere.pop("requestId")
    assert told == told_of_nowhere


def test_without_the_setting_there_is_nothing_there(tmp_path: Path) -> None:
    """Whatever is presented."""
    with serving(tmp_path) as server:
        asked = httpx.get(f"{server.url}/metrics", headers=BEARER)

    assert asked.status_code == 404


def test_a_short_token_is_refused(tmp_path: Path) -> None:
    """Before anything is made."""
    ended = run_keyturn(tmp_path, "serve", "--port", "0", KEYTURN_METRICS_TOKEN="short")

    assert ended.returncode == 2
    assert "KEYTURN_METRICS_TOKEN: must be" in ended.stderr
    assert "short" not in ended.stderr.partition("must be")[2].replace("shorter", "")


def test_figures_are_in_no_file(tmp_path: Path) -> None:
    """C12: which could be tidied away, or find the disk full."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    with measured(folder, "--workers", "2") as server:
        until(lambda: workers_started(server) == 2)
        found = {file.name for file in folder.iterdir()}

    assert found == {"data", "stderr"}  # which are of the test


async def test_others_are_answered_while_figures_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """C12: however long it takes to add them up."""
    others_were_answered = threading.Event()

    def told() -> bytes:
        return b"all" if others_were_answered.wait(PATIENCE) else b"too late"

    async def answer(_: Request) -> Response:
        return Response(200)

    monkeypatch.setattr("keyturn.server.metrics.told", told)
    async with loaded(MemoryStore(), Clock()) as sessions:
        hashing = PasswordHashing()
        metrics = Metrics(TOKEN, answer, sessions=sessions, hashing=hashing, standing=())
        bearer = [(b"authorization", f"Bearer {TOKEN}".encode())]
        scrape = asyncio.create_task(metrics.handle(request("/metrics", bearer)))
        await asyncio.sleep(0)  # it is begun
        await metrics.handle(request("/healthz", []))
        others_were_answered.set()
        body = (await scrape).body
        hashing.close()

    assert body == b"all"


async def test_connections_that_were_turned_away_are_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """H6: and not again at each look."""

    async def answer(_: Request) -> Response:
        raise AssertionError

    def counted() -> float:
        return REGISTRY.get_sample_value("keyturn_connections_refused_total") or 0

    before = counted()
    async with loaded(MemoryStore(), Clock()) as sessions:
        hashing = PasswordHashing()
        metrics = Metrics(TOKEN, answer, sessions=sessions, hashing=hashing, standing=())
        monkeypatch.setattr(Connection, "turned_away", 3)
        for _ in range(2):
            metrics.look()
        hashing.close()

    assert counted() - before == 3


async def test_a_look_that_fails_is_not_the_last(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """C12: what was in the way may be gone by then."""
    looks, looked_again = 0, asyncio.Event()

    def look(_: Metrics) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise OSError
        looked_again.set()

    async def answer(_: Request) -> Response:
        return Response(200)

    monkeypatch.setattr(Metrics, "look", look)
    monkeypatch.setattr("keyturn.server.metrics._SECONDS_BETWEEN_LOOKS", 0)
    async with loaded(MemoryStore(), Clock()) as sessions:
        hashing = PasswordHashing()
        metrics = Metrics(TOKEN, answer, sessions=sessions, hashing=hashing, standing=())
        async with metrics.watching(), asyncio.timeout(PATIENCE):
            await looked_again.wait()
        hashing.close()

    assert [record.message for record in caplog.records] == ["figures were not written down"]


def test_figures_that_cannot_be_written_make_no_end_a_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """C12: nor does a worker that ends well say that it failed."""

    def write_down() -> None:
        raise OSError

    watch = Watch(load_settings({"KEYTURN_METRICS_TOKEN": TOKEN}), ())
    monkeypatch.setattr("keyturn.server.figures.write_down", write_down)
    watch.conclude()

    assert [record.message for record in caplog.records] == ["figures were not written down"]


def test_how_stale_the_worst_worker_is_is_told(tmp_path: Path) -> None:
    """One that is stopped falls behind, and one that was killed counts no more."""

    def known_at() -> float:
        return figures(server)["keyturn_revocations_known_timestamp_seconds",]

    with measured(tmp_path, "--workers", "2") as server:
        until(lambda: workers_started(server) == 2)
        until(lambda: known_at() > 0)  # both have begun to open the database,
        begun_at = time.time()
        until(lambda: known_at() > begun_at)  # and have done so: none is stopped with a lock on it
        stopped = next(iter(server.workers()))
        os.kill(stopped, signal.SIGSTOP)
        stopped_at = time.time()
        until(lambda: answers(server) and time.time() > stopped_at + 2)
        behind = [known_at() for _ in range(3) if answers(server)]
        os.kill(stopped, signal.SIGKILL)
        until(lambda: known_at() > stopped_at)

    assert behind
    assert all(known <= stopped_at + 1 for known in behind)


def test_what_a_worker_did_last_is_not_lost_when_it_ends(tmp_path: Path) -> None:
    """Others tell it."""
    with measured(tmp_path, "--workers", "2") as server:
        until(lambda: workers_started(server) == 2)
        workers = server.workers()
        httpx.get(f"{server.url}/me", timeout=PATIENCE)
        for worker in workers:
            os.kill(worker, signal.SIGTERM)
        until(lambda: not workers & server.workers())
        told = figures(server)

    assert told["keyturn_requests_total", "GET", "/me", "401"] == 1


def test_a_worker_that_was_replaced_is_told(tmp_path: Path) -> None:
    """What its successor knows is how it stands itself."""
    with measured(tmp_path, "--workers", "2") as server:
        until(lambda: workers_started(server) == 2)
        os.kill(min(server.workers()), signal.SIGKILL)
        until(lambda: workers_started(server) == 3)
        until(lambda: figures(server)["keyturn_connections",] == 1)
        build = [name for name in figures(server) if name[0] == "keyturn_build_info"]

    assert len(build) == 1


def test_exchanges_and_sessions_are_counted_over_all_workers(tmp_path: Path) -> None:
    """C3, H3: by verdict and reason, each there as 0 before there was any."""
    with measured(tmp_path, "--workers", "2") as server, server.client() as client:
        before = figures(server)
        register(client)
        tokens = sign_in(client)
        body = {"refreshToken": tokens["refreshToken"]}
        for _ in range(4):
            httpx.post(f"{server.url}/refresh-token", json=body)  # by any worker
        client.post("/logout", json=body)
        client.post("/refresh-token", json=body)
        client.post("/login", json={"username": "ada", "password": "wrong-wrong"})
        until(lambda: requests_told(server) == 9)
        told = figures(server)

    assert [before["keyturn_exchanges_total", label] for label in Verdict] == [0] * 8
    verdicts = {label: told["keyturn_exchanges_total", label] for label in Verdict}
    assert {each: number for each, number in verdicts.items() if number} == {
        "rotate": 1,
        "replay": 3,
        "ended": 1,
    }
    assert told["keyturn_exchange_seconds_count",] == 5
    assert told["keyturn_sessions_begun_total",] == 1
    assert told["keyturn_sessions_ended_total", "logged_out"] == 1
    assert before["keyturn_sessions_ended_total", "reuse_detected"] == 0
    assert told["keyturn_refusals_total", "session_revoked"] == 1
    assert told["keyturn_refusals_total", "invalid_credentials"] == 1
    assert told["keyturn_hash_seconds_count",] == told["keyturn_hash_wait_seconds_count",] == 3
    assert told["keyturn_store_batch_rows_count", "swap"] == 1
    assert told["keyturn_store_seconds_count", "users.add"] == 1


def test_how_things_stand_is_told(tmp_path: Path) -> None:
    """H6: what fills up is seen before it is full."""
    settings = {"KEYTURN_METRICS_TOKEN": TOKEN, "KEYTURN_REVOCATIONS_TOKEN": TOKEN}
    with (
        serving(tmp_path, **settings, TMPDIR=str(tmp_path)) as server,
        server.client() as client,
        httpx.stream("GET", f"{server.url}/revocations", headers=BEARER) as following,
    ):
        events = following.iter_raw()
        next(events)
        register(client)
        client.post("/logout", json={"refreshToken": sign_in(client)["refreshToken"]})
        told = figures(server)

    build = next(labels for name, *labels in told if name == "keyturn_build_info")
    assert sorted(build) == [__version__, platform.python_version(), "sqlite"]
    assert told["keyturn_connections",] == 3
    assert told["keyturn_connections_refused_total",] == 0
    assert told["keyturn_feed_followers",] == 1
    assert told["keyturn_cutoffs",] == 1
    assert told["keyturn_hashes_waiting",] == told["keyturn_hashes_running",] == 0


def test_no_figure_tells_of_anybody(tmp_path: Path) -> None:
    """D11, H3: no name, no id, no address."""
    with measured(tmp_path) as server, server.client() as client:
        register(client)
        tokens = sign_in(client)
        client.post("/refresh-token", json={"refreshToken": tokens["refreshToken"]})
        client.delete("/sessions/made-up", headers={"Authorization": f"Bearer {TOKEN}"})
        labels = {label for _, *labels in figures(server) for label in labels}

    assert not [label for label in labels if re.search("ada|made-up|127|[0-9A-Za-z_-]{22}$", label)]


def figures_named_in(text: str) -> set[str]:
    named = set(re.findall("keyturn_[a-z_]+", text))
    return {re.sub("_(total|bucket)$", "", name) for name in named}


def test_the_manual_names_every_figure_and_no_other() -> None:
    """Whoever looks for one shall not wait for something that never comes."""
    there = {family.name for family in REGISTRY.collect()}

    assert figures_named_in(MANUAL.partition("## Figures")[2]) == there


def test_alerts_are_by_figures_that_there_are() -> None:
    """Prometheus takes whatever a rule asks for, and is silent for ever."""
    alerts = re.findall(r"alert: (\w+)", RULES)

    assert len(alerts) == len(set(alerts)) == RULES.count("summary:") > 9
    assert figures_named_in(RULES) <= {family.name for family in REGISTRY.collect()}


def request(path: str, headers: list[Header]) -> Request:
    return Request("GET", path, b"", headers, b"", "127.0.0.1")


def test_nobody_to_be_asked_is_an_alert_of_what_is_scraped() -> None:
    """All other rules are about what a server told, and are silent where none does."""
    [scraped] = re.findall(r"job_name: (\w+)", MANUAL)
    [rule] = re.findall("alert: KeyturnDown.*\n *expr: (.*)", RULES)

    assert rule == f'up{{job="{scraped}"}} == 0 or absent(up{{job="{scraped}"}})'


def requests_told(server: Server) -> float:
    return sum(
        value for (name, *_), value in figures(server).items() if name == "keyturn_requests_total"
    )


def workers_started(server: Server) -> float:
    return figures(server)["keyturn_workers_started_total",]


def answers(server: Server) -> bool:
    """Whether a worker that is not stopped took this one."""
    try:
        return httpx.get(f"{server.url}/healthz", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False
