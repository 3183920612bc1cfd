"""What a piece takes is told by difference, and the pieces make the whole."""

from __future__ import annotations

import pytest
from benchmarks.layers import LEAVES
from benchmarks.pieces import shown_pieces, taken_apart

_ROUND = {
    "turn in memory": 60.0, "turn": 90.0, "turn at endpoints": 110.0, "turn at app": 125.0,
    "turn over HTTP": 160.0, "live exchange": 180.0, "seen": 1.0, "unseen": 80.0,
    "check at endpoints": 7.0, "check at app": 12.0, "check over HTTP": 35.0, "live check": 45.0,
    "asking": 5.0, **dict.fromkeys(LEAVES, 4.0),
}  # fmt: skip


@pytest.mark.parametrize(("asked", "whole"), [("exchange", 180), ("check", 45)])
def test_the_pieces_make_what_the_live_server_takes(asked: str, whole: float) -> None:
    """None is counted twice, and none is lost."""
    pieces = [each for each in taken_apart([_ROUND]) if each.asked == asked and not each.of]

    assert sum(each.cpu_us[0] for each in pieces) == whole


def test_what_asking_takes_is_no_piece_of_the_server() -> None:
    """It is in the process of the layers, and not in HTTP's piece, but in nobody's."""
    found = {(each.asked, each.what): each.cpu_us for each in taken_apart([_ROUND])}

    assert [figures[0] for (_, what), figures in found.items() if what.startswith("HTTP")] == [
        160 - 125 - 5,
        35 - 12 - 5,
    ]


def test_parts_make_their_piece() -> None:
    """What is not timed alone is told as the rest."""
    pieces = [each for each in taken_apart([_ROUND]) if each.asked == "exchange"]

    assert sum(each.cpu_us[0] for each in pieces if each.of == pieces[0].what) == 60


def test_shares_of_the_pieces_make_a_hundred() -> None:
    """Also where the rounds differ, and each piece is largest in another one of them."""
    rounds = [
        {**_ROUND, "turn": 100.0}, {**_ROUND, "live exchange": 300.0},
        {**_ROUND, "turn in memory": 20.0, "turn over HTTP": 130.0},
    ]  # fmt: skip
    exchange, _, _ = shown_pieces(taken_apart(rounds)).partition("### An authenticated")

    lines = [line.strip("| ").split(" | ") for line in exchange.splitlines() if "%" in line]
    shares = {name: int(share.removesuffix(" %")) for name, _, share in lines}
    assert shares.pop("**all**") == 100
    pieces = [share for name, share in shares.items() if not name.startswith("—")]
    assert sum(pieces) == pytest.approx(100, abs=len(pieces) / 2)


def test_a_table_tells_shares_of_the_whole() -> None:
    """And no share of what is not in it: a token is seen before, or it is not."""
    shown = shown_pieces(taken_apart([_ROUND]))

    assert "| Sessions, on a store in memory | 60.0 (60.0 to 60.0) | 33 % |" in shown
    assert "| — or, where it was not | 80.0 (80.0 to 80.0) | - |" in shown
    assert "| **all** | 45.0 (45.0 to 45.0) | 100 % |" in shown
