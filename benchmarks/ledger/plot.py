"""The ledger as a picture: logouts by mistake on the left, the fate of thefts on the right."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from benchmarks.drawing import bar, document, swatch, words

from .fleet import Ledger
from .report import per_thousand
from .thieves import Fate

__all__ = ["plot"]

WIDTH: Final = 800
TOP: Final = 64
ROW: Final = 38
LOGOUTS_AT: Final = 180
LOGOUTS_WIDE: Final = 180
FATES_AT: Final = 436
FATES_WIDE: Final = 344
MOST_LOGOUTS: Final = 100_000
LEGEND_AT: Final = 300
LEGEND_STEP: Final = 100

_SHADES: Final = {
    Fate.SEEN: "seen",
    Fate.ONE_AWAY: "away",
    Fate.IN_STEP: "instep",
    Fate.CUT_SHORT: "cut",
    Fate.STAYED: "stayed",
}
_LIGHT: Final = """.logouts { fill: #b35900 }
.seen { fill: #1a7f64 } .instep { fill: #8c96a0 } .away { fill: #c3cad1 } .stayed { fill: #cf222e }
.cut { fill: #d8a657 }"""
_DARK: Final = """.logouts { fill: #e3873a }
  .seen { fill: #3fb68b } .instep { fill: #7d8590 } .away { fill: #484f58 }
  .stayed { fill: #ff7b72 } .cut { fill: #b08332 }"""


def plot(ledgers: Sequence[Ledger]) -> str:
    """An SVG document, legible in light and in dark."""
    parts = [
        words(LOGOUTS_AT, 26, "Logouts by mistake", "head"),
        words(LOGOUTS_AT, 44, "per 1 000 device-months, log scale", "small"),
        words(FATES_AT, 26, "What became of thefts", "head"),
        words(FATES_AT, 44, "as shares of those begun", "small"),
    ]
    for number, ledger in enumerate(ledgers):
        parts.extend(_row(ledger, TOP + ROW * number, own=number == 0))
    parts.extend(_legend(TOP + ROW * len(ledgers) + 10))
    return document(
        "Logouts by mistake and the fate of thefts, by rule",
        parts,
        width=WIDTH,
        height=TOP + ROW * len(ledgers) + 40,
        light=_LIGHT,
        dark=_DARK,
    )


def _row(ledger: Ledger, y: int, *, own: bool) -> Iterator[str]:
    kind = "own" if own else ""
    yield words(12, y + 15, ledger.rule, kind)
    logouts = per_thousand(ledger, ledger.false_logouts)
    wide = LOGOUTS_WIDE * math.log10(1 + logouts) / math.log10(1 + MOST_LOGOUTS)
    yield bar(LOGOUTS_AT, y, wide, "logouts")
    yield words(LOGOUTS_AT + wide + 6, y + 15, f"{logouts:,}".replace(",", " "), kind)
    fates = Counter(theft.fate for theft in ledger.thefts)
    yield bar(FATES_AT, y, FATES_WIDE, "rail")
    x = float(FATES_AT)
    for fate, shade in _SHADES.items():
        wide = FATES_WIDE * fates[fate] / max(len(ledger.thefts), 1)
        yield bar(x, y, wide, shade)
        x += wide


def _legend(y: int) -> Iterator[str]:
    x = LEGEND_AT
    for fate, shade in _SHADES.items():
        yield swatch(x, y, shade, fate)
        x += LEGEND_STEP
