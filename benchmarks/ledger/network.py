"""The way between a client and the server: it loses, delays and repeats."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

__all__ = ["Network"]


@dataclass(frozen=True)
class Network:
    """Delays are seconds, one way, and follow a Pareto distribution: most are short, few are very
    long. With the default, two round trips in a thousand take more than ten seconds.
    """

    lost: float = 0.05
    """The share of requests, and of answers, that never arrive."""
    repeated: float = 0.02
    """The share of requests that a proxy sends twice."""
    shortest: float = 0.05
    tail: float = 1.3
    """The exponent: the smaller, the longer the tail."""
    longest: float = 60.0

    def copies(self, chance: Random) -> int:
        """How many requests become of one."""
        return 2 if chance.random() < self.repeated else 1

    def delay(self, chance: Random) -> float | None:
        """Of one request or one answer; none if it is lost."""
        if chance.random() < self.lost:
            return None
        return min(self.shortest * chance.paretovariate(self.tail), self.longest)
