"""``/metrics``: figures of all workers, for those who have the token."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.server.processes import Server, run_keyturn, serving, until

TOKEN = "correct-horse-battery-staple-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@contextmanager
def measured(folder: Path, *options: str) -> Iterator[Server]:
    settings = {"KEYTURN_METRICS_TOKEN": TOKEN, "TMPDIR": str(folder)}
    with serving(folder, *options, **settings) as server:
        yield server


def figures(server: Server) -> dict[tuple[str, ...], float]:
    """The samples, by name and values of labels."""
    answer = httpx.get(f"{server.url}/metrics", headers=BEARER)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_requests_of_all_workers_are_counted(tmp_path: Path) -> None:
    """Whichever worker is asked tells the same."""
    with measured(tmp_path, "--workers", "3") as server:
        for _ in range(30):
            httpx.get(f"{server.url}/healthz")  # a connection each, so that all workers get some
        httpx.post(f"{server.url}/refresh-token")
        told = [figures(server) for _ in range(9)]

    for each in told:
        assert each["keyturn_requests_total", "GET", "/healthz", "200"] == 30
        assert each["keyturn_requests_total", "POST", "/refresh-token", "401"] == 1
        assert each["keyturn_request_seconds_count", "/healthz"] == 30


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

    assert asked.status_code == 404
    assert asked.text == nowhere.text


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


def test_how_stale_the_worst_worker_is_is_told(tmp_path: Path) -> None:
    """One that is stopped falls behind, and one that was killed counts no more."""

    def known_at() -> float:
        return figures(server)["keyturn_revocations_known_timestamp_seconds",]

    with measured(tmp_path, "--workers", "2") as server:
        until(lambda: [is_counting(tmp_path, pid) for pid in server.workers()] == [True, True])
        stopped = next(iter(server.workers()))
        os.kill(stopped, signal.SIGSTOP)
        stopped_at = time.time()
        until(lambda: answers(server) and time.time() > stopped_at + 2)
        behind = [known_at() for _ in range(3) if answers(server)]
        os.kill(stopped, signal.SIGKILL)
        until(lambda: known_at() > stopped_at)

    assert all(known <= stopped_at + 1 for known in behind)


def is_counting(folder: Path, pid: int) -> bool:
    return any(folder.glob(f"keyturn-metrics-*/gauge_*_{pid}.db"))


def answers(server: Server) -> bool:
    """Whether a worker that is not stopped took this one."""
    try:
        return httpx.get(f"{server.url}/healthz", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False
