"""What Prometheus is told, by name. Imported by workers alone, once they have their seats."""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections import Counter as Counts
from collections import defaultdict
from collections.abc import Collection, Iterable
from functools import cache
from itertools import product
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from keyturn._version import __version__
from keyturn.core.model import EndReason
from keyturn.core.rotation import Verdict
from keyturn.observing import HOOK_OUTCOMES, HookOutcome, Observer

from .sums import labels_of_others, sum_up

__all__ = [
    "REGISTRY",
    "Figures",
    "count_request",
    "count_turned_away",
    "show_start",
    "show_state",
    "told",
    "write_down",
]

sum_up()  # before the first one is made

REGISTRY: Final = CollectorRegistry()
_labelled: Final[dict[str, Counter | Histogram]] = {}

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ROWS: Final = (1, 2, 4, 8, 16, 32, 64)
_AGES: Final = (1, 5, 30, 120, 600, 3600, 6 * 3600, 24 * 3600, 48 * 3600)


class _Histogram(Histogram):
    """One that can be given many amounts at once."""

    def observe_all(self, amounts: Collection[float]) -> None:
        """As ``observe`` of each, for little more than the price of one."""
        for bucket, count in Counts(bisect_left(self._upper_bounds, a) for a in amounts).items():
            self._buckets[bucket].inc(count)
        self._sum.inc(sum(amounts))


def _counter(name: str, documentation: str, *labels: str) -> Counter:
    counter = Counter(name, documentation, labels, registry=REGISTRY)
    _labelled[name] = counter
    return counter


def _histogram(
    name: str, documentation: str, *labels: str, buckets: tuple[float, ...] = _SECONDS
) -> _Histogram:
    histogram = _Histogram(name, documentation, labels, buckets=buckets, registry=REGISTRY)
    _labelled[name] = histogram
    return histogram


def _sum(name: str, documentation: str) -> Gauge:
    """Of what each worker has for itself."""
    return Gauge(name, documentation, multiprocess_mode="livesum", registry=REGISTRY)


_requests: Final = _counter(
    "keyturn_requests", "Requests that were answered.", "method", "path", "status"
)
_request_seconds: Final = _histogram(
    "keyturn_request_seconds", "Seconds until a request was answered.", "path"
)
_refusals: Final = _counter(
    "keyturn_refusals", "Requests that were answered with a problem document, by its code.", "code"
)
_exchanges: Final = _counter(
    "keyturn_exchanges",
    "Refresh tokens of ours that were judged, by verdict. Exchanges of one token at once are one.",
    "verdict",
)
_exchange_seconds: Final = _histogram(
    "keyturn_exchange_seconds", "Seconds until a refresh token was judged."
)
_begun: Final = _counter("keyturn_sessions_begun", "Sessions that were begun.")
_ended: Final = _counter(
    "keyturn_sessions_ended",
    "Sessions that these workers ended; one whose time is over, when somebody comes back to it.",
    "reason",
)
_store_seconds: Final = _histogram(
    "keyturn_store_seconds", "Seconds that a call of the database took.", "operation"
)
_store_rows: Final = _histogram(
    "keyturn_store_batch_rows",
    "Rows that a call of the database asked for at once.",
    "operation",
    buckets=_ROWS,
)
_store_failures: Final = _counter(
    "keyturn_store_failures", "Calls of the database that failed.", "operation"
)
_hash_seconds: Final = _histogram("keyturn_hash_seconds", "Seconds that hashing a password took.")
_hash_wait_seconds: Final = _histogram(
    "keyturn_hash_wait_seconds", "Seconds that a password waited to be hashed."
)
_hash_refusals: Final = _counter(
    "keyturn_hash_refusals", "Passwords that were not hashed, as too many others were to be."
)
_hook_tries: Final = _counter(
    "keyturn_hook_tries", "Tries to tell a hook of an event, by what came of it.", "hook", "outcome"
)
_hook_delay_seconds: Final = _histogram(
    "keyturn_hook_delay_seconds",
    "Seconds from an event until a hook had been told of it.",
    "hook",
    buckets=_AGES,
)
_known_at: Final = Gauge(
    "keyturn_revocations_known_timestamp_seconds",
    "When every revocation was last known, of the worker that is worst off; time() less this is"
    " how stale it is.",
    multiprocess_mode="livemin",
    registry=REGISTRY,
)
_cutoffs: Final = Gauge(
    "keyturn_cutoffs",
    "Sessions whose access tokens are void and not yet over, as the worker knows that knows most.",
    multiprocess_mode="livemax",
    registry=REGISTRY,
)
_hashes_waiting: Final = _sum("keyturn_hashes_waiting", "Passwords that wait to be hashed.")
_hashes_running: Final = _sum("keyturn_hashes_running", "Passwords that are being hashed.")
_followers: Final = _sum("keyturn_feed_followers", "Services that follow revocations.")
_connections: Final = _sum("keyturn_connections", "Connections that are open.")
_turned_away: Final = _counter(
    "keyturn_connections_refused", "Connections that were refused, as too many were open."
)
_workers: Final = _counter(
    "keyturn_workers_started", "Workers that were started; more than there are, where some ended."
)
_build: Final = Gauge(
    "keyturn_build_info",
    "Is 1; its labels tell what runs.",
    ["version", "python", "database"],
    multiprocess_mode="livemax",
    registry=REGISTRY,
)


class Figures(Observer):
    """Counts what it is told. Every verdict and reason, and what may come of the ``hooks``, is
    there from the start, as 0: an alert notices an increase, not an appearance.
    """

    def __init__(self, hooks: Iterable[str] = ()) -> None:
        for verdict in Verdict:
            _exchanges.labels(verdict)
        for hook, outcome in product(hooks, HOOK_OUTCOMES):
            _hook_tries.labels(hook, outcome)
        self._of_reason = {reason: _ended.labels(reason) for reason in EndReason}

    def exchanged(self, verdict: Verdict, seconds: float) -> None:
        _judged[verdict].append(seconds)

    def begun(self) -> None:
        _begun.inc()

    def ended(self, reason: EndReason, sessions: int) -> None:
        self._of_reason[reason].inc(sessions)

    def refused(self, code: str) -> None:
        _refusals.labels(code).inc()

    def called_store(self, operation: str, rows: int, seconds: float, *, failed: bool) -> None:
        _store_seconds_of(operation).observe(seconds)
        if operation in {"get", "swap"}:
            _store_rows_of(operation).observe(rows)
        if failed:
            _store_failures.labels(operation).inc()

    def hashed(self, seconds: float, waited: float) -> None:
        _hash_seconds.observe(seconds)
        _hash_wait_seconds.observe(waited)

    def refused_to_hash(self) -> None:
        _hash_refusals.inc()

    def tried_hook(self, hook: str, outcome: HookOutcome, seconds: float) -> None:
        _hook_tries.labels(hook, outcome).inc()
        if outcome == "told":
            _hook_delay_seconds.labels(hook).observe(seconds)


# To find one by its labels costs more than to count.
_store_seconds_of: Final = cache(_store_seconds.labels)
_store_rows_of: Final = cache(_store_rows.labels)


# ── what happens at every request ───────────────────────────────────────────────────────────────

# To write each one down as it happens would cost more than the rest of counting it.
_answered: Final[defaultdict[tuple[str, str, int], list[float]]] = defaultdict(list)
_judged: Final[defaultdict[Verdict, list[float]]] = defaultdict(list)


def count_request(method: str, path: str, status: int, seconds: float) -> None:
    """A request that was answered; method and path are each one of a few."""
    _answered[method, path, status].append(seconds)


def count_turned_away(connections: int) -> None:
    """Connections for which there was no room."""
    _turned_away.inc(connections)


def write_down() -> None:
    """Add what was gathered to the figures; the requests last, so that whoever is told of one is
    told of what came of it. What cannot be written is lost: else it would be more and more.
    """
    judged, answered = _judged.copy(), _answered.copy()
    _judged.clear()
    _answered.clear()
    for verdict, seconds in judged.items():
        _exchange_seconds.observe_all(seconds)
        _exchanges.labels(verdict).inc(len(seconds))
    for (_, path, _), seconds in answered.items():
        _request_seconds.labels(path).observe_all(seconds)
    for labels, seconds in answered.items():
        _requests.labels(*labels).inc(len(seconds))


# ── how things stand ────────────────────────────────────────────────────────────────────────────


def show_start(database: str) -> None:
    """What runs, on which kind of database. Until it answers, it cannot answer by what is stale."""
    _workers.inc()
    _build.labels(__version__, platform.python_version(), database).set(1)
    _known_at.set_to_current_time()


def show_state(
    *,
    known_at: float,
    cutoffs: int,
    hashes_waiting: int,
    hashes_running: int,
    followers: int,
    connections: int,
) -> None:
    """How this worker stands just now."""
    _known_at.set(known_at)
    _cutoffs.set(cutoffs)
    _hashes_waiting.set(hashes_waiting)
    _hashes_running.set(hashes_running)
    _followers.set(followers)
    _connections.set(connections)


# ── all of it ───────────────────────────────────────────────────────────────────────────────────


def told() -> bytes:
    """What Prometheus reads, over all workers. May be called on a thread."""
    for figure, labels in labels_of_others():
        _labelled[figure].labels(**labels)
    return generate_latest(REGISTRY)
