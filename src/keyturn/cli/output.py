"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

__all__ = ["as_json_option", "iso", "printable", "show", "show_one", "tell"]

_LAST_SECOND: Final = 253_402_300_799
"""Of the year 9999, beyond which there are no dates."""

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def iso(time: int | None) -> str | None:
    """Unix seconds as people read them, in UTC. That of a damaged row may be anything."""
    if time is None:
        return None
    time = max(0, min(time, _LAST_SECOND))
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%SZ}"


def show(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print ``rows``, which all have the same columns."""
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif rows:
        cells = [tuple(rows[0]), *(tuple(map(_cell, row.values())) for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line in cells:
            padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            click.echo("  ".join(padded).rstrip())


def show_one(row: dict[str, Any], *, as_json: bool) -> None:
    """Print ``row``, a line for each of its columns."""
    if as_json:
        click.echo(json.dumps(row, indent=2))
    else:
        width = max(map(len, row))
        for name, value in row.items():
            click.echo(f"{name.ljust(width)}  {_cell(value)}".rstrip())


def tell(sentence: str, row: dict[str, Any], *, as_json: bool) -> None:
    """Print what was done: ``sentence`` for people, ``row`` for programs."""
    click.echo(json.dumps(row, indent=2) if as_json else sentence)


def _cell(value: Any) -> str:
    text = " ".join(value) if isinstance(value, list) else str("" if value is None else value)
    return printable(text)


def printable(text: str) -> str:
    """Without what could command the terminal: some of it was sent by strangers."""
    return "".join(character if character.isprintable() else "?" for character in text)
