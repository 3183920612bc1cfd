"""The ledger of small fleets: what Keyturn promises, and what each other rule cannot."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from benchmarks.ledger.fleet import Fleet, Ledger, play
from benchmarks.ledger.network import Network
from benchmarks.ledger.rules import RULES, Decide, Rule, keyturn
from benchmarks.ledger.thieves import HABITS, Fate, Habit

from tests.search import neighbours

KEYTURN, STRICT, FORKING, LAST, PARENT = RULES

CALM = Network(lost=0, repeated=0, tail=3)
EVERYDAY = Network()
ROUGH = Network(lost=0.2, repeated=0.2, shortest=1.5, longest=5)
"""Much is lost, and round trips take 3 to 10 seconds: a third of the window."""
SLOW = Network(lost=0.1, repeated=0.1, tail=0.7)
"""Every twentieth round trip is longer than a third of the window."""

NEVER_BACK_OF_THEIR_OWN_ACCORD = {habit.name for habit in HABITS if habit.pauses is None}
AT_THE_END_OF_EVERY_WINDOW = Habit("at the end of every window", pauses=(31, 31))
THROWING_ANSWERS_AWAY = replace(AT_THE_END_OF_EVERY_WINDOW, keeps_answers=False)


def fates(ledger: Ledger) -> Counter[Fate]:
    return Counter(theft.fate for theft in ledger.thefts)


def test_the_same_seed_gives_the_same_ledger() -> None:
    """To the last exchange; and another seed another one."""
    first, again, other = (play(KEYTURN, Fleet(seed=seed, devices=5)) for seed in (7, 7, 8))

    assert first == again
    assert first.exchanges != other.exchanges


def test_all_rules_see_the_same_thieves() -> None:
    """The thefts, as copied, do not depend on the rule; only what becomes of them does."""
    fleet = Fleet(devices=40, thieves=1, network=CALM)

    of_ours, of_strict = (play(rule, fleet) for rule in (KEYTURN, STRICT))

    habits = [theft.habit for theft in of_ours.thefts]
    assert set(habits) == {habit.name for habit in HABITS}
    assert len(of_strict.thefts) > 0
    assert Counter(theft.habit for theft in of_strict.thefts) <= Counter(habits)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("network", [EVERYDAY, ROUGH, SLOW], ids=["everyday", "rough", "slow"])
def test_keyturn_logs_nobody_out_by_mistake(network: Network, seed: int) -> None:
    """C3, C8: however bad the network, but for round trips longer than a third of the window."""
    ledger = play(KEYTURN, Fleet(seed=seed, devices=60, network=network, thieves=0))

    assert ledger.exchanges > 30_000
    assert ledger.thefts == []
    assert ledger.false_logouts == 0


def test_round_trips_longer_than_a_third_of_the_window_can_log_out() -> None:
    """That limit is real, and these logouts are told apart."""
    ledger = play(KEYTURN, Fleet(devices=200, network=SLOW, thieves=0))

    assert ledger.slow_logouts > 0
    assert ledger.false_logouts == 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("network", [EVERYDAY, ROUGH], ids=["everyday", "rough"])
def test_keyturn_sees_every_thief_who_comes_back(network: Network, seed: int) -> None:
    """C3: unseen are only those who came once, and those who came right after the victim."""
    ledger = play(KEYTURN, Fleet(seed=seed, devices=60, network=network, thieves=1))

    unseen = {theft.habit for theft in ledger.thefts if theft.fate is not Fate.SEEN}
    assert fates(ledger)[Fate.SEEN] > 30
    assert unseen <= NEVER_BACK_OF_THEIR_OWN_ACCORD
    assert fates(ledger)[Fate.STAYED] == 0
    assert ledger.false_logouts == 0


@pytest.mark.parametrize("habit", [AT_THE_END_OF_EVERY_WINDOW, THROWING_ANSWERS_AWAY])
def test_keyturn_sees_the_thief_who_comes_at_the_end_of_every_window(habit: Habit) -> None:
    """C3: turning first each time, he cannot keep the victim waiting for ever; nor, having the
    parent recovered each time, see it echoed for ever.
    """
    fleet = Fleet(devices=20, days=10, thieves=1, habits=(habit,))

    ledger = play(KEYTURN, fleet)

    assert fates(ledger) == {Fate.SEEN: len(ledger.thefts)}
    assert len(ledger.thefts) > 15


def test_strict_rotation_logs_out_for_each_lost_answer() -> None:
    """One answer in twenty is lost: of a thousand exchanges a month, dozens end the session."""
    ledger = play(STRICT, Fleet(devices=10, thieves=0))

    assert ledger.false_logouts > 0.05 * ledger.exchanges


@pytest.mark.parametrize("rule", [FORKING, LAST, PARENT], ids=lambda rule: rule.name)
def test_a_window_alone_does_not_keep_everybody_signed_in(rule: Rule) -> None:
    """A closed lid, two tabs or an answer overtaken is enough."""
    ledger = play(rule, Fleet(devices=60, thieves=0))

    assert ledger.false_logouts > 10


@pytest.mark.parametrize("rule", [STRICT, LAST], ids=lambda rule: rule.name)
def test_even_a_network_that_loses_nothing_is_not_enough(rule: Rule) -> None:
    """Two tabs that wake together present one token."""
    ledger = play(rule, Fleet(devices=10, network=CALM, thieves=0))

    assert ledger.false_logouts > 10


def test_a_forking_window_lets_thieves_stay() -> None:
    """Whoever presents a token right after its owner has a line of his own from then on."""
    listening = tuple(habit for habit in HABITS if habit.listens)
    fleet = Fleet(devices=40, thieves=1, habits=listening)

    forking, ours = play(FORKING, fleet), play(KEYTURN, fleet)

    assert fates(forking)[Fate.STAYED] > 30
    assert fates(ours) == {Fate.SEEN: len(ours.thefts)}


def test_the_ledger_finds_a_rule_that_rotates_always() -> None:
    """A child that rotates inside the window logs out its own client."""
    fleet = Fleet(devices=40, thieves=0)

    ledger = play(keyturn(neighbours.rotating_always), fleet)

    assert ledger.false_logouts > 0


@pytest.mark.parametrize(
    ("decide", "habit"),
    [
        (neighbours.forgiving, AT_THE_END_OF_EVERY_WINDOW),
        (neighbours.late_without_bound, AT_THE_END_OF_EVERY_WINDOW),
        (neighbours.nobody_left_behind, THROWING_ANSWERS_AWAY),
        (neighbours.recover_keeps_the_bound, THROWING_ANSWERS_AWAY),
    ],
)
def test_the_ledger_finds_a_rule_that_forgives_thieves(decide: Decide, habit: Habit) -> None:
    """A thief who comes first after each window puts the victim off, or lives beside it."""
    fleet = Fleet(devices=20, days=10, thieves=1, habits=(habit,))

    ledger = play(keyturn(decide), fleet)

    assert fates(ledger)[Fate.STAYED] > 0


def test_the_everyday_network_is_slow_twice_in_a_thousand() -> None:
    """The slow one is so every twentieth time, the rough one never."""
    shares = [_share_of_slow_round_trips(network) for network in (EVERYDAY, SLOW, ROUGH)]

    assert shares == pytest.approx([0.002, 0.05, 0], abs=0.002)


def _share_of_slow_round_trips(network: Network) -> float:
    chance, tries = Random(1), 20_000
    trips = [(network.delay(chance) or 0) + (network.delay(chance) or 0) for _ in range(tries)]
    return sum(trip > 10 for trip in trips) / tries


def test_a_network_repeats_its_share() -> None:
    """One request in fifty is sent twice."""
    chance, tries = Random(1), 20_000

    copies = [EVERYDAY.copies(chance) for _ in range(tries)]

    assert set(copies) == {1, 2}
    assert copies.count(2) / tries == pytest.approx(0.02, abs=0.002)
