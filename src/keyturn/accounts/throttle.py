"""How failures slow down whoever guesses. Pure: the counters are in the store, time is an argument.

An attempt is judged twice. Before any hashing, ``blocked_until`` turns away what is blocked. After
it, in one transaction of the store, ``settle`` does so once more and only then lets the outcome
count. So guesses made at once learn no more than they would one after another.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv6Address, ip_address
from typing import Final

import msgspec

from keyturn.core.model import DAY

__all__ = [
    "Failures",
    "ThrottleKey",
    "account_key",
    "blocked_until",
    "identifier_key",
    "network_key",
    "settle",
    "site_of",
    "user_key",
]

_FREE_FAILURES_OF_A_NAME: Final = 4
_FREE_FAILURES_OF_AN_ACCOUNT: Final = 100
_FREE_FAILURES_OF_A_NETWORK: Final = 49  # a whole office, or a mobile carrier's customers
_LONGEST_DELAY: Final = 15 * 60  # seconds
_CLOCK_SPREAD: Final = 60  # seconds that the clocks of servers may be apart
_HOUR: Final = 3600


class ThrottleKey(msgspec.Struct, frozen=True, kw_only=True):
    """What failures are counted on. The digest tells nothing of the name or network behind it."""

    digest: bytes
    free_failures: int
    """How many failures have no consequence."""
    memory: int
    """Seconds without a failure after which the earlier ones are forgotten."""
    forgiving: bool
    """Whether a success makes up for the failures before it."""


class Failures(msgspec.Struct, frozen=True):
    """The failures counted on one key."""

    count: int
    blocked_until: int
    forget_at: int


def identifier_key(secret: bytes, identifier: str) -> ThrottleKey:
    """The key of a normalised username or email, whether anybody has it or not."""
    return _key_of_a_person(secret, b"keyturn throttle identifier v1" + identifier.encode())


def account_key(secret: bytes, account: str) -> ThrottleKey:
    """The key of an account, whichever of its names is used: so another name is no second chance.
    It tells whoever fails so often that the names are of one account; hence from far on only.
    """
    return _key_of_a_person(
        secret, b"keyturn throttle account v1" + account.encode(), _FREE_FAILURES_OF_AN_ACCOUNT
    )


def user_key(secret: bytes, user_id: str) -> ThrottleKey:
    """The key of a user who is signed in. No stranger can fail on it, knowing their name."""
    return _key_of_a_person(secret, b"keyturn throttle user v1" + user_id.encode())


def _key_of_a_person(
    secret: bytes, label: bytes, free_failures: int = _FREE_FAILURES_OF_A_NAME
) -> ThrottleKey:
    return ThrottleKey(
        digest=hmac.digest(secret, label, "sha256"),
        free_failures=free_failures,
        memory=DAY,
        forgiving=True,
    )


def network_key(secret: bytes, address: str) -> ThrottleKey | None:
    """The key of the network that an IP address is in: a customer's usual share, so /32 of IPv4
    and /64 of IPv6. None where there is no address.
    """
    network = _network_of(address)
    if not network:
        return None
    return ThrottleKey(
        digest=hmac.digest(secret, b"keyturn throttle network v1" + network, "sha256"),
        free_failures=_FREE_FAILURES_OF_A_NETWORK,
        memory=_HOUR,
        # Else whoever has one account could guess at all others, signing in now and then.
        forgiving=False,
    )


def site_of(address: str) -> bytes:
    """What all that one site may have as its addresses has in common: /32 of IPv4, /48 of IPv6, of
    which each has as many networks as it likes. Empty where there is no address.
    """
    return _network_of(address)[:6]


def _network_of(address: str) -> bytes:
    try:
        parsed = ip_address(address)
    except ValueError:
        return b""
    if isinstance(parsed, IPv6Address):
        return parsed.ipv4_mapped.packed if parsed.ipv4_mapped else parsed.packed[:8]
    return parsed.packed


def blocked_until(counted: Iterable[Failures], now: int) -> int:
    """When the last of the blocks ends that stand at ``now``; 0 if none does. One that is longer
    than any was set by a clock that was wrong, and stands for nothing.
    """
    longest = now + _LONGEST_DELAY + _CLOCK_SPREAD
    return max((f.blocked_until for f in counted if now < f.blocked_until <= longest), default=0)


def settle(
    keys: Sequence[ThrottleKey], counted: Mapping[bytes, Failures], *, success: bool, now: int
) -> tuple[int, dict[bytes, Failures | None]]:
    """Judge an attempt whose outcome is known, given what is counted on its keys (by digest).

    Returns when the block ends that refuses it, and nothing to change; or 0, and what is to be
    written for each digest, None for nothing counted any more.
    """
    if until := blocked_until(counted.values(), now):
        return until, {}
    if success:
        return 0, {key.digest: None for key in keys if key.forgiving and key.digest in counted}
    return 0, {key.digest: _one_more(counted.get(key.digest), key, now) for key in keys}


def _one_more(failures: Failures | None, key: ThrottleKey, now: int) -> Failures:
    count = 1 if failures is None or failures.forget_at <= now else failures.count + 1
    return Failures(count, now + _delay(count - key.free_failures), now + key.memory)


def _delay(beyond: int) -> int:
    """1 s after the first failure that is not free, doubling with each further one."""
    return min(1 << min(beyond - 1, 30), _LONGEST_DELAY) if beyond > 0 else 0
