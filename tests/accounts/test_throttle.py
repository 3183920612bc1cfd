"""The rule by which failures slow down whoever guesses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.accounts.throttle import (
    Failures,
    ThrottleKey,
    account_key,
    blocked_until,
    identifier_key,
    network_key,
    settle,
    user_key,
)
from keyturn.core.model import DAY
from tests.support import START

SECRET = bytes(32)
NAME = identifier_key(SECRET, "ada")
NETWORK = ThrottleKey(digest=b"network", free_failures=49, memory=3600, forgiving=False)
HOUR = 3600


class Counters:
    """What a store keeps, for one attempt after another."""

    def __init__(self) -> None:
        self.counted: dict[bytes, Failures] = {}

    def attempt(self, *keys: ThrottleKey, now: int, success: bool = False) -> int:
        until, changes = settle(keys, self.counted, success=success, now=now)
        self.counted = {
            digest: failures
            for digest, failures in (self.counted | changes).items()
            if failures is not None
        }
        return until

    def delay(self, key: ThrottleKey, now: int) -> int:
        until = blocked_until([self.counted[key.digest]], now)
        return until - now if until else 0


def test_delays_double_from_the_fifth_failure_to_a_quarter_of_an_hour() -> None:
    """F6: four failures are free, then 1 s, 2 s, 4 s and so on up to 15 minutes."""
    counters, now, delays = Counters(), START, []

    for _ in range(18):
        assert counters.attempt(NAME, now=now) == 0
        delays.append(counters.delay(NAME, now))
        now += delays[-1]

    assert delays == [0] * 4 + [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900]


def test_a_network_is_delayed_from_the_fiftieth_failure() -> None:
    """F6: many honest people share an address, and each mistypes now and then."""
    key = network_key(SECRET, "192.0.2.1")
    assert key is not None
    counters, now, delays = Counters(), START, []

    for _ in range(52):
        counters.attempt(key, now=now)
        delays.append(counters.delay(key, now))
        now += delays[-1]

    assert delays == [0] * 49 + [1, 2, 4]


def test_an_account_is_delayed_from_the_hundred_and_first_failure() -> None:
    """F6: where its names are tried in turn, none of them is by then."""
    key = account_key(SECRET, "id")
    counters, now, delays = Counters(), START, []

    for _ in range(112):
        counters.attempt(key, now=now)
        delays.append(counters.delay(key, now))
        now += delays[-1]

    assert delays == [0] * 100 + [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]


@pytest.mark.parametrize(("ahead", "blocked"), [(900, True), (960, True), (961, False)])
def test_a_block_that_only_a_wrong_clock_can_have_set_stands_for_nothing(
    ahead: int, *, blocked: bool
) -> None:
    """F6: none is longer than 15 minutes, and a minute that clocks of servers may be apart."""
    failures = Failures(count=14, blocked_until=START + ahead, forget_at=START + DAY)

    assert (blocked_until([failures], START) == START + ahead) is blocked
    until, _ = settle([NAME], {NAME.digest: failures}, success=True, now=START)
    assert (until > 0) is blocked


@pytest.mark.parametrize("success", [True, False])
def test_a_blocked_attempt_is_refused_and_counts_nothing(*, success: bool) -> None:
    """F6: whatever its outcome; so guesses at once tell no more than one after another."""
    counters = Counters()
    for _ in range(5):
        counters.attempt(NAME, now=START)
    before = counters.counted

    assert counters.attempt(NAME, NETWORK, now=START, success=success) == START + 1
    assert counters.counted == before


def test_a_block_ends_by_itself() -> None:
    """F6: at the very second that was told."""
    counters = Counters()
    for _ in range(5):
        counters.attempt(NAME, now=START)

    assert counters.attempt(NAME, now=START + 1, success=True) == 0


def test_a_success_makes_up_for_failures_of_the_name_alone() -> None:
    """F6: a guesser with one account of their own stays as slow for all others."""
    counters = Counters()
    for _ in range(4):
        counters.attempt(NAME, NETWORK, now=START)

    counters.attempt(NAME, NETWORK, now=START, success=True)

    assert set(counters.counted) == {NETWORK.digest}
    assert counters.counted[NETWORK.digest].count == 4


@pytest.mark.parametrize("key", [NAME, network_key(SECRET, "192.0.2.1")])
def test_failures_are_forgotten_after_a_time_without_one(key: ThrottleKey) -> None:
    """F6: those of a name after a day, those of a network after an hour."""
    counters, late = Counters(), Counters()
    for _ in range(4):
        counters.attempt(key, now=START)
        late.attempt(key, now=START)

    counters.attempt(key, now=START + key.memory - 1)
    late.attempt(key, now=START + key.memory)

    assert key.memory == (DAY if key is NAME else HOUR)
    assert counters.counted[key.digest].count == 5
    assert late.counted[key.digest].count == 1


@given(st.lists(st.tuples(st.integers(0, 2000), st.booleans()), max_size=60))
def test_a_guesser_is_never_faster_than_the_rule(steps: list[tuple[int, bool]]) -> None:
    """F6: between two failures that count, from the fifth on, lies at least the delay due."""
    counters, now, failures = Counters(), START, 0
    due_at = START
    for pause, success in steps:
        now += pause
        until = counters.attempt(NAME, now=now, success=success)
        assert (until > 0) == (now < due_at)
        if until == 0:
            failures = 0 if success else failures + 1
            due_at = now + (min(2 ** (failures - 5), 900) if failures >= 5 else 0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("2001:DB8:0:1:0::1", "2001:db8:0:1::1", True),
        ("fe80::1%eth0", "fe80::1%eth1", True),
        ("192.0.2.1", "c000:201::", False),
    ],
)
def test_a_network_is_what_one_customer_has(one: str, other: str, *, same: bool) -> None:
    """F6: /32 of IPv4, mapped or not, and /64 of IPv6."""
    first, second = network_key(SECRET, one), network_key(SECRET, other)

    assert first is not None
    assert (first == second) is same


@pytest.mark.parametrize(
    "address", ["", "unix:", "localhost", "192.0.2.1:80", "1" * 5000, "\ud800"]
)
def test_without_an_address_there_is_no_network(address: str) -> None:
    """What is no IP address is no network, and no error."""
    assert network_key(SECRET, address) is None


def test_digests_need_the_secret_and_tell_names_from_networks() -> None:
    """F6: who reads the counters cannot tell whose they are."""
    network = network_key(SECRET, "192.0.2.1")
    digests = {
        identifier_key(SECRET, "192.0.2.1").digest,
        identifier_key(b"\1" * 32, "192.0.2.1").digest,
        user_key(SECRET, "192.0.2.1").digest,
        account_key(SECRET, "192.0.2.1").digest,
        identifier_key(SECRET, "\xc0\x00\x02\x01").digest,
        network.digest if network else b"",
    }

    assert len(digests) == 6
    assert all(len(digest) == 32 for digest in digests)
