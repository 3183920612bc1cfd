"""A fleet of devices, played under one rule; and the ledger that is kept of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Final

from .days import DAY, openings
from .device import Device, Tab
from .network import Network
from .rules import Rule
from .thieves import HABITS, Habit, Record

__all__ = ["Fleet", "Ledger", "play"]

MONTH: Final = 30
"""Days."""
MOST_TABS: Final = 4


@dataclass(frozen=True)
class Fleet:
    """What is played. The same fleet always has the same days, tabs and thieves."""

    seed: int = 1
    devices: int = 1000
    days: int = MONTH
    network: Network = field(default_factory=Network)
    thieves: float = 0.1
    """The share of devices that a thief visits, in the first half of the time."""
    habits: tuple[Habit, ...] = HABITS

    @property
    def device_months(self) -> float:
        return self.devices * self.days / MONTH


@dataclass
class Ledger:
    """What happened to a fleet under a rule."""

    rule: str
    fleet: Fleet
    exchanges: int = 0
    false_logouts: int = 0
    slow_logouts: int = 0
    """Logouts after a round trip longer than a third of the window; not among the false ones."""
    thefts: list[Record] = field(default_factory=list)

    def enter(self, device: Device) -> None:
        """Add what a device remembers."""
        self.exchanges += device.exchanges
        self.false_logouts += device.false_logouts
        self.slow_logouts += device.slow_logouts
        record = device.theft and device.theft.record()
        if record:
            self.thefts.append(record)


def play(rule: Rule, fleet: Fleet) -> Ledger:
    """Let the fleet live under the rule."""
    ledger = Ledger(rule.name, fleet)
    for number in range(fleet.devices):
        device = _device(rule, fleet, number)
        device.play()
        ledger.enter(device)
    return ledger


def _device(rule: Rule, fleet: Fleet, number: int) -> Device:
    def chance(of: str) -> Random:
        return Random(f"{fleet.seed} {number} {of}")

    until = fleet.days * DAY
    tabs = [Tab() for _ in range(chance("tabs").randint(1, MOST_TABS))]
    days = openings(chance("days"), len(tabs), until)
    device = Device(rule, fleet.network, until, tabs, days, chance("network"))
    theft = chance("theft")
    if theft.random() < fleet.thieves:
        device.rob(theft.uniform(0, until / 2), theft.choice(fleet.habits))
    return device
