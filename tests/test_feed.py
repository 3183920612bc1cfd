"""Whoever follows misses nothing, however often it is away and whoever it comes back to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn import feed as feed_module
from keyturn.core.cutoffs import CutoffView
from keyturn.core.model import ALL_VERSIONS, Cutoff, EndReason
from keyturn.feed import Feed, FeedEvent, news_to

NONCE = "0a1b"
OTHER_NONCE = "2c3d"
KEYS, OTHER_KEYS = b'{"keys":[{"kid":"a"}]}', b'{"keys":[{"kid":"b"}]}'
ENDED = Cutoff("s1", ALL_VERSIONS, 900, EndReason.LOGGED_OUT)
CHANGED = Cutoff("s2", 1_700_000_000_000, 800)
EMERGENCY = Cutoff(None, 700, 1300)


class Server:
    """A process that learns of cutoffs and tells its feed."""

    def __init__(self, nonce: str = NONCE) -> None:
        self.view = CutoffView()
        self.staleness = 0.25
        self.feed = Feed(self.view, staleness=lambda: self.staleness, nonce=nonce)

    def learn(self, *cutoffs: Cutoff) -> None:
        news = news_to(self.view, cutoffs)
        self.view.apply(news)
        self.feed.tell_cutoffs(news)


@pytest.fixture
def server() -> Server:
    return Server()


async def until_alive(events: AsyncGenerator[FeedEvent, None]) -> list[FeedEvent]:
    """What comes until all is told."""
    told = []
    async for event in events:
        told.append(event)
        if event.name == "alive":
            break
    return told


async def told(server: Server, last_id: str = "") -> list[FeedEvent]:
    """All that a follower is told at once who comes now."""
    events = server.feed.follow(last_id)
    everything = await until_alive(events)
    await events.aclose()
    return everything


def sids(events: list[FeedEvent]) -> list[str]:
    return [
        cutoff["sid"]
        for event in events
        if event.name == "cutoffs"
        for cutoff in json.loads(event.data)["cutoffs"]
    ]


def data(event: FeedEvent) -> Any:
    return json.loads(event.data)


# ── what is told ────────────────────────────────────────────────────────────────────────────────


async def test_a_new_follower_is_told_everything(server: Server) -> None:
    """The keys, every live cutoff, and how old that knowledge is."""
    server.feed.tell_keys(KEYS)
    server.learn(ENDED, CHANGED, EMERGENCY)

    keys, cutoffs, alive = await told(server)

    assert (keys.name, keys.data) == ("keys", KEYS)
    assert data(cutoffs) == {
        "cutoffs": [
            {"sid": "s1", "version": ALL_VERSIONS, "expiresAt": 900, "reason": "logged_out"},
            {"sid": "s2", "version": 1_700_000_000_000, "expiresAt": 800},
        ],
        "issuedUntil": 700,
    }
    assert (alive.name, data(alive)) == ("alive", {"staleness": 0.25})


async def test_a_follower_is_told_what_becomes_known(server: Server) -> None:
    """As it happens, of keys and cutoffs alike; then that this was all."""
    events = server.feed.follow()
    await until_alive(events)
    server.learn(ENDED)
    server.feed.tell_keys(OTHER_KEYS)
    server.learn(EMERGENCY)

    ended, keys, emergency, alive = await until_alive(events)
    await events.aclose()

    assert sids([ended]) == ["s1"]
    assert keys.data == OTHER_KEYS
    assert data(emergency) == {"cutoffs": [], "issuedUntil": 700}
    assert [event.id for event in (ended, keys, emergency, alive)] == [
        f"{NONCE}-1",
        f"{NONCE}-2",
        f"{NONCE}-3",
        f"{NONCE}-3",
    ]


async def test_a_follower_who_waits_is_woken(server: Server) -> None:
    """By news, long before the next sign of life is due."""
    events = server.feed.follow()
    await until_alive(events)
    waiting = asyncio.create_task(anext(events))
    await asyncio.sleep(0)
    server.learn(ENDED)

    async with asyncio.timeout(4):
        assert sids([await waiting]) == ["s1"]
    await events.aclose()


async def test_what_happens_while_a_sign_of_life_is_sent_is_not_overslept(server: Server) -> None:
    """News between the sending and the waiting wake the follower too."""
    events = server.feed.follow()
    await until_alive(events)
    server.learn(ENDED)

    async with asyncio.timeout(4):
        assert sids([await anext(events)]) == ["s1"]
    await events.aclose()


async def test_there_is_a_sign_of_life_when_nothing_happens(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With how stale the server is by then."""
    monkeypatch.setattr(feed_module, "ALIVE_SECONDS", 0)
    events = server.feed.follow()
    await until_alive(events)
    server.staleness = 31.0

    (alive,) = await until_alive(events)
    await events.aclose()

    assert data(alive) == {"staleness": 31.0}


async def test_what_is_known_already_is_no_news(server: Server) -> None:
    """A store that is read whole each minute does not tell everything each minute."""
    server.learn(ENDED, EMERGENCY)
    known = [ENDED, EMERGENCY, Cutoff(None, 699, 1300), Cutoff("s1", 7, 900)]
    news = [Cutoff("s1", ALL_VERSIONS, 901), Cutoff(None, 701, 1300), CHANGED]

    assert news_to(server.view, known + news) == news


# ── everything, in the midst ────────────────────────────────────────────────────────────────────


async def test_everything_comes_in_pieces_without_a_place(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower that is cut off in the midst does not take what it has for all."""
    monkeypatch.setattr(feed_module, "_CUTOFFS_OF_EVENT", 2)
    server.learn(*(Cutoff(f"s{number}", 1, 900) for number in range(5)))

    *pieces, alive = await told(server)

    assert [event.id for event in pieces] == ["", "", "", ""]
    assert alive.id == f"{NONCE}-{server.feed._told}"
    assert sids(pieces) == ["s0", "s1", "s2", "s3", "s4"]


async def test_what_happens_in_the_midst_is_told_after_it(server: Server) -> None:
    """Or within: once at least."""
    server.learn(ENDED)
    events = server.feed.follow()
    first = await anext(events)
    server.learn(CHANGED)

    rest = await until_alive(events)
    await events.aclose()

    assert first.name == "keys"
    assert set(sids(rest)) == {"s1", "s2"}


# ── coming back ─────────────────────────────────────────────────────────────────────────────────


async def test_whoever_was_away_is_told_what_it_missed_only(server: Server) -> None:
    """Its place is in the backlog still."""
    server.learn(ENDED)
    place = (await told(server))[-1].id
    server.learn(CHANGED)

    missed = await told(server, place)

    assert [event.name for event in missed] == ["cutoffs", "alive"]
    assert sids(missed) == ["s2"]


async def test_whoever_missed_nothing_is_told_so_at_once(server: Server) -> None:
    """Its knowledge is as good as that of the server."""
    server.learn(ENDED)
    place = (await told(server))[-1].id

    assert [event.name for event in await told(server, place)] == ["alive"]


@pytest.mark.parametrize(
    "place",
    [
        f"{OTHER_NONCE}-1",
        f"{NONCE}-3",
        f"{NONCE}--1",
        f"{NONCE}-",
        f"{NONCE}-1.0",
        f"{NONCE}-\N{ARABIC-INDIC DIGIT ONE}",
        f"{NONCE}-{'9' * 5000}",
        NONCE,
        "1",
        "-",
        "",
        "\0",
        f"{NONCE}-1\n",
    ],
)
async def test_a_place_that_is_not_ours_is_told_everything(server: Server, place: str) -> None:
    """Another process', a time to come, or nonsense."""
    server.learn(ENDED)
    server.learn(CHANGED)

    everything = await told(server, place)

    assert [event.name for event in everything] == ["keys", "cutoffs", "alive"]
    assert sids(everything) == ["s1", "s2"]


async def test_a_place_that_is_too_long_ago_is_told_everything(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered is bounded, in bytes."""
    place = (await told(server))[-1].id
    monkeypatch.setattr(feed_module, "_BACKLOG_BYTES", 200)
    for number in range(10):
        server.learn(Cutoff(f"s{number}", 1, 900))

    everything = await told(server, place)

    assert sum(len(event.data) for event in server.feed._backlog) <= 200
    assert everything[0].name == "keys"
    assert len(sids(everything)) == 10


async def test_whoever_reads_too_slowly_is_told_everything_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H6: it costs no memory meanwhile, and has missed nothing at last."""
    monkeypatch.setattr(feed_module, "_BACKLOG_BYTES", 200)
    events = server.feed.follow()
    await until_alive(events)
    for number in range(100):
        server.learn(Cutoff(f"s{number}", 1, 900))

    everything = await until_alive(events)
    await events.aclose()

    assert everything[0].name == "keys"
    assert len(sids(everything)) == 100
    assert len(server.feed._backlog) < 5


async def test_a_feed_that_is_closed_lets_everybody_go(server: Server) -> None:
    """At once, who waits too; and who comes later."""
    events = server.feed.follow()
    await until_alive(events)
    waiting = asyncio.create_task(anext(events, None))
    await asyncio.sleep(0)
    server.feed.close()

    async with asyncio.timeout(4):
        assert await waiting is None
    assert [event async for event in server.feed.follow()] == []


# ── any history ─────────────────────────────────────────────────────────────────────────────────


class Follower:
    """Keeps what it was told, and the place it may go on from."""

    def __init__(self) -> None:
        self.sids: set[str] = set()
        self.place = ""

    async def visit(self, server: Server, at_most: int) -> bool:
        """Follow a server for so many events; say whether all was told."""
        events = server.feed.follow(self.place)
        try:
            for _ in range(at_most):
                event = await anext(events)
                self.sids |= set(sids([event]))
                self.place = event.id or self.place
                if event.name == "alive":
                    return True
            return False
        finally:
            await events.aclose()


async def test_it_is_known_how_many_follow() -> None:
    """Whoever has gone, and however, follows no more."""
    feed = Server().feed
    first, second = feed.follow(), feed.follow()
    counts = [feed.followers]
    for follower in (first, second):
        await anext(follower)
        counts.append(feed.followers)
    await first.aclose()
    counts.append(feed.followers)
    feed.close()
    async for _ in second:
        pass

    assert [*counts, feed.followers] == [0, 1, 2, 1, 0]


steps = st.lists(
    st.tuples(st.just("learn"), st.integers(0, 1), st.integers(1, 4))
    | st.tuples(st.just("visit"), st.integers(0, 1), st.integers(1, 6)),
    max_size=40,
)


@given(steps)
def test_nothing_is_missed_in_any_history(history: list[tuple[str, int, int]]) -> None:
    """Whoever was told all by a server, holds all that the server knew: with two servers, a short
    backlog, and visits that end in the midst.
    """

    async def run() -> None:
        servers = [Server(NONCE), Server(OTHER_NONCE)]
        follower, learnt = Follower(), 0
        for what, which, count in history:
            server = servers[which]
            if what == "learn":
                server.learn(*(Cutoff(f"s{learnt + one}", 1, 900) for one in range(count)))
                learnt += count
            elif await follower.visit(server, count):
                assert follower.sids >= {cutoff.sid for cutoff in server.view.live}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feed_module, "_BACKLOG_BYTES", 400)
        patch.setattr(feed_module, "_CUTOFFS_OF_EVENT", 2)
        asyncio.run(run())
