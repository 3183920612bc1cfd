"""Breadth first through every history of a machine, by the number of exchanges in it.

A machine is a world to begin with and the steps out of a world. Worlds that differ only in the
numbers of their tokens are made equal by ``canonical``: so a search ends although histories do not.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, NamedTuple, Protocol, TypeVar

from keyturn.core.rotation import Verdict

W = TypeVar("W")

UNLIMITED = 10**9


class Act(StrEnum):
    """What can happen next."""

    SEND = "send"
    LOSE_REQUEST = "lose request"
    JUDGE = "judge"
    LOSE_ANSWER = "lose answer"
    STORE = "store"
    FALL_BACK = "fall back"
    TICK = "tick"
    STEAL = "steal"
    THIEF = "thief"


_BEGINS_AN_EXCHANGE = frozenset({Act.SEND, Act.THIEF})


class Step(NamedTuple, Generic[W]):
    """One event, and the world after it: none where the session is over."""

    act: Act
    world: W | None
    token: int = 0
    """The token that is sent, presented or stored; the generation fallen back to."""
    age: int = 0
    """Ticks since the exchange in question was sent."""
    clock: int = 0
    """How far ahead the clock of the judging node is."""
    verdict: Verdict | None = None
    handed_out: int | None = None
    kept: int = 0
    """What the thief holds afterwards."""


class Machine(Protocol[W]):
    """Something with histories, and a claim about all of them."""

    def start(self) -> W: ...

    def steps(self, world: W) -> Iterator[Step[W]]:
        """What can happen next, in an order that does not depend on the numbers of tokens."""

    def canonical(self, world: W) -> W:
        """Number the tokens anew, without changing which is older than which."""

    def breaks_the_claim(self, step: Step[W]) -> bool: ...


@dataclass(frozen=True)
class Outcome:
    """What a search has seen."""

    states: int
    verdicts: frozenset[Verdict]
    failure: str | None
    """The shortest history that breaks the claim, one event a line."""
    exchanges: int
    """How many exchanges the failure takes; without one, the most that reach a new state."""

    def __str__(self) -> str:
        if self.failure is None:
            return f"holds: {self.states} states, none new beyond {self.exchanges} exchanges"
        return f"fails with {self.exchanges} exchanges ({self.states} states):\n{self.failure}"


class _Origin(NamedTuple, Generic[W]):
    world: W
    choice: int


def explore(machine: Machine[W], *, most_exchanges: int = UNLIMITED) -> Outcome:
    """Search until the claim breaks, or no history within the bound reaches a new state."""
    start = machine.canonical(machine.start())
    origins: dict[W, _Origin[W] | None] = {start: None}
    verdicts: set[Verdict] = set()
    level, exchanges = [start], 0
    while True:
        next_level: list[W] = []
        for world in level:  # grows while it is read: what happens without another exchange
            for choice, step in enumerate(machine.steps(world)):
                another_exchange = step.act in _BEGINS_AN_EXCHANGE
                if another_exchange and exchanges == most_exchanges:
                    continue
                if step.verdict is not None:
                    verdicts.add(step.verdict)
                if machine.breaks_the_claim(step):
                    choices = [*_choices_to(world, origins), choice]
                    failure = tell(_replay(machine, choices))
                    exchanges += another_exchange
                    return Outcome(len(origins), frozenset(verdicts), failure, exchanges)
                if step.world is None or step.world in origins:
                    continue
                reached = machine.canonical(step.world)
                if reached not in origins:
                    origins[reached] = _Origin(world, choice)
                    (next_level if another_exchange else level).append(reached)
        if not next_level:
            return Outcome(len(origins), frozenset(verdicts), None, exchanges)
        level, exchanges = next_level, exchanges + 1


def _choices_to(world: W, origins: dict[W, _Origin[W] | None]) -> list[int]:
    choices = []
    while (origin := origins[world]) is not None:
        choices.append(origin.choice)
        world = origin.world
    return choices[::-1]


def _replay(machine: Machine[W], choices: list[int]) -> Iterator[Step[W]]:
    """Take the same steps again with the tokens numbered as they truly are: by generation."""
    world = machine.start()
    for choice in choices:
        step = list(machine.steps(world))[choice]
        yield step
        if step.world is not None:
            world = step.world


_SENTENCES = {
    Act.SEND: "the client sends token {token}",
    Act.LOSE_REQUEST: "the request of tick {sent} with token {token} is lost",
    Act.JUDGE: "token {token}, sent at tick {sent}, is judged{node}: {verdict}{hands_out}",
    Act.LOSE_ANSWER: "the answer to the request of tick {sent}, token {token}, is lost",
    Act.STORE: "the answer to the request of tick {sent}, token {token}, reaches the client",
    Act.FALL_BACK: "the store falls back to generation {token}",
    Act.STEAL: "the thief copies token {token}",
    Act.THIEF: "the thief presents token {token}: {verdict}{hands_out}{keeps}",
}


def tell(history: Iterable[Step[W]]) -> str:
    """The history in lines for people."""
    lines, now = [], 0
    for step in history:
        if step.act is Act.TICK:
            now += 1
            continue
        sentence = _SENTENCES[step.act].format(
            token=step.token,
            sent=now - step.age,
            node=f" by a node {step.clock} ahead" if step.clock else "",
            verdict=step.verdict,
            hands_out="" if step.handed_out is None else f", hands out {step.handed_out}",
            keeps="" if step.world is None else f", he keeps {step.kept}",
        )
        lines.append(f"    tick {now:2}  {sentence}")
    return "\n".join(lines)
