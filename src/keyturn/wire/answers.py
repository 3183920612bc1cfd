"""What every success looks like."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from . import shapes
from .http import Header, Response
from .routes import JSON

__all__ = ["document", "success"]


def success(
    data: msgspec.Struct, message: str, *, status: int = 200, headers: Iterable[Header] = ()
) -> Response:
    """``data`` and a sentence for people."""
    body = msgspec.json.encode(shapes.Answer(data, message))
    return Response(status, [(b"content-type", JSON.encode()), *headers], body)


def document(content: Any) -> Response:
    """A document of a kind of its own, as some standard has it."""
    return Response(200, [(b"content-type", JSON.encode())], msgspec.json.encode(content))
