"""What a follower knows when its clock is set."""

from __future__ import annotations

import json
from unittest.mock import Mock

import pytest

from keyturn.following.knowledge import ClockWasSet, Knowledge
from tests.support import START, Clock

END = json.dumps({"cutoffs": [{"sid": "x", "version": 9, "expiresAt": START + 600}]})
ALIVE = '{"staleness": 0}'


@pytest.mark.parametrize("seconds", [3600, -3600])
def test_after_the_clock_was_set_everything_is_learnt_anew(seconds: int) -> None:
    """G6: ends that were over by the wrong clock were forgotten, and are needed again."""
    wall, steady = Clock(), Clock(0)
    knowledge = Knowledge(Mock(), clock=wall, steady_clock=steady)
    knowledge.hear("cutoffs", END, "")
    knowledge.hear("alive", ALIVE, "a-1")
    before = knowledge.place
    wall.sleep(seconds)

    with pytest.raises(ClockWasSet):
        knowledge.hear("alive", ALIVE, "a-2")

    assert (before, knowledge.place) == ("a-1", "")
    knowledge.hear("cutoffs", END, "")
    knowledge.hear("alive", ALIVE, "a-2")
    assert knowledge.place == "a-2"


def test_a_clock_that_drifts_a_little_is_none_that_was_set() -> None:
    """Time servers put clocks right all the time."""
    wall, steady = Clock(), Clock(0)
    knowledge = Knowledge(Mock(), clock=wall, steady_clock=steady)
    for _ in range(3):
        wall.sleep(20)
        knowledge.hear("alive", ALIVE, "a-1")

    assert knowledge.place == "a-1"
