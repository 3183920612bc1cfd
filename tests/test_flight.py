"""One answer for all who ask for the same at once."""

from __future__ import annotations

import asyncio

import pytest

from keyturn.flight import Flight


async def test_all_aboard_are_told_but_for_those_who_left() -> None:
    """Of what came of it, whoever joined when."""
    flight: Flight[str] = Flight(lambda: None)
    leaving, *staying = [flight.join() for _ in range(3)]
    leaving.cancel()
    before = flight.done()
    flight.set_result("here")

    assert (before, flight.done()) == (False, True)
    assert [answer.result() for answer in staying] == ["here", "here"]
    assert leaving.cancelled()


async def test_all_aboard_are_told_of_a_failure_but_for_those_who_left() -> None:
    """And nobody aboard is no error that nobody saw."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    flight: Flight[str] = Flight(lambda: None)
    leaving, *staying = [flight.join() for _ in range(3)]
    leaving.cancel()
    flight.set_exception(OSError("lost"))
    Flight[str](lambda: None).set_exception(OSError("lost with nobody aboard"))

    assert [str(answer.exception()) for answer in staying] == ["lost", "lost"]
    assert leaving.cancelled()
    assert complaints == []


async def test_nobody_can_join_one_that_has_ended() -> None:
    """They would wait for ever."""
    flight: Flight[str] = Flight(lambda: None)
    flight.set_result("here")

    with pytest.raises(RuntimeError, match="another is needed"):
        flight.join()


@pytest.mark.parametrize("well", [True, False])
async def test_who_is_told_asks_for_another(*, well: bool) -> None:
    """By the time that anybody hears of the end, it has been announced."""
    ends: list[str] = []
    flight: Flight[str] = Flight(lambda: ends.append("announced"))
    answer = flight.join()
    answer.add_done_callback(lambda _: ends.append("heard"))
    if well:
        flight.set_result("here")
    else:
        flight.set_exception(OSError("lost"))
    announced = list(ends)
    await asyncio.wait([answer])

    assert (announced, ends) == (["announced"], ["announced", "heard"])
    assert (answer.exception() is None) == well
