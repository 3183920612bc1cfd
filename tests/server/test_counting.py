"""Where workers count together, and where one counts alone."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from keyturn.server import counting
from keyturn.server.counting import (
    Numbers,
    count_together,
    forget_worker,
    own_seat,
    take_seat,
)
from keyturn.server.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def nobody_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_seats", [])
    monkeypatch.setattr(counting, "_own", None)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    given = {"KEYTURN_DATA_DIR": str(tmp_path), "KEYTURN_METRICS_TOKEN": "0123456789abcdef" * 2}
    return load_settings(given)


def in_another_process(work: Callable[[], None]) -> None:
    """One that is forked, and ends."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"])
def test_nobody_counts_into_the_files_of_whoever_started_the_server(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, workers: int
) -> None:
    """Be it one worker, which counts alone, or several."""
    monkeypatch.setenv(name, str(tmp_path))
    count_together(settings, workers)
    take_seat(0)

    assert name not in os.environ
    assert (own_seat() is None) == (workers == 1)


def test_what_one_process_counts_others_read() -> None:
    """Also where it is new to them, or has ended."""
    numbers = Numbers()
    numbers.add("before the fork", 1)
    in_another_process(lambda: numbers.add("before the fork", 2))
    in_another_process(lambda: numbers.add("since", 0.5))
    in_another_process(lambda: numbers.add("since", 0.25))

    assert numbers.names() == {"before the fork", "since"}
    assert (numbers.get("before the fork"), numbers.get("since")) == (3, 0.75)


def test_what_is_forgotten_is_no_number_until_it_is_told_again() -> None:
    """Another worker has the seat by then."""
    numbers = Numbers()
    in_another_process(lambda: numbers.set("connections", 7))
    in_another_process(lambda: numbers.set("followers", 8))
    numbers.forget()
    in_another_process(lambda: numbers.set("followers", 1))

    assert math.isnan(numbers.get("connections"))
    assert math.isnan(numbers.get("never told"))
    assert numbers.get("followers") == 1


def test_a_worker_that_ended_leaves_what_it_counted(settings: Settings) -> None:
    """To whoever takes its seat; and nothing of how it was."""
    count_together(settings, 2)
    take_seat(1)
    seat = own_seat()
    assert seat is not None
    seat.counts.add("requests", 3)
    seat.state.set("connections", 7)
    forget_worker(1)

    assert seat.counts.get("requests") == 3
    assert math.isnan(seat.state.get("connections"))


def test_a_number_for_which_there_is_no_room_spoils_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor is there half of it."""
    monkeypatch.setattr(counting, "_BYTES", 64)
    numbers = Numbers()
    numbers.add("one", 1)
    with pytest.raises(IndexError):
        numbers.add("another with a long name", 1)
    numbers.add("one", 1)
    numbers.add("two", 2)

    assert (numbers.get("one"), numbers.get("two")) == (2, 2)
    assert numbers.names() == {"one", "two"}


ALL = """
from itertools import product
from keyturn.accounts import UserStore
from keyturn.server import counting, places
from keyturn.stores import Store
from keyturn.wire import problems

counting._seats.append(counting.Seat())
counting.take_seat(0)
from keyturn.server import figures

figures.show_start("postgresql")
told = figures.Figures(["webhook"])
statuses = {200, 201, 204, 302, 303, 304, *problems._STATUSES.values()}
for each in product({*places.METHODS, "other"}, {*places._PATHS, "/a/page", "other"}, statuses):
    figures.count_request(*each, 1)
figures.write_down()
for error in problems._STATUSES:
    told.refused(error.code)
for operation in {*vars(Store), *(f"users.{name}" for name in vars(UserStore))}:
    told.called_store(operation, 1, 1, failed=True)
print(counting.own_seat().counts._words[0] * 8 / counting._BYTES)
"""


def test_all_that_can_be_counted_has_room() -> None:
    """H6: also where strangers ask everything by every method."""
    told = subprocess.run(
        [sys.executable, "-c", ALL], capture_output=True, text=True, check=True, timeout=60
    )

    assert float(told.stdout) < 0.75


SUCCESSOR = """
from keyturn.server import counting

counting._seats.extend(counting.Seat() for _ in range(2))
counting.take_seat(1)
counting.own_seat().counts.add(
    '["keyturn_refusals", "keyturn_refusals_total", {"code": "not_found"}]', 3
)
from keyturn.server import figures

print(figures.told().decode())
"""


def test_who_takes_a_seat_tells_what_was_counted_in_it() -> None:
    """Also of labels that are new to it."""
    told = subprocess.run(
        [sys.executable, "-c", SUCCESSOR], capture_output=True, text=True, check=True, timeout=60
    )

    assert 'keyturn_refusals_total{code="not_found"} 3.0' in told.stdout
