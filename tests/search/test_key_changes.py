"""Every history of a change of signing keys, up to the bounds that each test names.

Run with ``-v -s`` to read how many worlds a search reached, and the shortest failing histories.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from keyturn import sessions as sessions_module
from keyturn import signing_keys
from keyturn.core.keyring import in_use
from keyturn.core.model import SealedKey
from keyturn.sessions import Sessions

from . import key_changes
from .key_changes import Outcome, Setting, of_paper, search, walk

pytestmark = pytest.mark.no_cover  # the tracer makes them six times slower

CHANGED_MEANWHILE = "The signing keys were changed meanwhile"
EVERY_END = {
    "renew: done",
    "rotate: done",
    f"rotate: {CHANGED_MEANWHILE}",
    "rotate at once: done",
    f"rotate at once: {CHANGED_MEANWHILE}",
    "retire: done",
    f"retire: {CHANGED_MEANWHILE}",
}
CLOCKS = [(0, 0), (2, 0), (0, -2)]
"""Of the servers, in halves of a second ahead of the operator's: never more than one apart."""


@pytest.fixture(autouse=True)
def paper(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    of_paper(monkeypatch)
    yield
    key_changes.forget_calls()


def told(outcome: Outcome) -> Outcome:
    sys.stdout.write(f"\n{outcome.worlds} worlds\n{outcome.failure}\n")
    return outcome


@pytest.mark.parametrize("clocks", CLOCKS)
def test_no_good_token_is_refused_while_keys_change(clocks: tuple[int, int]) -> None:
    """E2: whenever an operator rotates or retires a key, however late the servers read it, and
    whatever they renew meanwhile, in histories of any length.
    """
    outcome = told(search(Setting(clocks=clocks)))

    assert outcome.failure == ""
    assert outcome.outcomes == EVERY_END
    assert outcome.worlds > 100_000


@pytest.mark.parametrize("clocks", [*CLOCKS, (-2, 0), (0, 2), (1, -1), (-1, 1)])
def test_no_good_token_is_refused_while_several_change_the_keys(clocks: tuple[int, int]) -> None:
    """E2: three operators, two servers that renew, and a slow store, in histories by chance."""
    setting = Setting(clocks=clocks, deeds=3, slow=1, renewing=2)

    outcome = told(walk(setting, walks=200, steps=120))

    assert outcome.failure == ""
    assert outcome.outcomes == EVERY_END


async def drop_first(self: Sessions, kid: str) -> None:
    heir = await self._keys.heir_of(kid, self.now())
    await self._keys.drop(kid, heir=heir.key.kid)
    if not heir.signs:
        await self._let_sign(heir.key)


async def let_sign_at_once(self: Sessions, key: SealedKey) -> None:
    await self._keys.let_sign(key, self.now())


def in_use_by_time(keys: tuple[SealedKey, ...], now: int) -> SealedKey:
    return in_use(sorted(keys, key=lambda key: (key.use_from, key.created_at)), now)


BUGS = {
    "drops a key before the next one signs": (Sessions, "retire_key", drop_first),
    "lets a key sign that nobody knows": (Sessions, "_let_sign", let_sign_at_once),
    "waits less than the servers are late": (sessions_module, "KNOWN_AFTER", 0.5),
    "takes a new key for one that is long known": (signing_keys, "_LONG_KNOWN", 0),
    "forgets that clocks differ": (signing_keys, "_CLOCKS_APART", 0),
    "publishes the next key when it is needed": (signing_keys, "PUBLISHED_FOR", 0),
    "drops a key while its last token lives": (key_changes, "KEPT", 1),
}


@pytest.mark.parametrize(("where", "name", "bug"), BUGS.values(), ids=BUGS)
def test_a_planted_bug_is_found(
    monkeypatch: pytest.MonkeyPatch, where: object, name: str, bug: object
) -> None:
    """The same search finds what is wrong with everything beside our way."""
    monkeypatch.setattr(where, name, bug)

    outcome = told(search(Setting(clocks=(0, -2))))

    assert "refuses a good token" in outcome.failure


def test_keys_in_the_order_of_their_times_would_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was to be used later would come back after another has taken its place."""
    for module in (signing_keys, key_changes):
        monkeypatch.setattr(module, "in_use", in_use_by_time)

    outcome = told(search(Setting()))

    assert "refuses a good token" in outcome.failure


def test_a_key_that_is_just_dropped_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever retires the only key must make another."""

    async def just_drop(self: Sessions, kid: str) -> None:
        await self._keys.drop(kid, heir=kid)

    monkeypatch.setattr(Sessions, "retire_key", just_drop)

    assert "there is no key" in search(Setting()).failure
