"""Pictures in SVG, legible in light and in dark: bars and words."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from xml.sax.saxutils import escape

__all__ = ["BAR", "bar", "document", "swatch", "words"]

BAR: Final = 20
"""How high one is."""

_LIGHT: Final = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.head { font-weight: 600 } .own { font-weight: 600 } .small { font-size: 12px }
.page { fill: #ffffff } .rail { fill: #eaeef2 }"""
_DARK: Final = """
  text { fill: #e6edf3 } .page { fill: #0d1117 } .rail { fill: #21262d }"""


def document(
    title: str, parts: Iterable[str], *, width: int, height: int, light: str, dark: str
) -> str:
    """A whole picture. ``light`` and ``dark`` are the styles of what is in it, beside words and
    bars' rails.
    """
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{_LIGHT} {light}",
            f"@media (prefers-color-scheme: dark) {{{_DARK} {dark}",
            "}",
            "</style>",
            f'<rect class="page" width="{width}" height="{height}"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def bar(x: float, y: float, wide: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{BAR}"/>'


def swatch(x: float, y: float, kind: str, meaning: str) -> str:
    """Of a legend."""
    square = f'<rect class="{kind}" x="{x}" y="{y}" width="12" height="12"/>'
    return f"{square}\n{words(x + 18, y + 11, meaning, 'small')}"


def words(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y}">{escape(text)}</text>'
