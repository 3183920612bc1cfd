"""Exchanges and sign-ins that race an end, or a change of claims, on another process.

Each pair of deeds meets 300 times, so closely that either is first about as often. Whatever the
clocks of the engines show, they all show the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.processes.races import USERNAME, Round, Stage, Wrong, expect, race
from tests.processes.worker import Answer, Pair

End = Callable[[Stage, Pair], tuple[Any, ...]]


# ── ends ────────────────────────────────────────────────────────────────────────────────────────


def logout(stage: Stage, pair: Pair) -> tuple[Any, ...]:
    return "logout", pair.refresh


def change_password(stage: Stage, pair: Pair) -> tuple[Any, ...]:
    current, stage.password = stage.password, f"verdant-anvils-{stage.round}"
    return "change_password", stage.user_id, current, stage.password


def disable(stage: Stage, pair: Pair) -> tuple[Any, ...]:
    return "disable", stage.user_id


def revoke_all(stage: Stage, pair: Pair) -> tuple[Any, ...]:
    return "revoke_all", stage.user_id


# ── rounds ──────────────────────────────────────────────────────────────────────────────────────


async def exchange_against(end: End, stage: Stage) -> bool:
    held = await stage.log_in()
    exchange, ended = await stage.meet(("refresh", held.refresh), end(stage, held))
    expect(exchange.refusal[:15] in {"", "session_revoked"}, f"answered {exchange.refusal}")
    return await all_is_over(stage, held, exchange, ended)


async def login_against(end: End, stage: Stage) -> bool:
    held, credentials = await stage.log_in(), (USERNAME, stage.password)
    login, ended = await stage.meet(("login", *credentials), end(stage, held))
    expect(login.refusal in {"", "invalid_credentials"}, f"answered {login.refusal}")
    return await all_is_over(stage, held, login, ended)


async def sign_in_against(end: End, stage: Stage) -> bool:
    """As an application does that has users of its own: credentials first, then the session."""
    held, epoch = await stage.log_in(), await stage.processes.do("user_epoch", stage.user_id)
    sign_in, ended = await stage.meet(("create", stage.user_id, USERNAME, epoch), end(stage, held))
    expect(sign_in.refusal in {"", "sign_in_raced"}, f"answered {sign_in.refusal}")
    return await all_is_over(stage, held, sign_in, ended)


async def all_is_over(stage: Stage, held: Pair, deed: Answer, ended: Answer) -> bool:
    """All but what answers a change of password. Says whether the deed came before the end."""
    expect(not ended.refusal, f"the end was answered {ended.refusal}")
    await stage.expect_dead(held)
    if deed.value:
        await stage.expect_dead(Pair(*deed.value))
    if isinstance(ended.value, list):
        await stage.expect_alive(Pair(*ended.value))
    return not deed.refusal


async def login_in_place_of_what_logs_out(stage: Stage) -> bool:
    held = await stage.log_in()
    login, ended = await stage.meet(
        ("login", USERNAME, stage.password, held.refresh), logout(stage, held)
    )
    expect(not login.refusal, f"answered {login.refusal}")
    expect(not ended.refusal, f"the end was answered {ended.refusal}")
    await stage.expect_dead(held)
    await stage.expect_alive(Pair(*login.value))
    [refusal] = {answer.refusal for answer in await stage.processes.all_do("refresh", held.refresh)}
    return refusal == "session_revoked replaced"


async def exchange_against_claims(stage: Stage) -> bool:
    held, name = await stage.log_in(), f"ada-{stage.round}"
    exchange, changed = await stage.meet(
        ("refresh", held.refresh), ("set_claims", stage.user_id, name)
    )
    expect(not (exchange.refusal or changed.refusal), "a change of claims is no reason to refuse")
    await stage.expect_claims(held, name)
    await stage.expect_claims(Pair(*exchange.value), name)
    told: str = await stage.processes.do("username_in", Pair(*exchange.value).access)
    return told != name


async def sign_in_against_claims(stage: Stage) -> bool:
    epoch, name = await stage.processes.do("user_epoch", stage.user_id), f"ada-{stage.round}"
    sign_in, changed = await stage.meet(
        ("create", stage.user_id, USERNAME, epoch), ("set_claims", stage.user_id, name)
    )
    expect(sign_in.refusal in {"", "sign_in_raced"}, f"answered {sign_in.refusal}")
    expect(not changed.refusal, f"answered {changed.refusal}")
    if sign_in.value:
        await stage.expect_claims(Pair(*sign_in.value), name)
    return not sign_in.refusal


async def parent_against_child(stage: Stage) -> bool:
    """Two jars, or two tabs: one missed an answer. Outside the window either may turn, not both."""
    parent = await stage.log_in()
    child = Pair(*await stage.processes.do("refresh", parent.refresh))
    stage.processes.now += 3600
    older, newer = await stage.meet(("refresh", parent.refresh), ("refresh", child.refresh))
    expect(not newer.refusal, "logged out by mistake")
    handed_out = {Pair(*answer.value).refresh for answer in (older, newer) if answer.value}
    recovered = not older.refusal
    expect(recovered or older.refusal == "refresh_superseded", f"answered {older.refusal}")
    expect((child.refresh in handed_out) == recovered, "both have turned")
    for token in handed_out - {child.refresh}:
        stage.processes.now += 3600
        await stage.processes.do("refresh", token)
    return recovered


# ── tests ───────────────────────────────────────────────────────────────────────────────────────


MEETINGS = [
    *(partial(exchange_against, end) for end in (logout, change_password, disable, revoke_all)),
    *(partial(login_against, end) for end in (change_password, disable)),
    partial(sign_in_against, revoke_all),
    login_in_place_of_what_logs_out,
    exchange_against_claims,
    sign_in_against_claims,
    parent_against_child,
]


def name_of(play: Any) -> str:
    if isinstance(play, partial):
        return f"{play.func.__name__}_{play.args[0].__name__}"
    return str(play.__name__)


@pytest.mark.parametrize("play", MEETINGS, ids=name_of)
async def test_neither_order_of_two_deeds_that_meet_does_harm(tmp_path: Path, play: Round) -> None:
    """C4, C7, G6: what is ended stays ended, what is not lives on, and there is one chain."""
    met = await race(tmp_path, play)

    print(f"{name_of(play)}: first {met.first} times, second {met.second} times")
    assert met.first
    assert met.second


@pytest.mark.parametrize(
    ("flaw", "play", "wrong"),
    [
        ("SilentEnd", partial(exchange_against, logout), "access token outlives the end"),
        ("NoEpochCheck", partial(login_against, disable), "token outlives the end"),
        ("NoEpochCheck", partial(sign_in_against, revoke_all), "token outlives the end"),
        ("SilentClaims", exchange_against_claims, "old claims are accepted"),
        ("BlindSwap", parent_against_child, "both have turned"),
    ],
    ids=lambda value: value if isinstance(value, str) else name_of(value),
)
async def test_the_races_notice_a_mistake_in_the_store(
    tmp_path: Path, flaw: str, play: Round, wrong: str
) -> None:
    """The proof that they can."""
    with pytest.raises(Wrong, match=wrong):
        await race(tmp_path, play, flaw=flaw)
