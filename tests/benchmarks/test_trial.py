"""What a load is charged with is all that was done for it, and no more."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
from benchmarks.contenders import CONTENDERS
from benchmarks.contenders.keyturn import KEYTURN, MORE_TOKENS
from benchmarks.contenders.model import ACCESS_TOKENS, Ask, Contender
from benchmarks.load import Load
from benchmarks.processes import until_still
from benchmarks.trial import Trial

from benchmarks import trial
from tests.benchmarks.loads import row
from tests.postgresql import Server

LOAD = msgspec.structs.replace(row().cost.load, answers=150, unanswered=50)


class Waits:
    """A clock that only goes where somebody waits, and what is used meanwhile."""

    def __init__(self, shares: Iterable[float]) -> None:
        self._shares = chain(shares, repeat(0.0))
        self.passed = 0.0
        self.spent = 0.0

    def used(self) -> float:
        return self.spent

    def wait(self, seconds: float) -> None:
        self.passed += seconds
        self.spent += next(self._shares) * seconds


def test_the_next_load_waits_for_what_is_left_of_the_last_one() -> None:
    """A server works on for those who have left; what it does by itself is nothing to wait for."""
    waits = Waits([1.0, 0.9, 0.5, 0.05])

    until_still(waits.used, waits.wait)

    assert waits.spent == pytest.approx(2.45 * waits.passed / 4)


def test_a_server_that_never_rests_is_not_waited_for_long() -> None:
    """It is measured as it is."""
    waits = Waits(repeat(1.0))

    until_still(waits.used, waits.wait)

    assert waits.passed == pytest.approx(20)


def test_what_was_under_way_at_the_end_shares_the_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server works for it as for all others, though nobody heard its answers."""
    asked = _Asked(KEYTURN[0], tmp_path)
    monkeypatch.setattr(trial, "cpu_seconds", lambda _pid: 1.0 if asked.has_asked else 0.0)

    cost = asked.cost("exchange", seconds=3, connections=32)

    assert (cost.server_us, cost.database_us, cost.wal_bytes) == (5000, 5000, 20)


class _Asked(Trial):
    """A trial of which one load is known."""

    def __init__(self, contender: Contender, folder: Path) -> None:
        nobody = cast("Server", SimpleNamespace(pid=0))
        super().__init__(
            contender, 1, pid=0, port=0, folder=folder, postgres=nobody, database="none"
        )
        self.has_asked = False

    def ask(self, what: str, *, seconds: float, connections: int) -> Load:
        self.has_asked = True
        return LOAD

    def _log_position(self) -> str:
        return "0/0"

    def _log_since(self, begin: str) -> int:
        return 4000


@pytest.mark.parametrize(
    ("contender", "count"), [(KEYTURN[0], ACCESS_TOKENS), (MORE_TOKENS, ACCESS_TOKENS + 5)]
)
def test_as_many_access_tokens_are_presented_as_is_said(
    tmp_path: Path, contender: Contender, count: int
) -> None:
    """Those of some users, or of all who are there."""
    (tmp_path / "access").write_text("token\n" * (ACCESS_TOKENS + 5))

    presented = _Asked(contender, tmp_path)._tokens(Ask("GET", "/me", presents="access"))

    assert len(presented.read_text().splitlines()) == count


def test_everybody_is_asked_about_as_many_access_tokens() -> None:
    """But where the name says otherwise."""
    others = [each for each in CONTENDERS if not each.name.startswith("Keyturn, tokens")]

    assert {each.access_tokens for each in others} == {ACCESS_TOKENS}
