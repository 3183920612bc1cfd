"""Whatever comes, the answer is ours, and no session of anybody's is changed by it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from keyturn.wire.http import Request
from keyturn.wire.routes import ROUTES
from tests.support import Clock
from tests.wire.support import ACCESS, FEED_TOKEN, ORIGIN, REFRESH, STRANGER, site

PATHS = [route.path for route in ROUTES] + ["/sessions/AAAAAAAAAAAAAAAAAAAAAA", "/sessions/"]
FIELDS = ["username", "email", "fullname", "password", "remember", "refreshToken", "newPassword"]
FIELDS += ["currentPassword", "token"]
HEADERS = [
    b"cookie",
    b"authorization",
    b"content-type",
    b"content-length",
    b"origin",
    b"sec-fetch-site",
    b"user-agent",
    b"x-forwarded-for",
    b"if-none-match",
    b"last-event-id",
    b"access-control-request-method",
]
LIKELY = [
    b"application/json",
    b"Bearer a.b.c",
    f"Bearer {FEED_TOKEN}".encode(),
    b"same-origin",
    b"cross-site",
    b"null",
    ORIGIN.encode(),
    STRANGER.encode(),
    f"{ACCESS}=a.b.c; {REFRESH}=ktr_x".encode(),
    f'x="; {REFRESH}=a"; {REFRESH}="b'.encode(),
]

# Any code point, lone surrogates too; JSON writes those as escapes.
texts = st.text(st.characters(), max_size=40)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner))
objects = st.dictionaries(st.sampled_from(FIELDS) | texts, values, max_size=6)
bodies = st.binary(max_size=200) | objects.map(lambda members: json.dumps(members).encode())
headers = st.tuples(
    st.sampled_from(HEADERS) | st.binary(max_size=20),
    st.sampled_from(LIKELY) | st.binary(max_size=100),
)
requests = st.builds(
    Request,
    st.sampled_from(["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS", "PUT"]) | texts,
    st.sampled_from(PATHS) | texts.map("/sessions/{}".format) | texts,
    st.binary(max_size=40),
    st.lists(headers, max_size=8).map(
        lambda some: (
            [*some, (b"content-type", b"application/json")]
            if b"content-type" not in dict(some)
            else some
        )
    ),
    bodies,
    texts | st.just("192.0.2.1"),
)


@given(st.lists(requests, min_size=1, max_size=20))
@settings(deadline=None, max_examples=150)
def test_nothing_that_can_be_asked_is_a_fault_of_ours(asked: list[Request]) -> None:
    """H1, H4, H6: never a 5xx, and Ada's session turns afterwards as if nothing had been."""
    asyncio.run(ask_all(asked))


async def ask_all(asked: list[Request]) -> None:
    clock = Clock()
    async with site(clock) as here:
        tokens = await here.log_in()
        for request in asked:
            answer = await here.send(request)
            assert answer.status < 500, answer.body
            shown: Any = [value for name, value in answer.headers if b"\n" in name + value]
            assert shown == []
        clock.sleep(31)
        turned = await here.sessions.refresh(tokens.refresh_token)
        assert (turned.session.sid, turned.session.generation) == (tokens.session.sid, 1)
