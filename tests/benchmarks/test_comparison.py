"""What is compared is alike, may be quoted, and is set beside what was measured around it."""

from __future__ import annotations

import msgspec
import pytest
from benchmarks.comparison import Row, Spread, compared, total_us, unfit

from tests.benchmarks.loads import MEASURE, row


def test_a_ratio_is_one_of_the_same_round() -> None:
    """A machine that is slow for a round is slow for both."""
    rows = [
        row(round=1, server_us=100, database_us=100),
        row("other", round=1, server_us=250, database_us=150),
        row(round=2, server_us=200, database_us=200),
        row("other", round=2, server_us=500, database_us=300),
    ]

    keyturn, other = compared(rows, "exchange")

    assert keyturn.ratio == Spread(1, 1, 1)
    assert other.ratio == Spread(2, 2, 2)


def test_a_ratio_is_one_to_keyturn_just_before_and_just_after() -> None:
    """A machine that becomes slower in the middle of a round makes nobody look slower."""
    early, late = (row(server_us=us, database_us=0) for us in (100, 300))
    others = [row("other", server_us=us, database_us=0) for us in (400, 600)]

    *_, other = compared([early, early, others[0], late, late, others[1]], "exchange")

    assert other.ratio == Spread(2, 2, 2)


def test_a_late_answer_is_told_of_enough_of_them_only() -> None:
    """The 99th of a hundred is one of ten at least."""
    (few,) = compared([_with_answers(999)], "exchange")
    (many,) = compared([_with_answers(1000)], "exchange")

    assert (few.p99_ms, many.p99_ms) == (None, 20)


def _with_answers(count: int) -> Row:
    usual = row()
    load = msgspec.structs.replace(usual.cost.load, answers=count)
    return msgspec.structs.replace(usual, cost=msgspec.structs.replace(usual.cost, load=load))


def test_who_takes_the_least_comes_first() -> None:
    """Server and database together decide."""
    rows = [
        row("much of the database", server_us=10, database_us=500),
        row("much of the server", server_us=400, database_us=0),
        row(server_us=200, database_us=50),
    ]

    names = [each.contender for each in compared(rows, "exchange")]

    assert names == [MEASURE, "much of the server", "much of the database"]


def test_figures_are_medians_between_their_ends() -> None:
    """Of the rounds, in whatever order they came."""
    rows = [
        row(round=number, server_us=us, database_us=0)
        for number, us in enumerate((300, 100, 200), start=1)
    ]

    (keyturn,) = compared(rows, "exchange")

    assert keyturn.spread(total_us) == Spread(median=200, least=100, largest=300)


@pytest.mark.parametrize(
    "other",
    [
        row("other", asked="check"),
        row("other", connections=1),
        row("other", workers=2),
    ],
)
def test_what_was_asked_otherwise_is_not_compared(other: Row) -> None:
    """Neither another request, nor another load, nor other workers."""
    names = [each.contender for each in compared([row(), other], "exchange")]

    assert names == [MEASURE]


@pytest.mark.parametrize("bad", [row("other", refused=1), row("other", lost=1)])
def test_a_load_with_a_bad_answer_is_left_out(bad: Row) -> None:
    """A refusal is quick, and a lost answer costs nothing: both would flatter."""
    good = row("other", round=2, server_us=500)

    _, other = compared([row(), bad, row(round=2), good], "exchange")

    assert other.rows == [good]
    assert unfit([row(), bad, good]) == [bad]


def test_a_load_without_answers_is_left_out() -> None:
    """It says nothing at all."""
    silent = _with_answers(0)

    assert compared([silent], "exchange") == []
    assert unfit([silent]) == [silent]


def test_without_keyturn_in_its_rounds_nobody_has_a_ratio() -> None:
    """Not even to Keyturn in another round."""
    rows = [row(round=1, refused=3), row("other", round=1), row(round=2)]

    other, _ = sorted(compared(rows, "exchange"), key=lambda each: each.contender != "other")

    assert other.ratio is None
