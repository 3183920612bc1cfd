"""The ledger as people read it: a table and a picture."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from benchmarks.ledger.fleet import Fleet, Ledger
from benchmarks.ledger.plot import plot
from benchmarks.ledger.report import report
from benchmarks.ledger.thieves import HABITS, Fate, Record

SVG = "{http://www.w3.org/2000/svg}"
HALF = Fleet(devices=500)
"""So every count is shown twice as large."""


@pytest.fixture
def ledgers() -> list[Ledger]:
    once, own_times = HABITS[0].name, HABITS[1].name
    thefts = [
        Record(own_times, Fate.SEEN, 2, 3600.0),
        Record(own_times, Fate.SEEN, 4, 10_800.0),
        Record(once, Fate.ONE_AWAY, 1, 0.0),
        Record(own_times, Fate.STAYED, 9, 0.0),
    ]
    return [
        Ledger("ours", HALF),
        Ledger("theirs", HALF, false_logouts=600, slow_logouts=3, thefts=thefts),
    ]


def test_the_table_counts_per_thousand_device_months(ledgers: list[Ledger]) -> None:
    """One column for each rule; a month without thefts has nothing to tell of them."""
    rows = {line[:52].strip(): line[52:].split("  ") for line in report(ledgers).splitlines()}
    shown = {label: [cell.strip() for cell in row if cell] for label, row in rows.items()}

    assert shown[""] == ["ours", "theirs"]
    assert shown["false logouts"] == ["0", "1,200"]
    assert shown["logouts after a slow round trip"] == ["0", "6"]
    assert shown["seen"] == ["0", "4"]
    assert shown["stayed"] == ["0", "2"]
    assert shown["thief's exchanges until seen: median (most)"] == ["-", "2 (4)"]
    assert shown["hours until seen: median (most)"] == ["-", "2.0 (3.0)"]
    assert shown["at his own times"] == ["0 of 0", "4 of 6"]


def test_the_picture_is_a_document(ledgers: list[Ledger]) -> None:
    """It can be parsed, names every rule, and nothing in it lies outside."""
    picture = ET.fromstring(plot(ledgers))

    _, _, wide, high = map(float, picture.attrib["viewBox"].split())
    words = [text.text for text in picture.iter(f"{SVG}text")]
    assert {"ours", "theirs", "0", "1 200", *Fate} <= set(words)
    for each in picture.iter(f"{SVG}rect"):
        box = {name: float(each.get(name, 0)) for name in ("x", "y", "width", "height")}
        assert box["x"] + box["width"] <= wide
        assert box["y"] + box["height"] <= high


def test_no_logout_is_no_bar(ledgers: list[Ledger]) -> None:
    """And many are a long one."""
    picture = ET.fromstring(plot(ledgers))

    ours, theirs = (float(bar.get("width", 0)) for bar in _bars(picture, "logouts"))
    assert ours == 0
    assert theirs > 50


def test_the_fates_fill_their_bar(ledgers: list[Ledger]) -> None:
    """Each has the share of its thefts."""
    picture = ET.fromstring(plot(ledgers))

    kinds = ("rail", "seen", "away", "stayed")
    of_theirs = [float(_bars(picture, kind)[1].get("width", 0)) for kind in kinds]
    whole = of_theirs[0]
    assert of_theirs[1:] == [whole / 2, whole / 4, whole / 4]


def _bars(picture: ET.Element, kind: str) -> list[ET.Element]:
    return [rect for rect in picture.iter(f"{SVG}rect") if rect.get("class") == kind]
