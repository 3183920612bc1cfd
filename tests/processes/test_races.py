"""Exchanges and sign-ins that race an end, or a change of claims, on another process.

Each pair of deeds meets so closely that either is first about as often: on a server, which lets
them go on side by side until one waits for the other, a thousand times where an exchange races an
end. Whatever the clocks of the engines show, they all show the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from tests.processes.races import Round, Stage, Wrong, expect, race
from tests.processes.team import Deed
from tests.processes.worker import Answer, Pair

End = Callable[[Stage, Pair], Deed]


# ── ends ────────────────────────────────────────────────────────────────────────────────────────


def logout(stage: Stage, pair: Pair) -> Deed:
    return "logout", pair.refresh


def change_password(stage: Stage, pair: Pair) -> Deed:
    current, stage.password = stage.password, f"verdant-anvils-{stage.round}"
    return "change_password", stage.user_id, current, stage.password


def disable(stage: Stage, pair: Pair) -> Deed:
    return "disable", stage.user_id


def revoke_all(stage: Stage, pair: Pair) -> Deed:
    return "revoke_all", stage.user_id


# ── rounds ──────────────────────────────────────────────────────────────────────────────────────


async def exchange_against(end: End, stage: Stage) -> bool:
    held = await stage.sign_in()
    exchange, ended = await stage.meet(("refresh", held.refresh), end(stage, held))
    expect(exchange.refusal[:15] in {"", "session_revoked"}, f"answered {exchange.refusal}")
    return await all_is_over(stage, held, exchange, ended)


async def exchange_against_logout_of_others(stage: Stage) -> bool:
    held, other = await stage.sign_in(), await stage.sign_in()
    exchange, ended = await stage.meet(("refresh", held.refresh), ("logout_others", other.access))
    expect(exchange.refusal[:15] in {"", "session_revoked"}, f"answered {exchange.refusal}")
    return await all_is_over(stage, held, exchange, ended, alive=[other])


async def login_against(end: End, stage: Stage) -> bool:
    await stage.do("enable", stage.user_id)  # as the last round may have disabled the user
    held, credentials = await stage.sign_in(), (stage.username, stage.password)
    login, ended = await stage.meet(("login", *credentials), end(stage, held))
    expect(login.refusal in {"", "invalid_credentials"}, f"answered {login.refusal}")
    return await all_is_over(stage, held, login, ended)


async def sign_in_against(end: End, stage: Stage) -> bool:
    """As an application does that has users of its own: credentials first, then the session."""
    held, epoch = await stage.sign_in(), await stage.do("user_epoch", stage.user_id)
    sign_in, ended = await stage.meet(
        ("create", stage.user_id, stage.username, epoch), end(stage, held)
    )
    expect(sign_in.refusal in {"", "sign_in_raced"}, f"answered {sign_in.refusal}")
    return await all_is_over(stage, held, sign_in, ended)


async def all_is_over(
    stage: Stage, held: Pair, deed: Answer, ended: Answer, alive: Sequence[Pair] = ()
) -> bool:
    """All but ``alive`` and what answers a change of password. Says whether the deed came before
    the end.
    """
    expect(not ended.refusal, f"the end was answered {ended.refusal}")
    dead = [held, Pair(*deed.value)] if deed.value else [held]
    if isinstance(ended.value, list):
        alive = [*alive, Pair(*ended.value)]
    await stage.expect_fates(dead=dead, alive=alive)
    return not deed.refusal


async def login_in_place_of_what_logs_out(stage: Stage) -> bool:
    held = await stage.sign_in()
    login, ended = await stage.meet(
        ("login", stage.username, stage.password, held.refresh), logout(stage, held)
    )
    expect(not login.refusal, f"answered {login.refusal}")
    expect(not ended.refusal, f"the end was answered {ended.refusal}")
    await stage.expect_fates(dead=[held], alive=[Pair(*login.value)])
    [refusal] = {answer.refusal for answer in await stage.all_do("refresh", held.refresh)}
    return refusal == "session_revoked replaced"


async def exchange_against_claims(stage: Stage) -> bool:
    held, name = await stage.sign_in(), f"name-{stage.round}"
    exchange, changed = await stage.meet(
        ("refresh", held.refresh), ("set_claims", stage.user_id, name)
    )
    expect(not exchange.refusal, f"answered {exchange.refusal}")
    expect(not changed.refusal, f"answered {changed.refusal}")
    renewed = Pair(*exchange.value)
    await stage.expect_claims(name, held, renewed)
    return renewed.username != name


async def sign_in_against_claims(stage: Stage) -> bool:
    epoch, name = await stage.do("user_epoch", stage.user_id), f"name-{stage.round}"
    sign_in, changed = await stage.meet(
        ("create", stage.user_id, stage.username, epoch), ("set_claims", stage.user_id, name)
    )
    expect(sign_in.refusal in {"", "sign_in_raced"}, f"answered {sign_in.refusal}")
    expect(not changed.refusal, f"answered {changed.refusal}")
    if sign_in.value:
        await stage.expect_claims(name, Pair(*sign_in.value))
    return not sign_in.refusal


async def parent_against_child(stage: Stage) -> bool:
    """Two jars, or two tabs: one missed an answer. Outside the window either may turn, not both."""
    parent = await stage.sign_in()
    child = Pair(*await stage.do("refresh", parent.refresh))
    stage.now += 3600
    older, newer = await stage.meet(("refresh", parent.refresh), ("refresh", child.refresh))
    expect(not newer.refusal, "logged out by mistake")
    handed_out = {Pair(*answer.value).refresh for answer in (older, newer) if answer.value}
    recovered = not older.refusal
    expect(recovered or older.refusal == "refresh_superseded", f"answered {older.refusal}")
    expect((child.refresh in handed_out) == recovered, "both have turned")
    for token in handed_out - {child.refresh}:
        stage.now += 3600
        await stage.do("refresh", token)
    return recovered


# ── tests ───────────────────────────────────────────────────────────────────────────────────────


EXCHANGES_AGAINST_ENDS = [
    *(partial(exchange_against, end) for end in (logout, change_password, disable)),
    exchange_against_logout_of_others,
]
OTHERS = [
    partial(exchange_against, revoke_all),
    *(partial(login_against, end) for end in (change_password, disable)),
    partial(sign_in_against, revoke_all),
    login_in_place_of_what_logs_out,
    exchange_against_claims,
    sign_in_against_claims,
    parent_against_child,
]
MEETINGS = [
    *(("sqlite", 300, play) for play in EXCHANGES_AGAINST_ENDS + OTHERS),
    *(("postgresql", 1000, play) for play in EXCHANGES_AGAINST_ENDS),
    *(("postgresql", 100, play) for play in OTHERS),
]


def name_of(value: Any) -> str:
    if isinstance(value, partial):
        return f"{value.func.__name__}_{value.args[0].__name__}"
    return str(getattr(value, "__name__", value))


@pytest.mark.parametrize(("kind", "rounds", "play"), MEETINGS, indirect=["kind"], ids=name_of)
async def test_neither_order_of_two_deeds_that_meet_does_harm(
    url: str, rounds: int, play: Round
) -> None:
    """C4, C7, G6: what is ended stays ended, what is not lives on, and there is one chain."""
    met = await race(url, play, rounds=rounds)

    print(f"{name_of(play)}: first {met.first} times, second {met.second} times")
    assert min(met.first, met.second) > rounds / 10


@pytest.mark.parametrize(
    ("flaw", "play", "wrong"),
    [
        ("SilentEnd", partial(exchange_against, logout), "access token outlives the end"),
        ("NoEpochCheck", partial(login_against, disable), "token outlives the end"),
        ("NoEpochCheck", partial(sign_in_against, revoke_all), "token outlives the end"),
        ("SilentClaims", exchange_against_claims, "old claims are accepted"),
        ("BlindSwap", parent_against_child, "both have turned"),
    ],
    ids=name_of,
)
async def test_the_races_notice_a_mistake_in_the_store(
    url: str, flaw: str, play: Round, wrong: str
) -> None:
    """The proof that they can."""
    with pytest.raises(Wrong, match=wrong):
        await race(url, play, rounds=3000, flaw=flaw)  # as a rule a few dozen will do
