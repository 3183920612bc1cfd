"""Server-sent events, as the HTML standard lays them out (section 9.2)."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from keyturn.feed import Feed, FeedEvent

from .http import Header, Request, Response

__all__ = ["EVENT_STREAM", "stream_of", "written"]

EVENT_STREAM: Final = "text/event-stream"
_HEADERS: Final[tuple[Header, ...]] = (
    (b"content-type", EVENT_STREAM.encode()),
    (b"x-accel-buffering", b"no"),  # else nginx keeps events until it has many
)


def stream_of(feed: Feed, request: Request) -> Response:
    """All that the feed tells, from where the client has got to."""
    last_id = (request.header(b"last-event-id") or b"").decode("latin-1")
    return Response(200, _HEADERS, stream=_chunks(feed, last_id))


async def _chunks(feed: Feed, last_id: str) -> AsyncGenerator[bytes, None]:
    async with aclosing(feed.follow(last_id)) as events:
        async for event in events:
            yield written(event)


def written(event: FeedEvent) -> bytes:
    """The event as it is sent."""
    place = f"id: {event.id}\n" if event.id else ""
    return f"{place}event: {event.name}\ndata: ".encode() + event.data + b"\n\n"
