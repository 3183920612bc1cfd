"""The comparison as pictures: CPU by contender, and how long answers take."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from .comparison import Compared
from .drawing import bar, document, swatch, words

__all__ = ["cpu", "latency"]

WIDTH: Final = 800
TOP: Final = 64
ROW: Final = 32
FIGURES_AT: Final = 285
FIGURES_WIDE: Final = 365
FOOT: Final = 44

_LIGHT: Final = """.server { fill: #0969da } .database { fill: #b35900 }
.range { fill: #0969da } .grid { stroke: #d1d9e0 }"""
_DARK: Final = """.server { fill: #4493f8 } .database { fill: #e3873a }
  .range { fill: #4493f8 } .grid { stroke: #3d444d }"""


def cpu(what: str, lines: Sequence[Compared]) -> str:
    """What each of them spends on one answer, by the server and by the database."""
    title = f"CPU of {what}"
    longest = max((sum(_spent(each)) for each in lines), default=0) or 1
    parts = [
        *_heads(
            title,
            "of server and database; and as a multiple of Keyturn's on PostgreSQL, behind uvicorn",
        )
    ]
    for number, each in enumerate(lines):
        parts.extend(_cpu_row(each, TOP + ROW * number, FIGURES_WIDE / longest))
    foot = TOP + ROW * len(lines) + 10
    parts.append(swatch(FIGURES_AT, foot, "server", "server"))
    parts.append(swatch(FIGURES_AT + 100, foot, "database", "database"))
    return _document(title, parts, len(lines))


def _cpu_row(each: Compared, y: int, scale: float) -> Iterator[str]:
    kind = _kind(each)
    server, database = _spent(each)
    yield words(12, y + 15, each.contender, kind)
    yield bar(FIGURES_AT, y, server * scale, "server")
    yield bar(FIGURES_AT + server * scale, y, database * scale, "database")
    end = FIGURES_AT + (server + database) * scale
    ratio = "" if each.ratio is None else f", {each.ratio.median:.2f}\N{MULTIPLICATION SIGN}"
    yield words(end + 6, y + 15, f"{_shown(server + database)} µs{ratio}", kind)


def _spent(each: Compared) -> tuple[float, float]:
    return (
        each.median(lambda row: row.cost.server_us),
        each.median(lambda row: row.cost.database_us),
    )


def latency(what: str, lines: Sequence[Compared]) -> str:
    """From the median to the 99th of a hundred, if that is known, on a logarithmic scale."""
    title = f"How long {what} takes"
    ranges = [(each, each.median(lambda row: row.cost.load.p50_ms), each.p99_ms) for each in lines]
    least, most = _decades([figure for _, *ends in ranges for figure in ends if figure])
    scale = FIGURES_WIDE / (most - least)

    def x(ms: float) -> float:
        return FIGURES_AT + scale * (math.log10(ms) - least)

    parts = [*_heads(title, _HOW_LATE)]
    bottom = TOP + ROW * len(lines)
    for decade in range(least, most + 1):
        parts.extend(_grid(x(10.0**decade), bottom, _label(decade)))
    for number, (each, median, late) in enumerate(ranges):
        y, kind = TOP + ROW * number, _kind(each)
        end = x(late) if late else x(median) + 2
        told = f"{median:.1f} to {late:.1f}" if late else f"{median:.1f}"
        parts.append(words(12, y + 15, each.contender, kind))
        parts.append(bar(x(median), y, end - x(median), "range"))
        parts.append(words(end + 6, y + 15, told, kind))
    return _document(title, parts, len(lines))


_HOW_LATE: Final = (
    "milliseconds, from the median to the 99th of a hundred where enough were counted; log scale"
)


def _decades(figures: Sequence[float]) -> tuple[int, int]:
    """The powers of ten around all of them."""
    if not figures:
        return 0, 1
    least = math.floor(math.log10(min(figures)))
    return least, max(math.ceil(math.log10(max(figures))), least + 1)


def _grid(x: float, bottom: int, label: str) -> Iterator[str]:
    yield f'<path class="grid" d="M{x:.1f} {TOP - 8}V{bottom}"/>'
    yield words(x - 4, bottom + 16, label, "small")


def _heads(title: str, unit: str) -> Iterator[str]:
    yield words(12, 26, title, "head")
    yield words(12, 44, unit, "small")


def _label(decade: int) -> str:
    return _shown(10.0**decade) if decade >= 0 else f"{10.0**decade:g}"


def _kind(each: Compared) -> str:
    return "own" if each.contender.startswith("Keyturn") else ""


def _shown(figure: float) -> str:
    return f"{figure:,.0f}".replace(",", " ")


def _document(title: str, parts: Sequence[str], lines: int) -> str:
    height = TOP + ROW * lines + FOOT
    return document(title, parts, width=WIDTH, height=height, light=_LIGHT, dark=_DARK)
