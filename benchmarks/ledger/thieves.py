"""Thieves: what each does with a copied token, and what becomes of him."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from .days import HOUR

__all__ = ["HABITS", "Exchange", "Fate", "Habit", "Record", "Theft"]


@dataclass(frozen=True)
class Habit:
    """When a thief presents his copy. He is quick: his exchanges are never lost nor slow."""

    name: str
    pauses: tuple[float, float] | None = None
    """Seconds from one exchange to the next, at least and at most. Without it he comes once."""
    keeps_answers: bool = True
    only_while_victim_sleeps: bool = False
    listens: bool = False
    """He copies a request under way and presents its token at once."""
    follows: bool = False
    """He presents his copy right after each exchange of the victim, at no other time."""


OWN_TIMES: Final = (1 * HOUR, 12 * HOUR)

HABITS: Final = (
    Habit("once, at once"),
    Habit("at his own times", OWN_TIMES),
    Habit("every minute", (60, 60)),
    Habit("while the victim sleeps", (300, 900), only_while_victim_sleeps=True),
    Habit("every few minutes, throwing answers away", (60, 600), keeps_answers=False),
    Habit("at the end of every window, throwing answers away", (31, 31), keeps_answers=False),
    Habit("with a request under way, then at his own times", OWN_TIMES, listens=True),
    Habit("right after the victim", follows=True),
)


class Fate(StrEnum):
    """What became of a theft by the end of the month."""

    SEEN = "seen"
    """The session ended because he was refused, or because he had made the victim be refused."""
    ONE_AWAY = "one away"
    """He or the victim did not come back often enough for the two to collide."""
    IN_STEP = "in step"
    """He was answered only inside windows that the victim had opened."""
    CUT_SHORT = "cut short"
    """The session ended by mistake: he had done nothing since the victim got the token it held."""
    STAYED = "stayed"
    """With tokens that differ, both were served side by side; or the victim was put off for ever.
    Whatever came of it later, this must not be.
    """


class Record(NamedTuple):
    """A line of the ledger."""

    habit: str
    fate: Fate
    exchanges: int
    """How many exchanges of the thief were answered."""
    seconds: float
    """From his first exchange to the end of the session, if it was seen."""


class Exchange(NamedTuple):
    """An exchange that the session survived. Without a token handed out, it is to be repeated."""

    by_thief: bool
    token: int
    handed_out: int | None
    jar: int
    """What the victim holds at that time."""
    window: int
    """When the latest window was opened."""
    opens: bool
    """Whether this very exchange opened it."""


TOO_OFTEN: Final = 4
"""In three windows running even a good rule may put a client off, or serve a thief as well."""


@dataclass
class Theft:
    """One theft, as somebody sees it who knows who is who."""

    habit: Habit
    copy: int
    began: float | None = None
    """When he first presented his copy."""
    last_came: float = -1.0
    seen: float | None = None
    cut_short: bool = False
    exchanges: int = 0
    _opened_a_window: bool = False
    _stayed: bool = False
    _victim_served_in: int | None = None
    _thiefs_turn: bool = False
    _side_by_side: int = 0
    """How often, since their tokens parted, the victim was served in another window than the last
    time, and after that the thief.
    """
    _put_off_in: set[int] = field(default_factory=set)
    """The windows in which the victim has been put off since it was last served."""

    def come(self, now: float) -> None:
        """He presents his copy."""
        self.last_came = now
        if self.began is None:
            self.began = now

    def note(self, exchange: Exchange) -> None:
        """Whoever made it."""
        if exchange.by_thief:
            self._note_thief(exchange)
        else:
            self._note_victim(exchange)
        too_often = max(self._side_by_side, len(self._put_off_in)) >= TOO_OFTEN
        self._stayed = self._stayed or too_often

    def _note_thief(self, exchange: Exchange) -> None:
        if exchange.handed_out is None:
            return
        self.exchanges += 1
        self._opened_a_window |= exchange.opens
        if exchange.jar in {self.copy, exchange.handed_out}:
            self._meet()
        elif self._thiefs_turn:
            self._side_by_side += 1
            self._thiefs_turn = False

    def _note_victim(self, exchange: Exchange) -> None:
        if exchange.handed_out is None:
            self._put_off_in.add(exchange.window)
            return
        self._put_off_in.clear()
        if self.copy in {exchange.jar, exchange.handed_out}:
            self._meet()
        elif exchange.window != self._victim_served_in and not self._thiefs_turn:
            self._victim_served_in = exchange.window
            self._thiefs_turn = True

    def note_jar(self, jar: int) -> None:
        """The victim holds this token now."""
        if jar == self.copy:
            self._meet()

    def _meet(self) -> None:
        """The two hold one token, and nobody can tell them apart by it: all begins anew."""
        self._victim_served_in = None
        self._thiefs_turn = False
        self._side_by_side = 0

    def record(self) -> Record | None:
        """Nothing, if he never presented his copy."""
        if self.began is None:
            return None
        seconds = 0.0 if self.seen is None else self.seen - self.began
        return Record(self.habit.name, self._fate(), self.exchanges, seconds)

    def _fate(self) -> Fate:
        if self._stayed:
            return Fate.STAYED
        if self.seen is not None:
            return Fate.SEEN
        if self.cut_short:
            return Fate.CUT_SHORT
        return Fate.ONE_AWAY if self._opened_a_window else Fate.IN_STEP
