"""Workers that end, get stuck or cannot begin, and the process that keeps them alive."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from pathlib import Path

import httpx
import pytest

from keyturn.server.run import _beat_for_ever, _say
from keyturn.server.supervising import _LOOKS_WITHOUT_A_BEAT, _Pulse, _Worker
from tests.server.processes import KEYTURN, PATIENCE, Server, is_running, serving, until

HURRIED = (sys.executable, str(Path(__file__).with_name("hurried_server.py")))


def is_ready(server: Server) -> bool:
    return httpx.get(f"{server.url}/readyz", timeout=PATIENCE).status_code == 200


def kill(worker: int) -> None:
    os.kill(worker, signal.SIGKILL)


def test_a_worker_that_ends_soon_is_tried_ever_less() -> None:
    """Until one has worked for a while."""
    worker = _Worker(seat=0, begins_at=0)
    pauses = []
    for _ in range(7):
        worker = worker.successor(worker.begins_at + 9.5)
        pauses.append(worker.pause)

    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert worker.successor(worker.begins_at + 10).pause == 0


def test_a_child_that_is_no_worker_ends_nothing(tmp_path: Path) -> None:
    """The shell that started the server left it behind, or one that ran in its container."""
    shell = ("sh", "-c", 'sleep 0.1 & exec "$0" "$@"', *KEYTURN)
    with serving(tmp_path, "--workers", "2", command=shell) as server:
        until(lambda: len(server.workers()) == 2)
        ready = is_ready(server)
        code = server.stop()

    assert ready
    assert code == 0


def test_who_wants_to_hear_of_no_child_does_not_hinder_it(tmp_path: Path) -> None:
    """Some launchers ignore SIGCHLD, which is inherited: workers would end unseen."""
    launcher = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
        " os.execv(sys.argv[1], sys.argv[1:])"
    )
    command = (sys.executable, "-c", launcher, *KEYTURN)
    with serving(tmp_path, "--workers", "2", command=command) as server:
        until(lambda: len(server.workers()) == 2)
        killed = min(server.workers())
        kill(killed)
        until(lambda: len(server.workers() - {killed}) == 2)
        code = server.stop()

    assert code == 0


async def test_a_clock_that_is_set_back_stops_no_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    """All workers would be taken to be stuck, and killed at once."""
    monkeypatch.setattr("keyturn.server.run._SECONDS_BETWEEN_BEATS", 0)
    beats = []
    enough = asyncio.Event()

    def beat() -> None:
        beats.append(time.time())
        monkeypatch.setattr(time, "time", lambda: beats[0] - 3600)
        if len(beats) > 9:
            enough.set()

    beating = asyncio.create_task(_beat_for_ever(beat))
    async with asyncio.timeout(PATIENCE):
        await enough.wait()
    beating.cancel()

    assert beats[-1] == beats[0] - 3600


def test_a_worker_lives_from_when_it_was_forked() -> None:
    """However long that took."""
    late = _Worker(seat=0, begins_at=-60).born(now=0)

    assert late.lived(now=1) == 1
    assert late.successor(now=1).pause == 1


@pytest.mark.parametrize("forks", ["1", "2 3", "3 4"])
def test_a_worker_that_cannot_be_started_is_tried_again(tmp_path: Path, forks: str) -> None:
    """Where memory or processes run short the others go on, whose requests are answered."""
    with serving(tmp_path, "--workers", "2", command=HURRIED, FORKS_THAT_FAIL=forks) as server:
        until(lambda: len(server.workers()) == 2)
        killed, spared = sorted(server.workers())
        kill(killed)
        until(lambda: len(server.workers() - {killed}) == 2)
        ready = is_ready(server)
        left = server.workers()
        code = server.stop()

    assert ready
    assert spared in left
    assert code == 0
    assert "cannot be started: Resource temporarily unavailable" in server.errors.read_text()


def test_a_worker_that_can_write_no_log_harms_no_other(tmp_path: Path) -> None:
    """The disk of the log is full, and what the supervisor had to say is left to its children."""
    shell = ("sh", "-c", 'exec "$0" "$@" 2>/dev/full', *KEYTURN)
    with serving(tmp_path, "--workers", "2", command=shell, PYTHONUNBUFFERED="") as server:
        until(lambda: len(server.workers()) == 2)
        killed, spared = sorted(server.workers())
        kill(killed)
        until(lambda: len(server.workers() - {killed}) == 2)
        [ending] = server.workers() - {spared}
        os.kill(ending, signal.SIGTERM)
        until(lambda: len(server.workers() - {killed, ending}) == 2)
        ready = is_ready(server)
        left = server.workers()

    assert ready
    assert spared in left


def test_a_worker_whose_loop_stands_still_is_replaced(tmp_path: Path) -> None:
    """The connections that it has would wait for ever."""
    hurry = {"SECONDS_BETWEEN_LOOKS": "0.3"}
    with serving(tmp_path, "--workers", "2", command=HURRIED, **hurry) as server:
        until(lambda: len(server.workers()) == 2)
        until(lambda: is_ready(server))
        stuck = min(server.workers())
        os.kill(stuck, signal.SIGSTOP)
        until(lambda: stuck not in server.workers() and len(server.workers()) == 2)
        ready = is_ready(server)

    assert ready
    assert f"worker {stuck} answers nobody any more" in server.errors.read_text()


def test_only_who_has_begun_and_counts_no_more_is_stuck() -> None:
    """Once, as who is killed may take a while to go."""
    pulse = _Pulse(3)
    idle, stuck, busy = range(3)
    pulse.of(stuck)()
    looks = []
    for _ in range(_LOOKS_WITHOUT_A_BEAT + 2):
        pulse.of(busy)()
        looks.append([pulse.has_just_stopped(seat) for seat in (idle, stuck, busy)])

    assert looks[_LOOKS_WITHOUT_A_BEAT] == [False, True, False]
    assert sum(map(sum, looks)) == 1


def test_a_worker_that_does_not_end_does_not_hold_up_the_server(tmp_path: Path) -> None:
    """It is killed, as whoever stops the server would kill all of them."""
    with serving(tmp_path, "--workers", "2", command=HURRIED) as server:
        until(lambda: len(server.workers()) == 2)
        workers = server.workers()
        stuck = min(workers)
        os.kill(stuck, signal.SIGSTOP)
        code = server.stop()

    assert code == 0
    assert not any(map(is_running, workers))
    assert f"worker {stuck} did not end" in server.errors.read_text()


def test_where_it_listens_is_no_reason_not_to_serve(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The disk that standard output goes to may be full."""
    with caplog.at_level(logging.WARNING), open("/dev/full", "w") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        _say("Keyturn listens on http://127.0.0.1:8000")
        told_no_more = sys.stdout is None
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())  # which takes what it still holds

    assert told_no_more
    assert "standard output cannot be written: No space left on device" in caplog.text
