"""Lines before a door, whoever joins and leaves them."""

from __future__ import annotations

import asyncio
from typing import Final

import hypothesis.strategies as st
from hypothesis import given

from keyturn.accounts.lines import Lines
from keyturn.core.errors import Unavailable

ROOM: Final = 4
DEEDS: Final = st.one_of(
    st.tuples(st.just("join"), st.sampled_from("abc")),
    st.tuples(st.sampled_from(["leave", "cancel"]), st.integers(0, ROOM)),
    st.tuples(st.just("call"), st.none()),
)


class Queue:
    """Lines, beside what must hold of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.lines = Lines(ROOM)
        self.there: list[tuple[str, asyncio.Future[None]]] = []

    def join(self, asker: str) -> None:
        turn, before = self.loop.create_future(), self.longest()
        try:
            self.lines.join(asker, turn)
        except Unavailable:
            assert self.lines.waiting == ROOM
            assert before < self.length(asker) + 2
        else:
            self.there.append((asker, turn))
        self.forget_the_refused()

    def leave(self, place: int) -> None:
        if place < len(self.there):
            self.lines.leave(*self.there.pop(place))

    def cancel(self, place: int) -> None:
        """As a task does whose turn it was: it leaves a little later."""
        if place < len(self.there):
            asker, turn = self.there.pop(place)
            turn.cancel()
            self.lines.call_next()
            self.lines.leave(asker, turn)
            self.forget_the_called()

    def call(self, _: None) -> None:
        firsts = dict(reversed(self.there))
        assert self.lines.call_next() == bool(self.there)
        assert not self.there or sum(turn.done() for turn in firsts.values()) == 1
        self.forget_the_called()

    def longest(self) -> int:
        return max(map(self.length, "abc"))

    def length(self, asker: str) -> int:
        return sum(each == asker for each, _ in self.there)

    def forget_the_refused(self) -> None:
        refused = [(a, turn) for a, turn in self.there if turn.done() and turn.exception()]
        assert len(refused) <= 1
        self.there = [each for each in self.there if each not in refused]

    def forget_the_called(self) -> None:
        self.there = [(asker, turn) for asker, turn in self.there if not turn.done()]


async def test_who_gave_up_a_moment_ago_makes_room_like_others() -> None:
    """F9: it is still in its line."""
    loop = asyncio.get_running_loop()
    first, last, newcomer = (loop.create_future() for _ in range(3))
    lines = Lines(2)
    for turn in (first, last):
        lines.join("a", turn)
    last.cancel()
    lines.join("b", newcomer)
    lines.leave("a", last)

    assert lines.waiting == 2
    assert lines.call_next()
    assert lines.call_next()
    assert first.done()
    assert newcomer.done()


@given(st.lists(DEEDS, max_size=60))
def test_nobody_is_lost_or_called_twice(deeds: list[tuple[str, object]]) -> None:
    """F9: as many wait as joined and have neither left nor been called, and all come through."""
    loop = asyncio.new_event_loop()
    queue = Queue(loop)
    for deed, what in deeds:
        getattr(queue, deed)(what)
        assert queue.lines.waiting == len(queue.there) <= ROOM
    while queue.there:
        queue.call(None)
    loop.close()

    assert queue.lines.waiting == 0
    assert not queue.lines.call_next()
