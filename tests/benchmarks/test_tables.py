"""Tables say what was seen, and what they leave out."""

from __future__ import annotations

import msgspec
import pytest
from benchmarks.correctness import Logout, Race, Theft
from benchmarks.report import Machine
from benchmarks.tables import behaviour, costs, given_up, ran_on

from benchmarks import correctness
from tests.benchmarks.loads import MEASURE, row


def _lines(markdown: str) -> dict[str, list[str]]:
    """The cells of the first table by what stands on their left."""
    rows = [line.strip("| ").split(" | ") for line in markdown.splitlines() if line[:1] == "|"]
    return {cells[0]: cells[1:] for cells in reversed(rows)}


def test_a_line_tells_what_an_answer_costs() -> None:
    """The ratio first; the load's share is one of all the CPU that was used."""
    lines = _lines(costs([row(), row("other", server_us=1900, database_us=100)]))

    assert lines["other"] == [
        "**8.00** (8.00 to 8.00)",
        "4\N{NO-BREAK SPACE}000 (4\N{NO-BREAK SPACE}000 to 4\N{NO-BREAK SPACE}000)",
        "7.50",
        "20.00",
        "1\N{NO-BREAK SPACE}900 (1\N{NO-BREAK SPACE}900 to 1\N{NO-BREAK SPACE}900) + 100",
        "60",
        "3.0",
        "169",
        "11 %",
    ]
    assert lines[MEASURE][-1] == "50 %"


def test_where_few_answered_nothing_is_told_of_the_latest() -> None:
    """Three of them are no hundredth part."""
    few = row("other", asked="login", connections=256)
    load = msgspec.structs.replace(few.cost.load, answers=300)
    few = msgspec.structs.replace(few, cost=msgspec.structs.replace(few.cost, load=load))

    text = costs([few])

    assert text.startswith("### A login without its hashing, 256 connections")
    assert _lines(text)["other"][2:4] == ["7.50", "-"]


def test_where_it_ran_is_said_once() -> None:
    """With every version, and how alike the machine was to itself."""
    machine = Machine(
        cpu="a processor", cores=2, kernel="6.1", python="3.11", node="20.1", postgresql="15.2",
        wrk="4.1", commit="abc", calibration_us=10,
        packages={"app": {"library": "1.2", "other": "3"}},
    )  # fmt: skip
    text = ran_on(machine, [row(), row(round=2)])

    assert text.startswith(
        "a processor, 2 cores, Linux 6.1, PostgreSQL 15.2, Python 3.11, Node.js 20.1, wrk 4.1; "
        "commit abc; 2 rounds. The calibration loop took 10.0 (10.0 to 10.0) µs."
    )
    assert "- `app`: library 1.2, other 3" in text


def test_a_database_in_the_server_has_no_figures_of_its_own() -> None:
    """Nothing was counted, which is not nothing."""
    lines = _lines(costs([row("other", database_us=0, statements=None)]))

    assert lines["other"][4] == "200 (200 to 200)"
    assert lines["other"][6:8] == ["-", "-"]


def test_what_was_not_asked_has_no_table() -> None:
    """A section is there for what it holds."""
    text = costs([row(), row(asked="check", connections=256)])

    titles = [line for line in text.splitlines() if line.startswith("#")]
    assert titles == [
        "### An exchange, 32 connections",
        "### An authenticated request, 256 connections",
    ]


def test_what_is_left_out_is_named() -> None:
    """With the reason, below the tables."""
    text = costs([row(), row("other", round=2, refused=3, lost=1)])

    assert "other" not in _lines(text)
    assert text.splitlines()[-1] == (
        "- other, exchange, 32 connections, workers: 1, round 2 (12000 answers, 3 refused, 1 lost)"
    )


def test_nothing_is_left_out_where_all_is_well() -> None:
    """Nor is it said that something was."""
    assert "Not quoted" not in costs([row()])


def test_who_was_given_up_is_named() -> None:
    """Whether in the middle of a round, in all of one, or in all of them."""
    rows = [
        row(), row(asked="check"), row("halfway"), row("halfway", asked="check"), row("once"),
        row(round=2), row(asked="check", round=2), row("halfway", round=2),
    ]  # fmt: skip

    text = given_up([MEASURE, "halfway", "once", "never"], rows)

    assert text.splitlines()[2:] == [
        "- halfway, round 2",
        "- once, round 2",
        "- never, round 1",
        "- never, round 2",
    ]
    assert given_up([MEASURE], rows) == ""


def test_what_is_not_offered_is_said_to_be_so() -> None:
    """In every column."""
    lines = _lines(behaviour([correctness.Row(contender="none of it")]))

    assert set(lines["none of it"]) == {"not offered"}


def test_races_are_told_from_the_least_to_the_most() -> None:
    """A round after which no token is good is a false logout."""
    races = [Race(successors=3, refused=5, lines=0), Race(successors=1, refused=7, lines=1)]
    lines = _lines(behaviour([correctness.Row(contender="one", races=races)]))

    assert lines["one"][:4] == ["1 to 3", "0 to 1", "5 to 7", "1"]


def test_each_end_of_a_theft_has_words_of_its_own() -> None:
    """Also which of the two is left."""
    ends = {
        "session ends, 105 s": Theft("victim", 105, other_goes_on=False),
        "victim refused, 35 s; thief goes on": Theft("victim", 35, other_goes_on=True),
        "thief refused, 70 s; victim goes on": Theft("thief", 70, other_goes_on=True),
        "both go on, 105 s": Theft(None, 105, other_goes_on=True),
    }
    rows = [correctness.Row(contender=words, thief_first=end) for words, end in ends.items()]

    lines = _lines(behaviour(rows))

    assert [lines[words][6] for words in ends] == [*ends]


@pytest.mark.parametrize(
    ("logout", "words"),
    [
        (Logout(0.02), "refused at once"),
        (Logout(812.4), "refused after 812 ms"),
        (Logout(None), "lives on until it expires"),
    ],
)
def test_an_access_token_ends_or_lives_on(logout: Logout, words: str) -> None:
    """What was not refused in five seconds ends by time alone."""
    lines = _lines(behaviour([correctness.Row(contender="one", logout=logout)]))

    assert lines["one"][-1] == words
