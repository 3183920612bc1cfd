"""Pictures show what the tables say, and stay on the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from xml.etree import ElementTree as ET

import msgspec
import pytest
from benchmarks.comparison import Compared, Row, compared
from benchmarks.pictures import cpu, latency

from tests.benchmarks.loads import MEASURE, row

SVG = "{http://www.w3.org/2000/svg}"


def _taking(contender: str, p50_ms: float, p99_ms: float) -> Row:
    """As ``row``, with answers that take so long."""
    usual = row(contender)
    load = msgspec.structs.replace(usual.cost.load, p50_ms=p50_ms, p99_ms=p99_ms)
    return msgspec.structs.replace(usual, cost=msgspec.structs.replace(usual.cost, load=load))


def _bars(picture: ET.Element, kind: str) -> list[ET.Element]:
    return [rect for rect in picture.iter(f"{SVG}rect") if rect.get("class") == kind]


def _wide(bar: ET.Element) -> float:
    return float(bar.get("width", 0))


@pytest.mark.parametrize("draw", [cpu, latency])
def test_everything_is_on_the_page(draw: Callable[[str, Sequence[Compared]], str]) -> None:
    """Also what takes a hundred times as long as another."""
    rows = [row(), _taking("quick & small", 0.2, 0.9), _taking("slow", 40, 999)]
    picture = ET.fromstring(draw("an exchange", compared(rows, "exchange")))

    _, _, wide, high = map(float, picture.attrib["viewBox"].split())
    words = {text.text for text in picture.iter(f"{SVG}text")}
    assert {MEASURE, "quick & small", "slow"} <= words
    for each in picture.iter(f"{SVG}rect"):
        box = {name: float(each.get(name, 0)) for name in ("x", "y", "width", "height")}
        assert box["x"] + box["width"] <= wide
        assert box["y"] + box["height"] <= high


@pytest.mark.parametrize("draw", [cpu, latency])
def test_nobody_is_a_picture_too(draw: Callable[[str, Sequence[Compared]], str]) -> None:
    """Of a run in which nothing may be quoted."""
    assert ET.fromstring(draw("an exchange", [])).get("role") == "img"


def test_bars_are_as_long_as_what_they_cost() -> None:
    """The database's behind the server's, on one scale for all."""
    rows = [row(server_us=100, database_us=50), row("other", server_us=500, database_us=100)]
    picture = ET.fromstring(cpu("an exchange", compared(rows, "exchange")))

    server, database = _bars(picture, "server"), _bars(picture, "database")
    unit = _wide(server[0]) / 100
    assert _wide(server[1]) == pytest.approx(500 * unit, abs=0.2)
    assert _wide(database[1]) == pytest.approx(100 * unit, abs=0.2)
    ends = float(server[1].get("x", 0)) + _wide(server[1])
    assert float(database[1].get("x", 0)) == pytest.approx(ends, abs=0.2)


def test_where_too_few_answered_the_middle_alone_is_drawn() -> None:
    """What is not known has no end that could be shown."""
    few = _taking("few", 5, 99)
    load = msgspec.structs.replace(few.cost.load, answers=300)
    few = msgspec.structs.replace(few, cost=msgspec.structs.replace(few.cost, load=load))
    picture = ET.fromstring(latency("an exchange", compared([few], "exchange")))

    words = {text.text for text in picture.iter(f"{SVG}text")}
    assert "5.0" in words
    assert [_wide(each) for each in _bars(picture, "range")] == [2]


def test_ranges_are_as_long_as_their_ratio() -> None:
    """From 1 to 10 as from 10 to 100, as the scale is a logarithmic one."""
    rows = [_taking(MEASURE, 1, 10), _taking("other", 10, 100)]
    picture = ET.fromstring(latency("an exchange", compared(rows, "exchange")))

    first, second = _bars(picture, "range")
    assert _wide(first) == pytest.approx(_wide(second), abs=0.2)
    ends = float(first.get("x", 0)) + _wide(first)
    assert float(second.get("x", 0)) == pytest.approx(ends, abs=0.2)
