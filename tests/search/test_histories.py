"""Every timed history of the refresh protocol, up to the bounds that each test names.

Run with ``-v -s`` to read how many states a search reached, and the shortest failing histories.
"""

import sys

import pytest

from keyturn.core.rotation import Verdict

from . import neighbours
from .explore import UNLIMITED, Machine, Outcome, W, explore
from .histories import (
    CLIENT_THAT_NEVER_STORES,
    JSON_CLIENT,
    Lateness,
    NotLateForEver,
    NotServedSideBySide,
    NoUnseenThief,
    OneJar,
    Setting,
    WithThief,
    policy,
)

pytestmark = pytest.mark.no_cover  # the tracer makes them six times slower

STRICT_SINGLE_USE = policy(0, recover=False)
WHILE_NO_COMMIT_IS_LOST = {
    Verdict.ECHO,
    Verdict.REPLAY,
    Verdict.LATE,
    Verdict.ROTATE,
    Verdict.RECOVER,
}


def search(machine: Machine[W], *, most_exchanges: int = UNLIMITED) -> Outcome:
    outcome = explore(machine, most_exchanges=most_exchanges)
    sys.stdout.write(f"\n{outcome}\n")
    return outcome


@pytest.mark.parametrize(("window", "round_trip", "in_flight"), [(9, 3, 4), (6, 2, 5), (8, 3, 4)])
def test_one_jar_is_never_logged_out(window: int, round_trip: int, in_flight: int) -> None:
    """Histories of any length, with round trips of a third of the window, end no session."""
    setting = Setting(window=window, round_trip=round_trip, in_flight=in_flight)

    outcome = search(OneJar(setting))

    assert outcome.failure is None
    assert outcome.verdicts == WHILE_NO_COMMIT_IS_LOST
    assert outcome.states > 50_000


@pytest.mark.parametrize(("window", "round_trip"), [(9, 4), (10, 4), (7, 3)])
def test_a_longer_round_trip_can_log_out(window: int, round_trip: int) -> None:
    """Beyond a third of the window (3 round trips > window + 1 ticks) a session can end."""
    setting = Setting(window=window, round_trip=round_trip)

    outcome = search(OneJar(setting))

    assert outcome.failure is not None
    assert outcome.exchanges == 6


def test_one_jar_is_never_logged_out_by_two_nodes() -> None:
    """Two nodes whose clocks differ by a tick end no session."""
    setting = Setting(clocks=(0, 1))

    outcome = search(OneJar(setting))

    assert outcome.failure is None
    assert outcome.verdicts == WHILE_NO_COMMIT_IS_LOST
    assert outcome.states > 50_000


@pytest.mark.parametrize(("apart", "round_trip"), [(4, 2), (7, 1), (9, 0)])
def test_the_further_clocks_are_apart_the_shorter_a_round_trip_may_be(
    apart: int, round_trip: int
) -> None:
    """Clocks a window apart leave no time, and so only exchanges that overlap within a tick."""
    setting = Setting(clocks=(0, apart), round_trip=round_trip)

    outcome = search(OneJar(setting))

    assert outcome.failure is None
    assert outcome.verdicts == WHILE_NO_COMMIT_IS_LOST


@pytest.mark.parametrize(("apart", "round_trip"), [(2, 3), (5, 2), (8, 1), (10, 0)])
def test_clocks_further_apart_can_log_out(apart: int, round_trip: int) -> None:
    """A round trip and a third of the clocks' spread must fit in a third of the window."""
    setting = Setting(clocks=(0, apart), round_trip=round_trip)

    outcome = search(OneJar(setting))

    assert outcome.failure is not None
    assert Verdict.REUSE in outcome.verdicts


def test_one_exchange_at_a_time_is_safe_whatever_clocks_show() -> None:
    """A client that never overtakes itself is not logged out, however long a round trip."""
    setting = Setting(clocks=(0, 2, 10, 30), round_trip=9, in_flight=1)

    outcome = search(OneJar(setting))

    assert outcome.failure is None
    assert outcome.verdicts == WHILE_NO_COMMIT_IS_LOST - {Verdict.LATE}


@pytest.mark.parametrize("fallbacks", [1, 2])
@pytest.mark.parametrize(("window", "round_trip", "exchanges"), [(9, 3, 5), (6, 2, 6)])
def test_one_jar_is_never_logged_out_by_a_store_that_falls_back(
    fallbacks: int, window: int, round_trip: int, exchanges: int
) -> None:
    """The store may return to any earlier state of the row, at any moment, and again."""
    setting = Setting(window=window, round_trip=round_trip, fallbacks=fallbacks)

    outcome = search(OneJar(setting), most_exchanges=exchanges)

    assert outcome.failure is None
    assert outcome.verdicts == WHILE_NO_COMMIT_IS_LOST | {Verdict.RESUME}
    assert outcome.states > 50_000


def test_a_client_that_never_stores_is_served_for_ever() -> None:
    """Whoever presents the same token for ever always gets a newer one."""
    setting = Setting(client=CLIENT_THAT_NEVER_STORES)

    outcome = search(OneJar(setting))

    assert outcome.failure is None
    assert outcome.verdicts == {Verdict.ROTATE, Verdict.REPLAY, Verdict.RECOVER}
    assert outcome.states > 1_000


def test_a_json_client_with_two_tabs_is_never_logged_out() -> None:
    """Two tabs over one storage, two exchanges each, are safe if they store as the rule says."""
    setting = Setting(client=JSON_CLIENT, in_flight=4)

    outcome = search(OneJar(setting))

    assert outcome.failure is None
    assert outcome.verdicts == WHILE_NO_COMMIT_IS_LOST
    assert outcome.states > 50_000


@pytest.mark.parametrize(
    ("setting", "exchanges"),
    [
        pytest.param(Setting(decide=neighbours.rotating_always), 3, id="rotating always"),
        pytest.param(
            Setting(decide=neighbours.minting_inside_the_window), 5, id="new children inside"
        ),
        pytest.param(Setting(decide=neighbours.late_is_reuse), 4, id="late is reuse"),
        pytest.param(Setting(client=neighbours.COOKIE_SET_ON_ECHO), 7, id="cookie set on echo"),
        pytest.param(
            Setting(client=neighbours.JSON_CLIENT_THAT_STORES_EVERY_ANSWER),
            7,
            id="JSON client that stores every answer",
        ),
        pytest.param(
            Setting(decide=neighbours.newer_is_reuse, fallbacks=1), 2, id="newer is reuse"
        ),
        pytest.param(
            Setting(decide=neighbours.a_clock_behind_is_outside, clocks=(0, 1)),
            4,
            id="a clock behind is outside",
        ),
    ],
)
def test_a_neighbour_logs_out_its_own_client(setting: Setting, exchanges: int) -> None:
    """The same search finds what is wrong with every protocol beside ours."""
    machine = OneJar(setting)

    outcome = search(machine)

    assert outcome.failure is not None
    assert outcome.exchanges == exchanges


def test_strict_single_use_logs_out_for_one_lost_answer() -> None:
    """Without window and recover a single lost answer ends the session."""
    setting = Setting(policy=STRICT_SINGLE_USE, in_flight=1)

    outcome = search(OneJar(setting))

    assert outcome.failure == (
        "    tick  0  the client sends token 0\n"
        "    tick  0  token 0, sent at tick 0, is judged: rotate, hands out 1\n"
        "    tick  0  the answer to the request of tick 0, token 1, is lost\n"
        "    tick  0  the client sends token 0\n"
        "    tick  0  token 0, sent at tick 0, is judged: reuse"
    )


@pytest.mark.parametrize(("window", "round_trip", "in_flight"), [(9, 3, 2), (6, 2, 3)])
def test_no_thief_stays_unseen(window: int, round_trip: int, in_flight: int) -> None:
    """Once the tokens differ, the session is dead before both have made two exchanges outside."""
    setting = Setting(window=window, round_trip=round_trip, in_flight=in_flight)

    outcome = search(WithThief(setting, NoUnseenThief()))

    assert outcome.failure is None
    assert outcome.verdicts == WHILE_NO_COMMIT_IS_LOST | {Verdict.REUSE}
    assert outcome.states > 100_000


def test_no_thief_stays_unseen_after_a_fallback() -> None:
    """The same, counted anew, where the store falls back."""
    setting = Setting(window=6, round_trip=2, in_flight=1, fallbacks=1)

    outcome = search(WithThief(setting, NoUnseenThief()), most_exchanges=7)

    assert outcome.failure is None
    assert outcome.verdicts == set(Verdict) - {Verdict.ENDED}
    assert outcome.states > 100_000


def test_forgiving_reuse_lets_a_thief_stay() -> None:
    """A protocol that only refuses old tokens is found out by the search for thieves."""
    setting = Setting(decide=neighbours.forgiving, in_flight=2)

    outcome = search(WithThief(setting, NoUnseenThief()))

    assert outcome.failure is not None
    assert outcome.exchanges == 5


def test_the_polling_thief_is_caught() -> None:
    """A thief who turns first after each window cannot keep the victim *late* for ever."""
    setting = Setting(window=6, round_trip=2, in_flight=3)

    outcome = search(WithThief(setting, NotLateForEver(), throws_answers_away=False))

    assert outcome.failure is None
    assert outcome.verdicts == WHILE_NO_COMMIT_IS_LOST | {Verdict.REUSE}
    assert outcome.states > 10_000


def test_the_polling_thief_who_throws_answers_away_is_caught() -> None:
    """Nor by keeping the parent and having the server recover, window after window."""
    setting = Setting(window=6, round_trip=2, in_flight=3)

    outcome = search(WithThief(setting, NotLateForEver()))

    assert outcome.failure is None
    assert outcome.verdicts == WHILE_NO_COMMIT_IS_LOST | {Verdict.REUSE}
    assert outcome.states > 10_000


@pytest.mark.parametrize(
    "machine",
    [
        pytest.param(
            WithThief(
                Setting(decide=neighbours.late_without_bound, in_flight=1),
                NotLateForEver(),
                throws_answers_away=False,
            ),
            id="late without bound",
        ),
        pytest.param(
            WithThief(
                Setting(decide=neighbours.recover_keeps_the_bound, in_flight=1), NotLateForEver()
            ),
            id="recover keeps the bound",
        ),
    ],
)
def test_a_neighbour_lets_the_polling_thief_live(machine: WithThief[Lateness]) -> None:
    """Without a bound that moves with every window, the victim is told *late* for ever."""
    outcome = search(machine)

    assert outcome.failure is not None
    assert outcome.failure.count("is judged: late") == NotLateForEver.WINDOWS


def test_nobody_is_served_beside_a_thief_for_ever() -> None:
    """Nor by keeping the parent and opening every window, in which the victim would be echoed."""
    setting = Setting(window=6, round_trip=2, in_flight=2)

    outcome = search(WithThief(setting, NotServedSideBySide()))

    assert outcome.failure is None
    assert outcome.verdicts == WHILE_NO_COMMIT_IS_LOST | {Verdict.REUSE}
    assert outcome.states > 10_000


def test_echoing_every_child_serves_both_for_ever() -> None:
    """Where no child is left behind, the thief who opens every window is never met."""
    setting = Setting(decide=neighbours.nobody_left_behind, in_flight=1)

    outcome = search(WithThief(setting, NotServedSideBySide()))

    assert outcome.failure is not None
    assert outcome.failure.count("is judged: echo") == NotServedSideBySide.TURNS
