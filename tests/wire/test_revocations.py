"""``/revocations``: who may follow, and what is told."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from unittest.mock import Mock

import httpx
import pytest
from httpx_sse import EventSource, ServerSentEvent
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from keyturn.core.model import ALL_VERSIONS
from keyturn.feed import FeedEvent
from keyturn.wire.event_stream import written
from keyturn.wire.settings import WireSettings
from tests.support import Clock
from tests.wire.support import EVERYTHING, FEED_TOKEN, ORIGIN, Answer, Site, cookies_of, site

PATH = "/revocations"
OTHER = "another-token-for-services-that-follow"


def read(*chunks: bytes) -> list[ServerSentEvent]:
    """The events of a stream, as a library of others has them."""

    def stream() -> Iterator[bytes]:
        yield from chunks

    answer = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=stream())
    return list(EventSource(answer).iter_sse())


async def heard(answer: Answer) -> list[ServerSentEvent]:
    """What comes until all is told."""
    assert answer.stream is not None
    chunks = []
    async for chunk in answer.stream:
        chunks.append(chunk)
        if b"event: alive" in chunk:
            break
    await answer.stream.aclose()
    return read(*chunks)


# ── who may ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
async def test_without_a_token_in_the_settings_there_is_nothing(clock: Clock, method: str) -> None:
    """A server that nobody shall follow has no such endpoint, and its document none."""
    async with site(clock, WireSettings(public_url=ORIGIN)) as here:
        answer = await here.ask(method, PATH, bearer=FEED_TOKEN)
        document = await here.ask("GET", "/openapi.json")

    assert answer.status == 404
    assert PATH not in document.json["paths"]


@pytest.mark.parametrize("presented", ["", "x", FEED_TOKEN[:-1], FEED_TOKEN + "x", "é" * 32])
async def test_a_wrong_token_is_refused(here: Site, presented: str) -> None:
    """H2: 401 that says so, and names the scheme."""
    answer = await here.ask("GET", PATH, bearer=presented)

    assert answer.verdict == (401, "feed_token_invalid")
    assert answer["www-authenticate"] == 'Bearer error="invalid_token"'
    assert answer.stream is None


async def test_no_token_is_refused(here: Site) -> None:
    """H2: whoever is signed in may not follow either, by cookie or by bearer."""
    tokens = await here.log_in()

    nothing = await here.ask("GET", PATH)
    cookies = await here.ask("GET", PATH, cookies=cookies_of(tokens))
    access = await here.ask("GET", PATH, bearer=tokens.access_token)

    assert nothing.verdict == cookies.verdict == (401, "feed_token_missing")
    assert nothing["www-authenticate"] == "Bearer"
    assert access.verdict == (401, "feed_token_invalid")


@pytest.mark.parametrize("presented", [FEED_TOKEN, OTHER])
async def test_any_of_several_tokens_will_do(clock: Clock, presented: str) -> None:
    """H9: so that it can be changed: the new one beside the old one first."""
    settings = structs.replace(EVERYTHING, revocations_tokens=(OTHER, FEED_TOKEN))

    async with site(clock, settings) as here:
        assert (await here.ask("GET", PATH, bearer=presented)).status == 200


async def test_who_follows_is_in_the_security_log_and_no_token_is(
    here: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """H3: with the address, those who are refused too."""
    caplog.set_level(logging.DEBUG)
    await here.ask("GET", PATH, bearer=FEED_TOKEN)
    await here.ask("GET", PATH, bearer=OTHER)

    assert [line.getMessage() for line in caplog.records if "feed" in line.getMessage()] == [
        "feed_followed address=192.0.2.1",
        "feed_refused code=feed_token_invalid address=192.0.2.1",
    ]
    assert FEED_TOKEN not in caplog.text
    assert OTHER not in caplog.text


# ── what is told ────────────────────────────────────────────────────────────────────────────────


async def test_a_follower_is_told_keys_and_cutoffs(here: Site) -> None:
    """D12: everything that checking access tokens needs; of their own media type, kept nowhere."""
    tokens = await here.log_in()
    await here.sessions.revoke(tokens.session.sid)
    jwks = await here.ask("GET", "/.well-known/jwks.json")

    answer = await here.ask("GET", PATH, bearer=FEED_TOKEN)
    keys, cutoffs, alive = await heard(answer)

    assert answer["content-type"] == "text/event-stream"
    assert answer["cache-control"] == "no-store"
    assert answer["x-accel-buffering"] == "no"
    assert (keys.event, json.loads(keys.data)) == ("keys", jwks.json)
    (cutoff,) = json.loads(cutoffs.data)["cutoffs"]
    assert cutoff == {
        "sid": tokens.session.sid,
        "version": ALL_VERSIONS,
        "expiresAt": int(here.sessions.now()) + 720,
        "reason": "revoked_by_admin",
    }
    assert (alive.event, json.loads(alive.data)) == ("alive", {"staleness": 0.0})


async def test_a_follower_who_comes_back_is_told_what_is_new(here: Site) -> None:
    """A cutoff of claims, the emergency cutoff, and a new key; nothing twice."""
    tokens = await here.log_in()
    first = await heard(await here.ask("GET", PATH, bearer=FEED_TOKEN))
    await here.sessions.set_claims(tokens.session.user_id, tokens.session.claims)
    await here.sessions.void_all()
    await here.sessions.rotate_keys()
    await here.sessions.catch_up(everything=True)

    came_back = {"last-event-id": first[-1].id}
    news = await heard(await here.ask("GET", PATH, bearer=FEED_TOKEN, headers=came_back))

    changed, emergency, keys, _ = (json.loads(event.data) for event in news)
    assert [event.event for event in news] == ["cutoffs", "cutoffs", "keys", "alive"]
    assert [cutoff["sid"] for cutoff in changed["cutoffs"]] == [tokens.session.sid]
    assert emergency == {"cutoffs": [], "issuedUntil": here.sessions.now()}
    assert len(keys["keys"]) == 2


async def test_a_follower_is_told_how_stale_the_server_is(here: Site, clock: Clock) -> None:
    """So that it knows its own age: that, and what has passed since."""
    clock.sleep(12.5)

    *_, alive = await heard(await here.ask("GET", PATH, bearer=FEED_TOKEN))

    assert json.loads(alive.data) == {"staleness": 12.5}


async def test_a_server_that_knows_nothing_yet_tells_nothing(here: Site, clock: Clock) -> None:
    """H4: its empty list is no list of what is revoked: 503."""
    here.sessions._cutoffs._known_at = None

    answer = await here.ask("GET", PATH, bearer=FEED_TOKEN)

    assert answer.verdict == (503, "unavailable")


async def test_a_server_that_stops_lets_followers_go(here: Site) -> None:
    """Their streams end as they should."""
    answer = await here.ask("GET", PATH, bearer=FEED_TOKEN)
    assert answer.stream is not None
    while b"event: alive" not in await anext(answer.stream):
        pass
    waiting = asyncio.create_task(anext(answer.stream, None))
    await asyncio.sleep(0)
    here.endpoints.end_streams()

    async with asyncio.timeout(4):
        assert await waiting is None


async def test_a_fault_in_the_midst_ends_the_stream(
    here: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H1: it is logged without its words, and the follower comes again."""
    monkeypatch.setattr(here.sessions.feed, "_alive", Mock(side_effect=RuntimeError("ktr_secret")))

    answer = await here.ask("GET", PATH, bearer=FEED_TOKEN)
    assert answer.stream is not None
    chunks = [chunk async for chunk in answer.stream]

    assert [event.event for event in read(*chunks)] == ["keys", "cutoffs"]
    assert "unforeseen RuntimeError" in caplog.text
    assert "ktr_secret" not in caplog.text


# ── the form of events ──────────────────────────────────────────────────────────────────────────


def test_an_event_is_a_few_lines() -> None:
    """The HTML standard, section 9.2: its id first, as that is what is to be kept."""
    assert written(FeedEvent("alive", b"{}", "a-1")) == b"id: a-1\nevent: alive\ndata: {}\n\n"
    assert written(FeedEvent("keys", b"{}")) == b"event: keys\ndata: {}\n\n"


events = st.builds(
    FeedEvent,
    st.sampled_from(["keys", "cutoffs", "alive"]),
    st.text().map(lambda text: json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")),
    st.sampled_from(["a-1", "b-22"]),
)


@given(st.lists(events, max_size=5), st.data())
def test_however_the_stream_is_cut_its_events_arrive(
    told: list[FeedEvent], cuts: st.DataObject
) -> None:
    """Between any two bytes, also of one character, and with comments that proxies send."""
    stream = b": hello\n\n" + b"".join(map(written, told))
    places = sorted(cuts.draw(st.sets(st.integers(0, len(stream)))))
    chunks = [stream[start:end] for start, end in zip([0, *places], [*places, None], strict=True)]

    got = [event for event in read(*chunks) if event.data]

    assert [(event.event, event.data.encode(), event.id) for event in got] == [
        (event.name, event.data, event.id) for event in told
    ]
