"""A month of a fleet under Keyturn's rule and under four others: who is logged out by mistake, and
what becomes of thieves. Prints the ledger and draws ``docs/ledger.svg``; docs/ledger.md explains.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.measure import heading

from .fleet import Fleet, play
from .plot import plot
from .report import report
from .rules import RULES

__all__ = ["run"]

PICTURE = Path(__file__).parents[2] / "docs" / "ledger.svg"


def run() -> None:
    fleet = Fleet()
    heading(f"{fleet.devices} devices for {fleet.days} days, per 1 000 device-months")
    ledgers = [play(rule, fleet) for rule in RULES]
    print(report(ledgers))
    PICTURE.write_text(plot(ledgers))
