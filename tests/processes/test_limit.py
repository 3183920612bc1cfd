"""Twenty sign-ins of one user at once, on four processes."""

from __future__ import annotations

from typing import Final

import msgspec

from tests.processes.team import Team, team
from tests.processes.worker import MAX_SESSIONS, Answer, Pair
from tests.support import START

ROUNDS: Final = 5
PROCESSES: Final = 4
LOGINS: Final = 20 // PROCESSES  # of each
HOUR: Final = 3600
USER: Final = ("ada", "quixotic-otters")


async def left_over(processes: Team) -> list[int]:
    """After each round of sign-ins, how many of its sessions every process accepts. No process
    accepts one token of a session and not the other.
    """
    await processes.do(("register", *USER), START)
    left = []
    for now in range(START, START + ROUNDS * HOUR, HOUR):
        answers = await processes.all_do(("login_often", *USER, LOGINS), now)
        pairs = [Pair(*pair) for answer in answers for pair in answer.value]
        assert len(pairs) == 20
        tried = await processes.all_do(("try_out", *pairs), now)
        [alive] = {alive_among(answer) for answer in tried}
        left.append(len(alive))
    return left


def alive_among(tried: Answer) -> frozenset[int]:
    """Which of the pairs that were tried out are good, as numbers."""
    outcomes = msgspec.convert(tried.value, list[tuple[Answer, Answer]])
    checked = {number for number, (check, _) in enumerate(outcomes) if not check.refusal}
    exchanged = {number for number, (_, exchange) in enumerate(outcomes) if not exchange.refusal}
    assert checked == exchanged
    return frozenset(checked)


async def test_twenty_sign_ins_at_once_leave_the_limit(url: str) -> None:
    """G3: on whichever processes they were, exactly five sessions live."""
    async with team(url, size=PROCESSES) as processes:
        left = await left_over(processes)

    assert left == [MAX_SESSIONS] * ROUNDS


async def test_they_notice_a_store_that_counts_too_early(url: str) -> None:
    """The proof that they can."""
    async with team(url, "LateEviction", size=PROCESSES) as processes:
        left = await left_over(processes)

    assert max(left) > MAX_SESSIONS
