"""Rules whose ends are known are judged as they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from benchmarks.asking import Answer, judged
from benchmarks.contenders.model import Ask
from benchmarks.correctness import (
    THIEF_FIRST,
    VICTIM_FIRST,
    Race,
    Theft,
    judge_race,
    lost,
    measure,
    theft,
)

EXCHANGE = Ask("POST", "/", next_after='"refresh":"')


class Rule:
    """A server with one session, in which tokens are numbers."""

    def __init__(self) -> None:
        self.now = 0.0
        self.newest = 0
        self.has_ended = False

    def until(self, second: float) -> None:
        self.now = second

    def turn(self) -> Answer:
        self.newest += 1
        return Answer(True, str(self.newest))


class Forever(Rule):
    """One token, which is never turned."""

    def exchange(self, token: str) -> Answer:
        return Answer(True, token)


class Strict(Rule):
    """Every other token than the newest is refused, and nobody is told."""

    def exchange(self, token: str) -> Answer:
        return self.turn() if int(token) == self.newest else Answer(False, token)


class Watchful(Rule):
    """Every other token than the newest ends the session."""

    def exchange(self, token: str) -> Answer:
        self.has_ended = self.has_ended or int(token) != self.newest
        return Answer(False, token) if self.has_ended else self.turn()


class Graceful(Rule):
    """Every token is good for ten seconds more."""

    def __init__(self) -> None:
        super().__init__()
        self.used: dict[str, float] = {}

    def exchange(self, token: str) -> Answer:
        granted = self.now - self.used.setdefault(token, self.now) <= 10
        return self.turn() if granted else Answer(False, token)


@pytest.mark.parametrize(
    ("rule", "thief_first", "victim_first"),
    [
        (Forever, Theft(None, 105, True), Theft(None, 70, True)),
        (Strict, Theft("victim", 35, True), Theft("thief", 70, True)),
        (Watchful, Theft("victim", 35, False), Theft("thief", 70, False)),
        (Graceful, Theft("victim", 35, True), Theft("thief", 70, True)),
    ],
)
def test_a_theft_ends_as_the_rule_has_it(
    rule: Callable[[], Forever | Strict | Watchful | Graceful],
    thief_first: Theft,
    victim_first: Theft,
) -> None:
    """Who is refused, when, and what becomes of the other one."""
    for turns, end in ((THIEF_FIRST, thief_first), (VICTIM_FIRST, victim_first)):
        server = rule()

        assert theft(turns)(server.exchange, server.until, "0") == end


@pytest.mark.parametrize(
    ("rule", "soon", "late"),
    [(Forever, True, True), (Strict, False, False), (Graceful, True, False)],
)
def test_a_lost_answer_logs_out_as_the_rule_has_it(
    rule: Callable[[], Forever | Strict | Graceful],
    soon: bool,  # noqa: FBT001
    late: bool,  # noqa: FBT001
) -> None:
    """The second presentation comes after so many seconds."""
    for seconds, goes_on in ((1, soon), (60, late)):
        server = rule()

        assert lost(seconds)(server.exchange, server.until, "0") is goes_on


def test_a_selection_of_which_nobody_has_rules_is_not_tried() -> None:
    """Such as that of one row of the costs."""
    assert measure([], {}) == []


def test_successors_are_counted_once_and_tried_in_turn() -> None:
    """Two tokens were handed out in four answers, and the first one's exchange ends the other's."""
    server = Watchful()
    server.newest = 1
    answers = [Answer(True, "1"), Answer(False, "0"), Answer(True, "9"), Answer(True, "1")]

    assert judge_race(answers, server.exchange) == Race(successors=2, refused=1, lines=1)


def test_a_race_can_leave_nothing() -> None:
    """All that was handed out is refused."""
    server = Watchful()
    server.has_ended = True

    assert judge_race([Answer(True, "1")], server.exchange).lines == 0


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (200, '{"refresh":"new", "access":"other"}', Answer(True, "new")),
        (401, '{"refresh":"new"}', Answer(False, "old")),
        (503, "", Answer(False, "old")),
        (200, "{}", Answer(False, "old")),
        (302, '{"refresh":"new"}', Answer(False, "old")),
    ],
)
def test_an_exchange_is_granted_with_the_next_token(status: int, body: str, answer: Answer) -> None:
    """Else who asked holds what he held."""
    assert judged(EXCHANGE, "old", status, body) == answer


def test_a_refusal_may_come_as_a_success() -> None:
    """Where the contender says no by its body."""
    ask = Ask("GET", "/", refused_with="null")

    assert not judged(ask, "old", 200, "null").granted
    assert judged(ask, "old", 200, '{"session":null}') == Answer(True, "old")


def test_a_success_may_come_as_a_refusal() -> None:
    """Where a status other than 2xx says that it is done."""
    ask = Ask("DELETE", "/", done_with=401)

    assert judged(ask, "old", 401, "").granted
    assert not judged(ask, "old", 200, "").granted
