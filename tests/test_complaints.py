"""Warnings of what goes wrong again and again."""

from __future__ import annotations

import pytest

from keyturn.complaints import Complaints
from keyturn.core.errors import Unavailable


class Seconds:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_kind_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """H4: a store that fails for long fills no log; another failure is a kind of its own."""
    clock = Seconds()
    complaints = Complaints(clock)
    for clock.now in (0, 59, 60, 61):
        complaints.report("cannot read", Unavailable())
    complaints.report("cannot write", Unavailable())
    complaints.report("cannot write", ValueError("odd"))

    assert [record.getMessage() for record in caplog.records] == [
        "cannot read: Temporarily unavailable",
        "cannot read: Temporarily unavailable",
        "cannot write: Temporarily unavailable",
        "cannot write: odd",
    ]


def test_only_what_nobody_foresaw_has_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    """The others are sentences that say what is wrong."""
    complaints = Complaints(Seconds())
    complaints.report("cannot read", Unavailable())
    complaints.report("cannot read", ValueError("odd"))

    assert [record.exc_info is not None for record in caplog.records] == [False, True]
