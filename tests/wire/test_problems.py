"""What a client is told of our own faults, and what the operator is."""

from __future__ import annotations

import logging

import msgspec
import pytest

from keyturn.core.errors import CutoffsStale, StoreUnavailable
from keyturn.wire.problems import Problems
from tests.support import Clock
from tests.wire.support import Site, cookies_of

DISK = "database or disk is full: /srv/keyturn.db"


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line.getMessage() for line in caplog.records if line.name == "keyturn"]


async def test_a_client_is_not_told_what_is_wrong_with_the_store(
    here: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """H1: no word of disk or path, by any endpoint; the operator is told, in one sentence."""
    tokens = await here.log_in()
    here.break_down(StoreUnavailable(DISK))

    asked = [
        await here.ask(method, path, cookies=cookies_of(tokens))
        for method, path in (
            ("POST", "/refresh-token"),
            ("POST", "/logout"),
            ("GET", "/sessions"),
            ("GET", "/readyz"),
        )
    ]

    details = {answer.json["detail"] for answer in asked}
    assert {answer.status for answer in asked} == {503}
    assert details == {"Temporarily unavailable", "Not ready: store"}
    assert told(caplog) == [f"cannot answer: {DISK}"]


def test_a_fault_that_fails_many_requests_is_logged_once_a_second(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """H3: and each fault for itself, without a trace."""
    problems = Problems(lambda: int(clock()))
    for _ in range(2):
        for _ in range(100):
            problems.answer_to(StoreUnavailable(DISK))
            problems.answer_to(StoreUnavailable("locked"))
        clock.sleep(1)

    assert told(caplog) == [f"cannot answer: {DISK}", "cannot answer: locked"] * 2
    assert {(line.levelno, line.exc_info) for line in caplog.records} == {(logging.WARNING, None)}


def test_when_to_try_again_is_told_as_the_fault_has_it() -> None:
    """C12: whatever it was."""
    answer = Problems(lambda: 0).answer_to(CutoffsStale(DISK, retry_after=7))

    assert (b"retry-after", b"7") in answer.headers
    assert msgspec.json.decode(answer.body)["message"] == "Temporarily unavailable"
