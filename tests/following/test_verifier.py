"""A verifier elsewhere judges as the issuer does, and knows what the issuer knows."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import httpx
import msgspec
import pytest

from keyturn import (
    AccessTokenExpired,
    AccessTokenInvalid,
    AccessTokenRevoked,
    ConfigurationError,
    CutoffsStale,
    KeyturnError,
    Unavailable,
    Verifier,
)
from keyturn.core import base64url
from keyturn.core.keyring import ALGORITHMS
from keyturn.feed import ALIVE_SECONDS
from keyturn.following import follower
from keyturn.following import issuer as issuer_module
from tests.following.support import (
    FEED,
    FEED_TOKEN,
    JWKS,
    METADATA,
    SID,
    Issuer,
    a_key,
    following,
    jwks,
    make,
    token,
)
from tests.server.processes import until
from tests.support import ISSUER, START, Clock

NEW, STRANGER = a_key(1), a_key(2)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed is tried again without a pause worth speaking of."""
    monkeypatch.setattr(follower, "_FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(follower, "_LONGEST_PAUSE_SECONDS", 0.001)


@pytest.fixture
def by_keys(issuer: Issuer, clock: Clock) -> Iterator[Verifier]:
    """One without the feed."""
    with following(issuer, clock) as verifier:
        yield verifier


@pytest.fixture
def by_feed(issuer: Issuer, clock: Clock) -> Iterator[Verifier]:
    """One that was told all, of which there is nothing."""
    issuer.tell_all()
    with following(issuer, clock, feed_token=FEED_TOKEN) as verifier:
        yield verifier


def refuses(verifier: Verifier, text: str, error: type[KeyturnError]) -> Callable[[], bool]:
    def refused() -> bool:
        try:
            verifier.verify(text)
        except KeyturnError as refusal:
            return isinstance(refusal, error)
        return False

    return refused


def accepts(verifier: Verifier, text: str) -> Callable[[], bool]:
    return lambda: not refuses(verifier, text, KeyturnError)()


def asks(verifier: Verifier) -> bool:
    """Whether the JWK set is being read for an unknown key."""
    return verifier._follower is not None and verifier._follower._asked.is_set()


# ── judging ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_good_token_says_what_it_says(clock: Clock, algorithm: str) -> None:
    """With whichever algorithm the issuer signs."""
    key = a_key(algorithm=algorithm)
    with following(Issuer(key), clock) as verifier:
        said = verifier.verify(token(key))

    assert (said.user_id, said.sid, said.version, said.expires_at) == ("ada", SID, 7, START + 600)
    assert (said.claims.username, said.claims.extra) == ("ada", {"tenant": 7})


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (token(STRANGER).replace(STRANGER.header, a_key().header), AccessTokenInvalid),
        (token(audience="https://other.example"), AccessTokenInvalid),
        (token(expires_at=START + 86_400), AccessTokenInvalid),
        (token(expires_at=START), AccessTokenExpired),
        (token() + "A", AccessTokenInvalid),
        ("", AccessTokenInvalid),
        ("..", AccessTokenInvalid),
        ("é" * 5000, AccessTokenInvalid),
        ("ktr_" + "A" * 71, AccessTokenInvalid),
        (cast("str", None), AccessTokenInvalid),
        (cast("str", b".."), AccessTokenInvalid),
        (cast("str", []), AccessTokenInvalid),
    ],
    ids=[
        "forged",
        "audience",
        "life",
        "ended",
        "longer",
        "empty",
        "dots",
        "long",
        "refresh",
        "none",
        "bytes",
        "list",
    ],
)
def test_what_the_issuer_refuses_is_refused(
    by_keys: Verifier, issuer: Issuer, text: str, error: type[KeyturnError]
) -> None:
    """D1, D3, D6, D7: for the same reason, and nobody is asked about it."""
    with pytest.raises(error):
        by_keys.verify(text)

    assert issuer.count(JWKS) == 1


def test_another_audience_may_be_asked_for(issuer: Issuer, clock: Clock) -> None:
    """D7: then the issuer's own is refused."""
    with following(issuer, clock, audience="api") as verifier:
        assert verifier.verify(token(audience="api")).user_id == "ada"
        with pytest.raises(AccessTokenInvalid):
            verifier.verify(token())


def test_a_token_costs_no_call(by_feed: Verifier, issuer: Issuer) -> None:
    """However many are checked."""
    before = list(issuer.asked)
    for number in range(100):
        by_feed.verify(token(token_id=base64url.encode(number.to_bytes(12, "big"))))

    assert issuer.asked == before


# ── revocations ─────────────────────────────────────────────────────────────────────────────────


def test_a_session_that_ended_is_refused(by_feed: Verifier, issuer: Issuer) -> None:
    """D12: as soon as it is told, also where its token has been found good."""
    text = token()
    by_feed.verify(text)
    issuer.tell_end()

    until(refuses(by_feed, text, AccessTokenRevoked))
    assert by_feed.verify(token(sid="B" * 21 + "A")).user_id == "ada"


def test_old_claims_are_refused_and_new_ones_are_good(by_feed: Verifier, issuer: Issuer) -> None:
    """D12: a cutoff reaches up to its version."""
    issuer.tell_end(version=7)

    until(refuses(by_feed, token(version=7), AccessTokenRevoked))
    assert by_feed.verify(token(version=8)).version == 8


def test_the_emergency_cutoff_refuses_all_up_to_its_time(by_feed: Verifier, issuer: Issuer) -> None:
    """D12: whatever the session."""
    issuer.tell("cutoffs", {"cutoffs": [], "issuedUntil": START - 10})

    until(refuses(by_feed, token(), AccessTokenRevoked))
    assert by_feed.verify(token(issued_at=START - 9)).issued_at == START - 9


def test_without_the_feed_a_token_is_good_until_it_ends(by_keys: Verifier, clock: Clock) -> None:
    """As the documentation says, plainly."""
    by_keys.verify(token())
    clock.sleep(600)

    with pytest.raises(AccessTokenExpired):
        by_keys.verify(token())


def test_cutoffs_that_void_nothing_any_more_are_forgotten(
    by_feed: Verifier, issuer: Issuer, clock: Clock
) -> None:
    """H6: memory is bounded by what was revoked of late."""
    issuer.tell_end()
    until(refuses(by_feed, token(), AccessTokenRevoked))
    clock.sleep(721)
    issuer.tell_alive()

    until(lambda: by_feed._knowledge.cutoffs.live == ())


# ── keys ────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_key_is_good_as_soon_as_it_is_told(by_feed: Verifier, issuer: Issuer) -> None:
    """E2: and no JWK set is read for it."""
    issuer.tell_keys(a_key(), NEW)
    until(lambda: NEW.header in by_feed._knowledge.keys)

    assert by_feed.verify(token(NEW)).user_id == "ada"
    assert issuer.count(JWKS) == 0


def test_a_key_that_is_dropped_is_refused_at_once(by_feed: Verifier, issuer: Issuer) -> None:
    """E2: also a token that was found good by it a moment ago."""
    text = token()
    by_feed.verify(text)
    issuer.tell_keys(NEW)

    until(refuses(by_feed, text, AccessTokenInvalid))
    assert by_feed.verify(token(NEW)).user_id == "ada"


def test_a_key_that_is_dropped_in_the_midst_of_a_check_is_refused_by_the_next(
    by_feed: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E2: one thread finds a token good by a key that another thread drops: that is not kept."""
    key = by_feed._knowledge.keys[a_key().header]
    check = key.verify

    def drop_and_check(signature: bytes, data: bytes) -> bool:
        by_feed._knowledge.hear("keys", jwks(NEW).decode(), "")
        return check(signature, data)

    monkeypatch.setattr(key, "verify", drop_and_check)
    text = token()
    by_feed.verify(text)

    until(refuses(by_feed, text, AccessTokenInvalid))


def test_an_old_copy_of_the_keys_brings_none_back(by_feed: Verifier, issuer: Issuer) -> None:
    """E2: a stolen key that was dropped is not accepted again because a cache has it still."""
    issuer.tell_keys(NEW)
    until(accepts(by_feed, token(NEW)))

    refuses(by_feed, token(STRANGER), Unavailable)()
    until(refuses(by_feed, token(STRANGER), AccessTokenInvalid))

    assert issuer.count(JWKS) == 1
    with pytest.raises(AccessTokenInvalid):
        by_feed.verify(token())


def test_a_key_that_the_feed_does_not_confirm_is_dropped(
    by_feed: Verifier, issuer: Issuer, clock: Clock
) -> None:
    """E2: a copy of the JWK set may be older than the feed, and is believed for a moment only."""
    issuer.jwks = jwks(a_key(), NEW)
    refuses(by_feed, token(NEW), Unavailable)()
    until(accepts(by_feed, token(NEW)))
    issuer.tell_alive("a-2")
    until(lambda: by_feed._knowledge.place == "a-2")
    still_good = accepts(by_feed, token(NEW))()
    clock.sleep(ALIVE_SECONDS)
    issuer.tell_alive("a-3")

    until(refuses(by_feed, token(NEW), AccessTokenInvalid))
    assert still_good
    assert by_feed.verify(token()).user_id == "ada"


def test_a_key_that_comes_back_is_good_again(by_feed: Verifier, issuer: Issuer) -> None:
    """A database that was restored has its old keys."""
    issuer.tell_keys(NEW)
    until(refuses(by_feed, token(), AccessTokenInvalid))
    issuer.tell_keys(a_key(), NEW)

    until(accepts(by_feed, token()))


def test_an_unknown_key_is_asked_for(by_keys: Verifier, issuer: Issuer) -> None:
    """E4: meanwhile nobody can say that the token is bad: 503, not 401."""
    issuer.jwks = jwks(a_key(), NEW)

    with pytest.raises(Unavailable):
        by_keys.verify(token(NEW))
    until(accepts(by_keys, token(NEW)))
    assert issuer.count(JWKS) == 2


def made_up(number: int) -> str:
    """A token whose key exists nowhere."""
    kid = base64url.encode(number.to_bytes(32, "big"))
    header = msgspec.json.encode({"alg": "ES256", "kid": kid, "typ": "at+jwt"})
    return ".".join([base64url.encode(header), *token().split(".")[1:]])


@pytest.mark.parametrize("verifier", ["by_keys", "by_feed"])
def test_keys_that_are_made_up_cost_a_fetch_in_each_interval(
    verifier: str, issuer: Issuer, clock: Clock, request: pytest.FixtureRequest
) -> None:
    """E4: thousands of them, from many threads, in three intervals."""
    judge = request.getfixturevalue(verifier)
    before = issuer.count(JWKS)

    def flood() -> None:
        for number in range(500):
            refuses(judge, made_up(number), KeyturnError)()

    for interval in range(1, 4):
        threads = [threading.Thread(target=flood) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(refuses(judge, made_up(0), AccessTokenInvalid))
        assert issuer.count(JWKS) - before == interval
        clock.sleep(10)
    assert judge.verify(token()).user_id == "ada"


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none", "kid": STRANGER.kid, "typ": "at+jwt"},
        {"alg": "ES256", "kid": STRANGER.kid, "typ": "JWT"},
        {"alg": "ES256", "kid": "x", "typ": "at+jwt"},
        {"alg": "ES256", "kid": STRANGER.kid + "AAAA", "typ": "at+jwt"},
        {"alg": "ES256", "kid": 7, "typ": "at+jwt"},
        {"kid": STRANGER.kid, "alg": "ES256", "typ": "at+jwt"},
        {"alg": "ES256", "kid": STRANGER.kid},
        {"alg": "ES256", "kid": STRANGER.kid, "typ": "at+jwt", "jku": "https://evil.example"},
        {"alg": "ES256", "kid": STRANGER.kid, "typ": "at+jwt", "jwk": STRANGER.jwk},
        {"alg": "ES256", "kid": STRANGER.kid, "typ": "at+jwt", "x5u": "https://evil.example"},
        [],
    ],
)
def test_a_header_that_no_key_of_ours_writes_is_asked_about_nowhere(
    by_keys: Verifier, issuer: Issuer, header: Any
) -> None:
    """D1, D2: no request, neither to the issuer nor to where the token says."""
    before = list(issuer.asked)
    segment = base64url.encode(msgspec.json.encode(header))

    with pytest.raises(AccessTokenInvalid):
        by_keys.verify(".".join([segment, *token().split(".")[1:]]))

    assert issuer.asked == before


def test_a_fetch_that_fails_leaves_the_keys_and_the_question(
    by_keys: Verifier, issuer: Issuer, clock: Clock
) -> None:
    """E4: what was good is good, and an unknown key is nobody's fault until it was asked for."""
    issuer.jwks = b"<html>"
    for _ in range(2):
        with pytest.raises(Unavailable):
            by_keys.verify(token(NEW))
        until(lambda: not asks(by_keys))
    still_good = accepts(by_keys, token())()
    issuer.jwks = jwks(a_key(), NEW)
    clock.sleep(10)

    until(accepts(by_keys, token(NEW)))
    assert still_good


def test_keys_are_read_again_when_their_age_is_over(
    issuer: Issuer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E2: what the JWK set has no more is refused; what cannot be read changes nothing."""
    monkeypatch.setattr(issuer_module, "_LEAST_MAX_AGE", 0)
    issuer.caching = "max-age=0"
    with following(issuer, clock) as verifier:
        issuer.jwks = b"<html>"
        reads = issuer.count(JWKS)
        until(lambda: issuer.count(JWKS) > reads + 2)
        still_good = accepts(verifier, token())()
        issuer.jwks = jwks(NEW)

        until(refuses(verifier, token(), AccessTokenInvalid))
        assert still_good
        assert verifier.verify(token(NEW)).user_id == "ada"


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("public, max-age=300", 300),
        ("max-age=60", 60),
        ("max-age=0", 10),
        ("s-maxage=5, no-store", 300),
        ("", 300),
    ],
)
def test_keys_are_kept_as_long_as_the_issuer_says(told: str, seconds: int) -> None:
    """E2: but for no less than ten seconds, whatever it says."""
    here = Issuer()
    here.caching = told

    assert issuer_module.Issuer(ISSUER, here.client).keys(ISSUER + JWKS)[1] == seconds


# ── how old that knowledge is ───────────────────────────────────────────────────────────────────


def test_before_it_has_begun_it_judges_nothing(issuer: Issuer, clock: Clock) -> None:
    """H4: our not knowing is 503, never 401; and nothing is let in."""
    with pytest.raises(Unavailable):
        make(issuer, clock).verify(token())
    with pytest.raises(CutoffsStale):
        make(issuer, clock, feed_token=FEED_TOKEN).verify(token())


def test_half_of_what_there_is_is_not_enough(issuer: Issuer, clock: Clock) -> None:
    """H4: keys without all cutoffs let nobody in."""
    issuer.tell_keys(a_key())
    verifier = make(issuer, clock, feed_token=FEED_TOKEN)
    with pytest.raises(Unavailable, match="Nothing was learnt within 0"):
        verifier.start(timeout=0)
    until(lambda: bool(verifier._knowledge.keys))
    too_early = refuses(verifier, token(), CutoffsStale)()
    issuer.tell_alive()

    until(accepts(verifier, token()))
    assert too_early
    issuer.cut()
    verifier.close()


@pytest.mark.parametrize(("on_stale", "refused"), [("allow", False), ("refuse", True)])
def test_beyond_the_allowed_staleness_the_setting_decides(
    issuer: Issuer, clock: Clock, on_stale: str, *, refused: bool
) -> None:
    """D12, H4: as with the issuer itself."""
    issuer.tell_all()
    with following(issuer, clock, feed_token=FEED_TOKEN, on_stale=on_stale) as verifier:
        clock.sleep(30)
        in_time = accepts(verifier, token())()
        clock.sleep(0.5)

        assert in_time
        assert verifier.staleness == 30.5
        assert refuses(verifier, token(), CutoffsStale)() is refused


def test_the_staleness_of_the_server_counts_too(by_feed: Verifier, issuer: Issuer) -> None:
    """D12: a server that is cut off from its store tells old news."""
    issuer.tell_alive("a-2", staleness=0)
    until(lambda: by_feed._knowledge.place == "a-2")
    fresh = by_feed.staleness
    by_feed._clock.sleep(20)  # type: ignore[attr-defined]
    issuer.tell_alive("a-3", staleness=12.5)
    until(lambda: by_feed._knowledge.place == "a-3")

    assert (fresh, by_feed.staleness) == (0, 12.5)


def test_a_server_that_knows_less_takes_nothing_away(by_feed: Verifier, issuer: Issuer) -> None:
    """What was known a moment ago is known still."""
    issuer.tell_alive("b-1", staleness=100)
    until(lambda: by_feed._knowledge.place == "b-1")

    assert by_feed.staleness == 0


def test_without_the_feed_there_is_no_staleness_to_judge(by_keys: Verifier) -> None:
    """It is infinite, and tells nothing."""
    assert by_keys.staleness == float("inf")
    assert by_keys.verify(token()).user_id == "ada"


# ── the feed breaks, and goes on ────────────────────────────────────────────────────────────────

FAULTS = [
    None,
    httpx.ReadTimeout("silence"),
    httpx.ReadError("reset"),
    httpx.RemoteProtocolError("cut"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
def test_a_feed_that_was_cut_is_followed_from_where_it_was(
    by_feed: Verifier, issuer: Issuer, fault: Exception | None
) -> None:
    """Whatever cut it; in the midst of everything, the place is the one before."""
    issuer.tell_alive("a-7")
    for _ in range(2):
        issuer.tell_keys(a_key())
        issuer.cut(fault)
    issuer.tell_end()

    until(refuses(by_feed, token(), AccessTokenRevoked))
    assert issuer.places == [None, "a-7", "a-7"]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("cutoffs", b"{}"),
        ("cutoffs", b'{"cutoffs": [{"sid": "x"}]}'),
        ("cutoffs", b"<html>"),
        ("keys", b'{"keys": []}'),
        ("keys", b"null"),
        ("alive", b'{"staleness": null}'),
    ],
)
def test_what_cannot_be_read_is_asked_for_again(
    by_feed: Verifier, issuer: Issuer, caplog: pytest.LogCaptureFixture, name: str, data: bytes
) -> None:
    """H4: from the last place that was understood; what is known stays; told in a sentence."""
    issuer.tell(name, data, "a-2")
    until(lambda: len(issuer.places) == 2)
    issuer.tell_end()

    until(refuses(by_feed, token(), AccessTokenRevoked))
    assert issuer.places == [None, "a-1"]
    (line,) = [line for line in caplog.records if line.name == "keyturn"]
    assert f"The feed tells {name} that cannot be read" in line.getMessage()
    assert line.exc_info is None


def test_what_a_later_release_tells_is_passed_over(by_feed: Verifier, issuer: Issuer) -> None:
    """Events, members and reasons may be added."""
    issuer.tell("news", b"\xf0\x9f\x8c\x9e")
    cutoff = {"sid": SID, "version": 7, "expiresAt": START + 720, "reason": "moon", "new": 1}
    issuer.tell("cutoffs", {"cutoffs": [cutoff], "new": 1})

    until(refuses(by_feed, token(), AccessTokenRevoked))
    assert len(issuer.places) == 1


def test_an_issuer_that_has_moved_is_found_again(by_feed: Verifier, issuer: Issuer) -> None:
    """Its metadata are read anew after a failure."""
    issuer.faults[FEED] = httpx.ConnectError("refused")
    issuer.cut()
    until(lambda: issuer.count(METADATA) > 1)
    del issuer.faults[FEED]
    issuer.tell_end()

    until(refuses(by_feed, token(), AccessTokenRevoked))


def test_it_is_told_once_a_minute_that_nothing_can_be_followed(
    by_feed: Verifier, issuer: Issuer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """H3: in a sentence, and without the token."""

    def try_a_few_times() -> None:
        tries = issuer.count(FEED)
        until(lambda: issuer.count(FEED) > tries + 5)

    issuer.faults[FEED] = httpx.ConnectError("refused")
    issuer.cut()
    try_a_few_times()
    clock.sleep(60)
    try_a_few_times()

    told = [line.getMessage() for line in caplog.records if line.name == "keyturn"]
    assert told == [f"cannot follow the issuer: Cannot reach {ISSUER}{FEED}: refused"] * 2
    assert FEED_TOKEN not in caplog.text
    del issuer.faults[FEED]


# ── what cannot work is said ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("setting", "options"),
    [
        ("issuer", {"issuer": ""}),
        ("issuer", {"issuer": "example.com"}),
        ("issuer", {"issuer": "http://example.com"}),
        ("issuer", {"issuer": "http://127.0.0.1.example.com"}),
        ("issuer", {"issuer": "https://"}),
        ("issuer", {"issuer": "https://user:secret@example.com"}),
        ("issuer", {"issuer": "https://example.com?x=1"}),
        ("issuer", {"issuer": "ftp://example.com"}),
        ("on_stale", {"on_stale": "panic", "feed_token": FEED_TOKEN}),
        ("on_stale", {"on_stale": "refuse"}),
        ("feed_token", {"feed_token": ""}),
        ("feed_token", {"feed_token": "a\nb"}),
        ("feed_token", {"feed_token": "é"}),
    ],
)
def test_an_impossible_setting_is_named(setting: str, options: dict[str, Any]) -> None:
    """A11, H4: no token in the clear; and what would silently check less is refused."""
    with pytest.raises(ConfigurationError) as error:
        Verifier(**{"issuer": ISSUER} | options)

    assert error.value.setting == setting


@pytest.mark.parametrize(
    "issuer_url", ["https://a.example/b", "http://[::1]:8000", "http://localhost"]
)
def test_what_works_is_taken(issuer_url: str) -> None:
    """A11: loopback may be plain http."""
    assert Verifier(issuer_url).audience == issuer_url


def test_a_wrong_feed_token_is_said_at_once(issuer: Issuer, clock: Clock) -> None:
    """By name, not repeated, and without waiting for better times; which may come."""
    verifier = make(issuer, clock, feed_token="x" * 32)

    with pytest.raises(ConfigurationError, match=f"^feed_token: is refused by {ISSUER}{FEED}$"):
        verifier.start()

    assert verifier._follower is not None
    assert verifier._follower._settled.is_set()
    tries = issuer.count(FEED)
    until(lambda: issuer.count(FEED) > tries)
    verifier.close()


@pytest.mark.parametrize(
    ("metadata", "setting", "words"),
    [
        ({"issuer": "https://example.com/"}, "issuer", "is of the issuer https://example.com/"),
        ({"issuer": "https://evil.example"}, "issuer", "is of the issuer https://evil.example"),
        ({"revocations_uri": ""}, "feed_token", "the issuer has no feed"),
        ({"revocations_uri": "http://example.com/x"}, "issuer", "must be https"),
        ({"jwks_uri": "file:///etc/passwd"}, "issuer", "must be https"),
    ],
)
def test_an_issuer_that_is_not_as_it_should_be_is_said(
    issuer: Issuer, clock: Clock, metadata: dict[str, str], setting: str, words: str
) -> None:
    """E5: to the letter; and a token is not sent in the clear because metadata say so."""
    issuer.metadata |= metadata

    with pytest.raises(ConfigurationError) as error, make(issuer, clock, feed_token=FEED_TOKEN):
        pass

    assert error.value.setting == setting
    assert words in str(error.value)
    assert FEED not in issuer.asked


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda issuer: issuer.faults.update({METADATA: httpx.ConnectError("no")}), "Cannot reach"),
        (lambda issuer: issuer.statuses.update({METADATA: 503}), "answers 503"),
        (lambda issuer: issuer.statuses.update({METADATA: 302}), "answers 302"),
        (lambda issuer: issuer.metadata.clear(), "holds no metadata"),
        (lambda issuer: issuer.statuses.update({JWKS: 404}), "answers 404"),
        (lambda issuer: setattr(issuer, "jwks", b"{}"), JWKS),
    ],
)
def test_an_issuer_that_does_not_answer_is_asked_on(
    issuer: Issuer, clock: Clock, break_it: Callable[[Issuer], object], words: str
) -> None:
    """C12: ``start`` says why, and it is no matter of configuration; in the end all is well."""
    break_it(issuer)
    verifier = make(issuer, clock)
    until(lambda: _says(verifier, words))
    healed = Issuer()
    issuer.faults, issuer.statuses = {}, {}
    issuer.metadata, issuer.jwks = healed.metadata, healed.jwks

    verifier.start()

    assert verifier.verify(token()).user_id == "ada"
    verifier.close()


def _says(verifier: Verifier, words: str) -> bool:
    with pytest.raises(Unavailable) as error:
        verifier.start(timeout=0)
    return words in str(error.value)


@pytest.mark.parametrize("missing", ["httpx", "httpx_sse"])
def test_a_missing_extra_is_said(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """What to install."""
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(ConfigurationError, match=r"install keyturn\[verifier\]"), Verifier(ISSUER):
        pass


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("https://a.example", "https://a.example/.well-known/oauth-authorization-server"),
        ("https://a.example/b", "https://a.example/.well-known/oauth-authorization-server/b"),
        ("https://a.example/b/c/", "https://a.example/.well-known/oauth-authorization-server/b/c"),
        ("https://a.example:8443", "https://a.example:8443/.well-known/oauth-authorization-server"),
    ],
)
def test_metadata_are_where_rfc_8414_has_them(address: str, place: str) -> None:
    """E5: the path of the issuer comes last."""
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, json={"issuer": address, "jwks_uri": address})

    transport = httpx.MockTransport(answer)
    issuer_module.Issuer(address, lambda: httpx.Client(transport=transport)).metadata()

    assert asked == [place]


@pytest.mark.parametrize(
    ("address", "places"),
    [
        (
            "https://a.example/b/",
            [
                "https://a.example/.well-known/oauth-authorization-server/b",
                "https://a.example/b/.well-known/oauth-authorization-server",
            ],
        ),
        ("https://a.example", ["https://a.example/.well-known/oauth-authorization-server"]),
    ],
)
def test_an_issuer_below_a_path_may_have_its_metadata_there(
    address: str, places: list[str]
) -> None:
    """E5: where it is a part of another application, which answers at the origin."""
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(404)

    transport = httpx.MockTransport(answer)
    issuer = issuer_module.Issuer(address, lambda: httpx.Client(transport=transport))

    with pytest.raises(Unavailable, match=f"{places[-1]} answers 404"):
        issuer.metadata()
    assert asked == places


def test_what_is_found_below_a_path_must_be_of_the_issuer_too() -> None:
    """E5: another one that is mounted there is not taken for it."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/b/"):
            return httpx.Response(200, json={"issuer": "https://a.example", "jwks_uri": ""})
        return httpx.Response(404)

    transport = httpx.MockTransport(answer)
    issuer = issuer_module.Issuer("https://a.example/b", lambda: httpx.Client(transport=transport))

    with pytest.raises(ConfigurationError, match=r"is of the issuer https://a\.example$"):
        issuer.metadata()


def test_a_feed_token_shows_in_no_representation(by_feed: Verifier) -> None:
    """H3: nor in that of its parts."""
    assert FEED_TOKEN not in repr(by_feed)
    assert FEED_TOKEN not in repr(by_feed._follower)


def test_what_nobody_foresaw_is_logged_and_following_goes_on(
    by_feed: Verifier,
    issuer: Issuer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """H4: with its traceback."""
    hear = by_feed._knowledge.hear

    def stumble(*event: str) -> None:
        monkeypatch.setattr(by_feed._knowledge, "hear", hear)
        raise ZeroDivisionError

    monkeypatch.setattr(by_feed._knowledge, "hear", stumble)
    issuer.tell_end()
    issuer.tell_end()

    until(refuses(by_feed, token(), AccessTokenRevoked))
    (line,) = [line for line in caplog.records if line.levelno >= logging.WARNING]
    assert line.exc_info is not None


def test_it_can_be_begun_and_ended_as_often_as_one_likes(issuer: Issuer, clock: Clock) -> None:
    """What was learnt stays; nothing is left running."""
    before = threading.enumerate()  # of other tests, some may not have ended yet
    verifier = make(issuer, clock)
    verifier.close()
    for _ in range(2):
        verifier.start()
        verifier.start()
        verifier.close()
        verifier.close()

    assert verifier.verify(token()).user_id == "ada"
    assert issuer.count(JWKS) == 2
    assert [thread for thread in threading.enumerate() if thread not in before] == []
