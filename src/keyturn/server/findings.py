"""What the doctor tells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

__all__ = ["SECONDS_APART", "Finding", "look"]

SECONDS_APART: Final = 2
"""How far the clocks of servers may be apart before it is worth telling."""


class Finding(NamedTuple):
    """Something that was looked at. ``advice`` says what to change; without it all is well."""

    subject: str
    advice: str = ""
    minor: bool = False
    """Whether it may stay as it is."""

    @property
    def state(self) -> Literal["ok", "note", "wrong"]:
        """In a word."""
        if not self.advice:
            return "ok"
        return "note" if self.minor else "wrong"


def look(subject: str, advice: Iterable[str], notes: Iterable[str] = ()) -> list[Finding]:
    """What is to be said of a subject: that it is well, if nothing else."""
    findings = [
        *(Finding(subject, each) for each in advice),
        *(Finding(subject, each, minor=True) for each in notes),
    ]
    return findings or [Finding(subject)]
