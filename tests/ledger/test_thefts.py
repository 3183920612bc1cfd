"""How somebody who knows who is who tells the fates of thefts apart."""

from __future__ import annotations

import pytest
from benchmarks.ledger.thieves import Exchange, Fate, Habit, Theft

STOLEN = 0


def theft() -> Theft:
    stolen = Theft(Habit("now and then"), STOLEN)
    stolen.come(0.0)
    return stolen


def fate(stolen: Theft) -> Fate:
    record = stolen.record()
    assert record is not None
    return record.fate


def exchange(
    *, by_thief: bool, token: int, to: int | None, jar: int, window: int = 0, opens: bool = True
) -> Exchange:
    return Exchange(by_thief, token, to, jar, window, opens)


def serve_both(stolen: Theft, windows: range) -> None:
    """In each window the victim is served first, then the thief; they never share a token."""
    for window in windows:
        stolen.note(exchange(by_thief=False, token=1, to=window + 10, jar=1, window=window))
        stolen.note(exchange(by_thief=True, token=STOLEN, to=window + 20, jar=1, window=window))


def test_a_thief_who_never_comes_is_no_theft() -> None:
    """A copy in a drawer does no harm."""
    assert Theft(Habit("never"), STOLEN).record() is None


def test_a_thief_served_beside_the_victim_has_stayed() -> None:
    """Their tokens parted, and in four windows the collision did not come."""
    stolen = theft()
    serve_both(stolen, range(3))
    before = fate(stolen)

    serve_both(stolen, range(3, 4))

    assert before is Fate.ONE_AWAY
    assert fate(stolen) is Fate.STAYED


def test_a_thief_alone_is_not_side_by_side() -> None:
    """While the victim sleeps there is nobody to collide with."""
    stolen = theft()

    for window in range(9):
        stolen.note(exchange(by_thief=True, token=STOLEN, to=9, jar=1, window=window))

    assert fate(stolen) is Fate.ONE_AWAY


def test_one_window_counts_once() -> None:
    """However many exchanges a storm has."""
    stolen = theft()

    for _ in range(9):
        serve_both(stolen, range(1))

    assert fate(stolen) is Fate.ONE_AWAY


@pytest.mark.parametrize("by_thief", [True, False])
def test_whoever_is_handed_the_others_token_begins_anew(*, by_thief: bool) -> None:
    """Nobody can tell two parties apart who hold one token."""
    stolen = theft()
    serve_both(stolen, range(3))
    token, the_others = (STOLEN, 1) if by_thief else (1, STOLEN)

    stolen.note(exchange(by_thief=by_thief, token=token, to=the_others, jar=1, window=3))
    serve_both(stolen, range(4, 7))

    assert fate(stolen) is Fate.ONE_AWAY


def test_a_jar_that_takes_the_thiefs_token_begins_anew() -> None:
    """An answer under way may bring it."""
    stolen = theft()
    serve_both(stolen, range(3))

    stolen.note_jar(STOLEN)
    serve_both(stolen, range(3, 6))

    assert fate(stolen) is Fate.ONE_AWAY


def test_a_thief_inside_the_victims_windows_is_in_step() -> None:
    """He opened no window of his own."""
    stolen = theft()

    stolen.note(exchange(by_thief=True, token=STOLEN, to=4, jar=3, opens=False))

    assert fate(stolen) is Fate.IN_STEP


def test_a_victim_put_off_in_four_windows_running_is_put_off_for_ever() -> None:
    """A session that only the thief can use is his."""
    stolen = theft()
    for window in range(3):
        stolen.note(exchange(by_thief=False, token=1, to=None, jar=1, window=window, opens=False))
    before = fate(stolen)

    stolen.note(exchange(by_thief=False, token=1, to=None, jar=1, window=3, opens=False))

    assert before is Fate.IN_STEP
    assert fate(stolen) is Fate.STAYED


def test_a_collision_that_comes_too_late_makes_nothing_good() -> None:
    """Who stayed has stayed, even if he is seen in the end."""
    stolen = theft()
    serve_both(stolen, range(4))

    stolen.seen = 5.0

    assert fate(stolen) is Fate.STAYED
