"""The ledger as a picture: logouts by mistake on the left, the fate of thefts on the right."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final
from xml.sax.saxutils import escape

from .fleet import Ledger
from .report import per_thousand
from .thieves import Fate

__all__ = ["plot"]

WIDTH: Final = 800
TOP: Final = 64
ROW: Final = 38
BAR: Final = 20
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
_STYLE: Final = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.head { font-weight: 600 } .own { font-weight: 600 } .small { font-size: 12px }
.page { fill: #ffffff } .rail { fill: #eaeef2 } .logouts { fill: #b35900 }
.seen { fill: #1a7f64 } .instep { fill: #8c96a0 } .away { fill: #c3cad1 } .stayed { fill: #cf222e }
.cut { fill: #d8a657 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .page { fill: #0d1117 } .rail { fill: #21262d } .logouts { fill: #e3873a }
  .seen { fill: #3fb68b } .instep { fill: #7d8590 } .away { fill: #484f58 }
  .stayed { fill: #ff7b72 } .cut { fill: #b08332 }
}
"""


def plot(ledgers: Sequence[Ledger]) -> str:
    """An SVG document, legible in light and in dark."""
    height = TOP + ROW * len(ledgers) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>Logouts by mistake and the fate of thefts, by rule</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}"/>',
        _text(LOGOUTS_AT, 26, "Logouts by mistake", "head"),
        _text(LOGOUTS_AT, 44, "per 1 000 device-months, log scale", "small"),
        _text(FATES_AT, 26, "What became of thefts", "head"),
        _text(FATES_AT, 44, "as shares of those begun", "small"),
    ]
    for number, ledger in enumerate(ledgers):
        parts.extend(_row(ledger, TOP + ROW * number, own=number == 0))
    parts.extend(_legend(TOP + ROW * len(ledgers) + 10))
    return "\n".join([*parts, "</svg>", ""])


def _row(ledger: Ledger, y: int, *, own: bool) -> Iterator[str]:
    kind = "own" if own else ""
    yield _text(12, y + 15, ledger.rule, kind)
    logouts = per_thousand(ledger, ledger.false_logouts)
    wide = LOGOUTS_WIDE * math.log10(1 + logouts) / math.log10(1 + MOST_LOGOUTS)
    yield _bar(LOGOUTS_AT, y, wide, "logouts")
    yield _text(LOGOUTS_AT + wide + 6, y + 15, f"{logouts:,}".replace(",", " "), kind)
    fates = Counter(theft.fate for theft in ledger.thefts)
    yield _bar(FATES_AT, y, FATES_WIDE, "rail")
    x = float(FATES_AT)
    for fate, shade in _SHADES.items():
        wide = FATES_WIDE * fates[fate] / max(len(ledger.thefts), 1)
        yield _bar(x, y, wide, shade)
        x += wide


def _legend(y: int) -> Iterator[str]:
    x = LEGEND_AT
    for fate, shade in _SHADES.items():
        yield f'<rect class="{shade}" x="{x}" y="{y}" width="12" height="12"/>'
        yield _text(x + 18, y + 11, fate, "small")
        x += LEGEND_STEP


def _bar(x: float, y: int, wide: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{BAR}"/>'


def _text(x: float, y: int, words: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y}">{escape(words)}</text>'
