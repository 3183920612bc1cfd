"""One device on a network that does as the test says: when it exchanges, and what it remembers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from benchmarks.ledger.days import Opening
from benchmarks.ledger.device import Device, Tab
from benchmarks.ledger.network import Network
from benchmarks.ledger.rules import OVER, WINDOW, Rule, Ruling
from benchmarks.ledger.thieves import Fate, Habit

LOST = None
SLOW = WINDOW / 3 + 2
ALWAYS_OPEN = (0.0, 10_000.0)


@dataclass(frozen=True)
class Scripted(Network):
    """Delays as listed, request and answer in turn; a tenth of a second when the list ends."""

    delays: Iterator[float | None] = iter(())  # noqa: RUF009  an empty one can be shared
    of_each: int = 1

    def copies(self, chance: Random) -> int:
        return self.of_each

    def delay(self, chance: Random) -> float | None:
        return next(self.delays, 0.1)


@dataclass
class Server:
    """Hands out a new token for every exchange, until one that it refuses."""

    refuses: int = 10**9
    """The exchange that ends the session, counted from 0."""
    presented: list[int] = field(default_factory=list)
    at: list[int] = field(default_factory=list)

    def rule(self) -> Rule:
        return Rule("scripted", lambda _: "row", self._judge)

    def _judge(self, row: Any, token: int, now: int) -> Ruling:
        self.presented.append(token)
        self.at.append(now)
        number = len(self.presented)
        return OVER if number - 1 == self.refuses else Ruling(row, number)


def device(
    server: Server,
    *open_times: tuple[float, float],
    delays: tuple[float | None, ...] = (),
    copies: int = 1,
) -> Device:
    """With one tab, which wakes with the device."""
    openings = iter([Opening(begins, ends, (begins,)) for begins, ends in open_times])
    network = Scripted(delays=iter(delays), of_each=copies)
    return Device(server.rule(), network, 100_000.0, [Tab()], openings, Random(1))


def played(of: Device) -> Device:
    of.play()
    return of


def test_a_tab_exchanges_on_waking_and_then_in_time() -> None:
    """After 0.5 to 0.9 of the access token's life, while the device is open, with what it holds."""
    server = Server()

    played(device(server, (100, 2000), (50_000, 50_100)))

    pauses = [later - sooner for sooner, later in zip(server.at, server.at[1:], strict=False)]
    assert server.at[0] == 100
    assert server.at[-1] == 50_000
    assert len(pauses) > 3
    assert all(299 <= pause <= 541 for pause in pauses[:-1])
    assert server.presented == list(range(len(server.at)))


@pytest.mark.parametrize("delays", [(LOST,), (0.1, LOST), (0.1, LOST, LOST)])
def test_a_tab_without_an_answer_tries_again(delays: tuple[float | None, ...]) -> None:
    """With the token that it holds, after a time-out and a pause, and sooner than it is due."""
    server = Server()

    played(device(server, (0, 60), delays=delays))

    assert server.presented[-1] == 0
    assert 8 < server.at[-1] < 30


def test_an_answer_to_a_closed_device_is_lost() -> None:
    """Hours later it presents the same token."""
    server = Server()

    played(device(server, (0, 5), (9000, 9005), delays=(0.1, 6.0)))

    assert server.presented == [0, 0]


def test_a_slow_answer_is_stored_all_the_same() -> None:
    """Even over a newer one."""
    server = Server()

    played(device(server, (0, 700), delays=(0.1, 20.0)))

    assert server.presented[:2] == [0, 0]
    assert server.presented[2] == 1


def test_a_repeated_request_is_judged_twice() -> None:
    """A proxy has sent it again."""
    server = Server()

    played(device(server, (0, 5), copies=2))

    assert server.presented == [0, 0]


def test_a_refusal_is_a_false_logout() -> None:
    """The user signs in again, and goes on with the first token of the new session."""
    server = Server(refuses=1)

    after = played(device(server, (0, 1200)))

    assert (after.false_logouts, after.slow_logouts) == (1, 0)
    assert server.presented[:3] == [0, 1, 0]


def test_a_refusal_after_a_slow_round_trip_is_told_apart() -> None:
    """Nothing was stored since from an exchange begun after it."""
    after = played(device(Server(refuses=1), (0, 1200), delays=(SLOW, LOST)))

    assert (after.false_logouts, after.slow_logouts) == (0, 1)


def test_a_slow_round_trip_counts_until_it_makes_no_difference() -> None:
    """Two good exchanges later a refusal is false again."""
    after = played(device(Server(refuses=4), (0, 3000), delays=(SLOW, 0.1)))

    assert (after.false_logouts, after.slow_logouts) == (1, 0)


def test_a_thief_may_wait_for_the_victim_to_sleep() -> None:
    """He comes only while the device is closed."""
    server = Server()
    robbed = device(server, (0, 200), (5000, 5200))
    robbed.rob(100, Habit("asleep", pauses=(600, 600), only_while_victim_sleeps=True))

    robbed.play()

    assert server.at[:3] == [0, 200, 800]
    assert not any(5000 < at < 5200 for at in server.at)


@pytest.mark.parametrize(("keeps_answers", "token"), [(True, 3), (False, 1)])
def test_a_thief_may_throw_answers_away(*, keeps_answers: bool, token: int) -> None:
    """Then he comes with what he stole, again and again."""
    server = Server()
    robbed = device(server, (0, 50))
    robbed.rob(10, Habit("keeps or not", pauses=(600, 600), keeps_answers=keeps_answers))

    robbed.play()

    assert server.presented[:2] == [0, 1]
    assert server.presented[3] == token


def test_a_thief_who_makes_the_victim_be_refused_is_seen() -> None:
    """He had come since the victim got its token."""
    robbed = device(Server(refuses=2), ALWAYS_OPEN)
    robbed.rob(10, Habit("once"))

    robbed.play()

    assert robbed.theft is not None
    assert robbed.theft.record() is not None
    assert robbed.theft.seen is not None
    assert robbed.false_logouts == 0


def test_a_logout_by_mistake_cuts_a_theft_short() -> None:
    """The thief had done nothing since the victim got the token that was refused."""
    robbed = device(Server(refuses=3), ALWAYS_OPEN)
    robbed.rob(10, Habit("once"))

    robbed.play()

    assert robbed.theft is not None
    record = robbed.theft.record()
    assert record is not None
    assert record.fate is Fate.CUT_SHORT
    assert robbed.false_logouts == 1
