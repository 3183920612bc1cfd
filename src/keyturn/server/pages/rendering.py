"""From values to HTML: templates, the one file of texts, and times and names in words."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

__all__ = ["Renderer", "Texts", "read_texts"]

Texts = dict[str, Any]
"""What the pages say, by section and name."""

_TEXTS: Final = "english.toml"


def read_texts() -> Texts:
    """All that the pages say."""
    return tomllib.loads((files(__package__) / _TEXTS).read_text(encoding="utf-8"))


class Renderer:
    """Renders templates; whatever is put into one is escaped.

    Args:
        texts: what the pages say.
        service: what users call the service.
        base_path: what the public paths begin with.
        static_path: where a static file is found, below that.
    """

    def __init__(
        self, texts: Texts, *, service: str, base_path: str, static_path: Callable[[str], str]
    ) -> None:
        self._base_path = base_path
        self._environment = Environment(
            loader=PackageLoader(__package__),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters.update(
            code=_code, fill=_fill, iso=_iso, json=json.dumps, utc=_utc
        )
        self._environment.globals.update(
            t=texts,
            service=service,
            url=self.url,
            static=lambda name: base_path + static_path(name),
        )

    def url(self, path: str, **query: str) -> str:
        """The path below the base path, with those parts of the query that are not empty."""
        parts = [f"{name}={quote(value, safe='/')}" for name, value in query.items() if value]
        return self._base_path + path + ("?" + "&".join(parts) if parts else "")

    def render(self, template: str, **values: Any) -> bytes:
        """The page that ``template`` makes of ``values``."""
        return self._environment.get_template(f"{template}.html").render(values).encode()


def _code(text: str) -> Markup:
    """What is between back quotes as code, as in Markdown."""
    parts = [escape(part) for part in text.split("`")]
    parts[1::2] = [Markup("<code>{}</code>").format(part) for part in parts[1::2]]
    return Markup().join(parts)


def _fill(text: str, **values: object) -> str:
    return text.format(**values)


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _utc(at: int) -> str:
    """What is shown until the script has put it into the reader's time zone."""
    time = datetime.fromtimestamp(at, UTC)
    return f"{time.day} {time:%b %Y, %H:%M} UTC"
