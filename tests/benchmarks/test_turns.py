"""In which order contenders are measured."""

from __future__ import annotations

from itertools import pairwise

from benchmarks.comparison import MEASURE
from benchmarks.contenders import CONTENDERS
from benchmarks.http import BETWEEN_MEASURES, in_turn


def test_a_round_goes_the_other_way_than_the_one_before() -> None:
    """Each contender once, but for the one that all are measured by."""
    there, back = (
        [each.name for each in in_turn(CONTENDERS, number) if each.name != MEASURE]
        for number in (1, 2)
    )

    assert there == back[::-1] == [each.name for each in CONTENDERS if each.name != MEASURE]


def test_keyturn_comes_again_and_again() -> None:
    """With one worker, at one end and after so many others, but not twice in a row."""
    names = [each.name for each in in_turn(CONTENDERS, 1)]
    places = [place for place, name in enumerate(names) if name == MEASURE]
    again = [each for each in in_turn(CONTENDERS, 1) if each.name == MEASURE][1:]

    assert places[0] == 0
    assert {later - earlier for earlier, later in pairwise(places)} <= {
        BETWEEN_MEASURES,
        BETWEEN_MEASURES + 1,
    }
    assert [each.workers for each in again] == [(1,)] * 4


def test_a_selection_without_keyturn_is_measured_by_nobody() -> None:
    """As whoever chose it wanted."""
    others = [each for each in CONTENDERS if each.name != MEASURE]

    assert [*in_turn(others, 1)] == others
