"""One device for a month: its tabs, its cookie jar, the network, and perhaps a thief.

Devices do not meet, so each has a heap of events of its own, by time. All rules see the same days
and the same theft; the network decides anew for each exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from random import Random
from typing import Any, Final, NamedTuple

from .days import Opening
from .network import Network
from .rules import ACCESS_TTL, WINDOW, Rule
from .thieves import Exchange, Habit, Theft

__all__ = ["Device"]

LONGEST_ROUND_TRIP: Final = WINDOW / 3
TIME_OUT: Final = 8.0
"""After so many seconds without an answer a tab tries again; the answer may come all the same."""
LONGEST_PAUSE: Final = 60.0
"""Between two tries of a tab, in seconds."""
ON_THE_HEELS: Final = 0.2
"""Seconds after the victim's exchange at which a thief who watches it comes."""


@dataclass(eq=False)
class Session:
    """A session with its row, and what nobody but us can know of it."""

    row: Any
    window: int = -WINDOW - 1
    """When the latest window was opened: by the first exchange after the window before."""
    theft: Theft | None = None


@dataclass(eq=False)
class Tab:
    """``turn`` counts what the tab waited for: a timer with an older one comes to nothing."""

    turn: int = 0
    failures: int = 0


class Flight(NamedTuple):
    """A request on its way, or its answer."""

    tab: Tab
    turn: int
    session: Session
    token: int
    sent_at: float
    answered_in: float | None
    """Seconds from judgement to answer; none if the answer is lost."""


@dataclass(eq=False)
class Device:
    """Plays itself to the end of the month and remembers what the ledger asks for."""

    rule: Rule
    network: Network
    until: float
    tabs: list[Tab]
    openings: Iterator[Opening]
    chance: Random
    exchanges: int = 0
    false_logouts: int = 0
    slow_logouts: int = 0
    """Those after a round trip longer than a third of the window; the others are false."""
    theft: Theft | None = None
    _now: float = 0.0
    _heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = field(
        default_factory=list
    )
    _events: int = 0
    _slow_until: float | None = None
    _closes_at: float = 0.0

    def __post_init__(self) -> None:
        self._sign_in()

    def play(self) -> None:
        """Let the month pass."""
        self._await_opening()
        heap = self._heap
        while heap:
            self._now, _, happen, what = heappop(heap)
            happen(*what)

    def _at(self, time: float, happen: Callable[..., None], *what: Any) -> None:
        if time < self.until:
            self._events += 1
            heappush(self._heap, (time, self._events, happen, what))

    def _after(self, seconds: float, happen: Callable[..., None], *what: Any) -> None:
        self._at(self._now + seconds, happen, *what)

    # The device and its tabs

    def _await_opening(self) -> None:
        opening = next(self.openings, None)
        if opening is not None:
            self._at(opening.begins, self._open, opening)

    def _open(self, opening: Opening) -> None:
        self._closes_at = opening.ends
        for tab, wake in zip(self.tabs, opening.wakes, strict=True):
            tab.turn += 1
            tab.failures = 0
            self._at(wake, self._exchange, tab, tab.turn)
        self._await_opening()

    @property
    def _asleep(self) -> bool:
        return self._now >= self._closes_at

    def _sign_in(self) -> None:
        self._session = Session(self.rule.begin(int(self._now)))
        self._jar = 0
        self._handed_out_at = self._now
        self._slow_until = None

    # The victim's exchanges

    def _exchange(self, tab: Tab, turn: int) -> None:
        if turn != tab.turn or self._asleep:
            return
        tab.turn += 1
        copies = self.network.copies(self.chance)
        if min([self._send(tab) for _ in range(copies)]) > TIME_OUT:
            self._after(TIME_OUT, self._try_again, tab, tab.turn)

    def _send(self, tab: Tab) -> float:
        """Returns the seconds until the answer comes."""
        there = self.network.delay(self.chance)
        if there is None:
            return inf
        back = self.network.delay(self.chance)
        self._note_round_trip(there + (back or 0.0))
        flight = Flight(tab, tab.turn, self._session, self._jar, self._now, back)
        self._after(there, self._judge, flight)
        return inf if back is None else there + back

    def _try_again(self, tab: Tab, turn: int) -> None:
        tab.failures += 1
        pause = min(2.0**tab.failures, LONGEST_PAUSE) * self.chance.uniform(0.5, 1.0)
        self._after(pause, self._exchange, tab, turn)

    def _judge(self, flight: Flight) -> None:
        session = flight.session
        handed_out = self._exchanged(session, flight.token, by_thief=False)
        if flight.answered_in is not None:
            self._after(flight.answered_in, self._answer, flight, handed_out, self._now)
        if session.theft is not None:
            self._attract(session, session.theft, flight.token)

    def _answer(self, flight: Flight, handed_out: int | None, judged_at: float) -> None:
        tab = flight.tab
        if self._asleep:
            return
        signed_in_anew = flight.session is not self._session
        if handed_out not in {None, flight.token} and not signed_in_anew:
            self._store(handed_out, flight.sent_at, judged_at)
        if flight.turn != tab.turn:
            return
        tab.turn += 1
        if handed_out is None and not signed_in_anew:
            self._try_again(tab, tab.turn)
        else:
            tab.failures = 0
            life = ACCESS_TTL * self.chance.uniform(0.5, 0.9)
            self._after(life, self._exchange, tab, tab.turn)

    def _store(self, token: int, sent_at: float, judged_at: float) -> None:
        self._jar = token
        self._handed_out_at = judged_at
        if self._slow_until is not None and sent_at >= self._slow_until:
            self._slow_until = None
        if self._session.theft is not None:
            self._session.theft.note_jar(token)

    def _note_round_trip(self, seconds: float) -> None:
        """A slow one counts until a token is stored whose exchange began a window after its end:
        by then it makes no difference any more.
        """
        if seconds > LONGEST_ROUND_TRIP:
            over = self._now + seconds + WINDOW
            self._slow_until = max(self._slow_until or 0.0, over)

    # The server

    def _exchanged(self, session: Session, token: int, *, by_thief: bool) -> int | None:
        """Have a token judged, whoever presents it. Returns the token handed out, if any."""
        if session.row is None:
            return None
        now = int(self._now)
        self.exchanges += 1
        session.row, handed_out = self.rule.judge(session.row, token, now)
        if session.row is None:
            self._over(session.theft, by_thief=by_thief)
            return None
        opens = handed_out is not None and now - session.window > WINDOW
        if opens:
            session.window = now
        if session.theft is not None:
            session.theft.note(
                Exchange(by_thief, token, handed_out, self._jar, session.window, opens)
            )
        return handed_out

    def _over(self, theft: Theft | None, *, by_thief: bool) -> None:
        if theft is not None and (by_thief or theft.last_came >= self._handed_out_at):
            theft.seen = self._now
        else:
            self._logged_out_by_mistake(theft)
        self._sign_in()

    def _logged_out_by_mistake(self, theft: Theft | None) -> None:
        if theft is not None:
            theft.cut_short = True
        if self._slow_until is not None:
            self.slow_logouts += 1
        else:
            self.false_logouts += 1

    # The thief

    def rob(self, time: float, habit: Habit) -> None:
        """At this time somebody copies the token in the jar."""
        self._at(time, self._steal, habit)

    def _steal(self, habit: Habit) -> None:
        self.theft = self._session.theft = Theft(habit, self._jar)
        if not (habit.listens or habit.follows):
            self._return(self._session, self.theft)

    def _attract(self, session: Session, theft: Theft, token: int) -> None:
        """The victim made an exchange that the thief may have noticed."""
        if theft.habit.listens and theft.began is None:
            theft.copy = token
            self._after(ON_THE_HEELS, self._present, session)
        elif theft.habit.follows:
            self._after(ON_THE_HEELS, self._present, session)

    def _return(self, session: Session, theft: Theft) -> None:
        if theft.habit.only_while_victim_sleeps and not self._asleep:
            self._at(self._closes_at, self._return, session, theft)
        else:
            self._present(session)

    def _present(self, session: Session) -> None:
        theft = session.theft
        if theft is None or session.row is None:
            return
        theft.come(self._now)
        handed_out = self._exchanged(session, theft.copy, by_thief=True)
        if handed_out is not None and theft.habit.keeps_answers:
            theft.copy = handed_out
            theft.note_jar(self._jar)
        if theft.habit.pauses is not None:
            pause = self.chance.uniform(*theft.habit.pauses)
            self._after(pause, self._return, session, theft)
