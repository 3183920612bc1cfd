"""The worlds that a change of signing keys must survive: two servers that read the keys late, whose
clocks differ, and operators who change the keys meanwhile.

What is searched is the code itself: ``SigningKeys.renew``, ``Sessions.rotate_keys`` and
``retire_key`` run against a store that stops them at every call. Keys are of paper, and the times
of the schedule are cut short, so that histories of any length reach few states.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count
from random import Random
from typing import Any, Final, NamedTuple, cast

import pytest
from msgspec.structs import replace

from keyturn import signing_keys
from keyturn.core.errors import KeyturnError
from keyturn.core.keyring import in_use
from keyturn.core.model import SealedKey
from keyturn.core.server_secret import ServerSecrets
from keyturn.sessions import Sessions
from keyturn.signing_keys import SigningKeys, checked_until, next_use
from keyturn.stores.base import Store

__all__ = ["KEPT", "Outcome", "Setting", "forget_calls", "of_paper", "search", "walk"]

HALVES: Final = 2
"""Of a second in a second: time passes by half of one."""
LAG: Final = 1 * HALVES
"""How long a server may not have noticed a change."""
LIFE: Final = 1 * HALVES
"""Of an access token."""
KEPT: Final = 4
"""Seconds that a key is kept after another took over: a token's life, the lag, and the clocks there
and back. A slow store comes on top.
"""

SCHEDULE: Final = {
    "USED_FOR": 9,
    "PUBLISHED_FOR": 5,
    "PUBLISHED_AHEAD": 4,
    "_LONG_KNOWN": 4,
}
"""In seconds. A key is known everywhere after a call, a lag, a clock and the rest of a second."""
LONG_AGO: Final = -10
"""Times before this are alike."""
MOST_KEYS: Final = 4


# ── paper ───────────────────────────────────────────────────────────────────────────────────────


class Call:
    """Something asked of the world, which answers when it pleases."""

    def __init__(self, method: str, *arguments: Any, **named: Any) -> None:
        self.method = method
        self.arguments = arguments
        self.named = named

    def __await__(self) -> Generator[Call, Any, Any]:
        return (yield self)


class AskingStore:
    """A store that asks the world."""

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any, **named: Any) -> Any:
            return await Call(method, *arguments, **named)

        return call


class Paper(NamedTuple):
    """An opened key."""

    private_key: SealedKey


def of_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys without cryptography, by the shortened schedule; making one is a call too."""
    monkeypatch.setattr(signing_keys, "open_key", lambda sealed, _: Paper(sealed))
    monkeypatch.setattr(
        signing_keys, "SigningKey", lambda key, _, **times: Paper(replace(key, **times))
    )
    monkeypatch.setattr(signing_keys, "seal_key", lambda key, *_: key.private_key)
    monkeypatch.setattr(asyncio, "to_thread", lambda *_, **times: Call("generate", **times))
    for name, seconds in SCHEDULE.items():
        monkeypatch.setattr(signing_keys, name, seconds)


class Engine(Sessions):
    """Only what changes keys."""

    def __init__(self, keys: SigningKeys, now: Callable[[], int], kept: int) -> None:
        self._keys = keys
        self._kept = kept
        self._sleep = lambda seconds: Call("sleep", seconds)
        self._clock = now
        self._loop = None  # it runs on none

    async def _read_keys(self) -> None:
        """Nobody signs here."""

    async def renew(self) -> None:
        await self._keys.renew(self.now(), self._kept)


# ── the world ───────────────────────────────────────────────────────────────────────────────────


class Answer(NamedTuple):
    """What came of a call, and the time by the caller's clock when it came."""

    value: Any
    now: int


class Deed(NamedTuple):
    """Something under way: told by what it has been answered so far, it can be taken up again."""

    name: str
    kid: str
    clock: int
    answers: tuple[Answer, ...]
    waits: int
    """Halves until its sleep is over; then below 0 for as long as it is not answered."""


class Server(NamedTuple):
    knows: tuple[SealedKey, ...]
    lag: int
    """Halves since the store has held something else."""
    deed: Deed | None


class World(NamedTuple):
    """Times are relative to the last whole second."""

    half: int
    stored: tuple[SealedKey, ...]
    servers: tuple[Server, ...]
    deeds: tuple[Deed, ...]
    left: int
    """How many deeds may be begun yet."""
    live: tuple[tuple[str, int], ...]
    """For how many halves a token of a key may live."""
    retired: frozenset[str]


@dataclass(frozen=True)
class Setting:
    """What is searched, and within which bounds."""

    clocks: tuple[int, int] = (0, 0)
    """How many halves the clock of each server is ahead of the operators'."""
    deeds: int = 1
    """How many operators change the keys."""
    slow: int = 0
    """How many halves the store may take for a call."""
    renewing: int = 1
    """How many of the servers renew the keys; each of them reads."""

    @property
    def kept(self) -> int:
        return KEPT + self.slow


class Step(NamedTuple):
    """One event in words, and the world after it; or what it breaks."""

    told: str
    world: World
    broken: str = ""


class Machine:
    """The claim: no token is refused but of a key that was retired, and of that one all are."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self.outcomes: set[str] = set()

    def start(self) -> World:
        first = _key("0", created_at=0, use_from=0)
        server = Server((first,), 0, None)
        return self._signing(
            World(0, (first,), (server, server), (), self._setting.deeds, (), frozenset())
        )

    def steps(self, world: World) -> Iterator[Step]:
        for number, server in enumerate(world.servers):
            yield from self._read(world, number, server)
            if server.deed is not None:
                yield from self._go_on(world, server.deed, _deed_of_server(number))
            elif number < self._setting.renewing:
                yield from self._begin_to_renew(world, number)
        yield from self._begin(world)
        for number, deed in enumerate(world.deeds):
            yield from self._go_on(world, deed, _deed_of_operator(number))
        yield from self._tick(world)

    def _read(self, world: World, number: int, server: Server) -> Iterator[Step]:
        if server.knows != world.stored:
            read = server._replace(knows=world.stored, lag=0)
            yield self._step(f"server {number} reads", _with_server(world, number, read))

    def _begin_to_renew(self, world: World, number: int) -> Iterator[Step]:
        """Where there is something to do."""
        now = _now(world, self._setting.clocks[number])
        spent = any(
            until <= now for until in checked_until(world.stored, self._setting.kept).values()
        )
        if spent or next_use(world.stored, now) is not None:
            deed = Deed("renew", "", self._setting.clocks[number], (Answer(None, now),), 0)
            yield from self._go_on(world, deed, _deed_of_server(number))

    def _begin(self, world: World) -> Iterator[Step]:
        if not world.left or len(world.stored) >= MOST_KEYS:
            return
        world = world._replace(left=world.left - 1)
        answers = (Answer(None, _now(world)),)
        for kid in [key.kid for key in world.stored]:
            deed = Deed("retire", kid, 0, answers, 0)
            retiring = world._replace(retired=world.retired | {kid})
            yield from self._go_on(retiring, deed, _new_deed)
        for name in ("rotate", "rotate at once"):
            yield from self._go_on(world, Deed(name, "", 0, answers, 0), _new_deed)

    def _go_on(
        self, world: World, deed: Deed, put: Callable[[World, Deed | None], World]
    ) -> Iterator[Step]:
        if deed.waits > 0:
            return
        call = self._call_of(deed)
        assert isinstance(call, Call)
        value, after = _perform(world, deed, call)
        deed = deed._replace(answers=(*deed.answers, Answer(value, _now(world, deed.clock))))
        told = f"to {deed.name} {deed.kid}: {call.method} {_words(value)}"
        following = self._call_of(deed)
        if isinstance(following, Call) and following.method == "generate":
            made = Paper(_key(_unused(after), **following.named))
            answers = (*deed.answers, Answer(made, _now(world, deed.clock)))
            deed = deed._replace(answers=answers)
            following = self._call_of(deed)
        if isinstance(following, Call):
            waits = HALVES * following.arguments[0] if following.method == "sleep" else 0
            yield self._step(told, put(after, deed._replace(waits=waits)))
            return
        self.outcomes.add(f"{deed.name}: {following}")
        left = deed.name == "retire" and any(key.kid == deed.kid for key in after.stored)
        broken = "what was retired is there still" if left and following == "done" else ""
        yield self._step(f"{told}; {following}", put(after, None), broken)

    def _call_of(self, deed: Deed) -> Call | str:
        return _call_of(deed.name, deed.kid, deed.answers, self._setting.kept)

    def _tick(self, world: World) -> Iterator[Step]:
        deeds = [*world.deeds, *(server.deed for server in world.servers if server.deed)]
        if any(server.lag >= LAG for server in world.servers if server.knows != world.stored):
            return
        if any(deed.waits <= -self._setting.slow for deed in deeds):
            return
        later = world._replace(
            half=(world.half + 1) % HALVES,
            servers=tuple(
                Server(
                    server.knows,
                    server.lag + (server.knows != world.stored),
                    server.deed and server.deed._replace(waits=server.deed.waits - 1),
                )
                for server in world.servers
            ),
            deeds=tuple(deed._replace(waits=deed.waits - 1) for deed in world.deeds),
            live=tuple((kid, left - 1) for kid, left in world.live if left > 1),
        )
        if later.half == 0:
            later = _a_second_later(later)
        yield self._step("half a second passes", later)

    def _step(self, told: str, world: World, broken: str = "") -> Step:
        if not world.stored:
            return Step(told, world, "there is no key")
        world = self._signing(world)
        for kid, _ in world.live:
            if kid in world.retired:
                continue
            for number, server in enumerate(world.servers):
                if all(key.kid != kid for key in server.knows):
                    broken = broken or f"server {number} refuses a good token of key {kid}"
        return Step(told, world, broken)

    def _signing(self, world: World) -> World:
        """Each server signs a token at every moment."""
        live = dict(world.live)
        for server, clock in zip(world.servers, self._setting.clocks, strict=True):
            live[in_use(server.knows, _now(world, clock)).kid] = LIFE
        known = _kids(world)
        return world._replace(
            live=tuple(sorted(live.items())),
            retired=frozenset(kid for kid in world.retired if kid in known or kid in live),
        )


# ── what the world does ─────────────────────────────────────────────────────────────────────────


def _now(world: World, clock: int = 0) -> int:
    return (world.half + clock) // HALVES


def _key(kid: str, *, created_at: int, use_from: int) -> SealedKey:
    return SealedKey(
        kid=kid, algorithm="ES256", created_at=created_at, use_from=use_from, sealed=b""
    )


_SECRETS: Final = ServerSecrets([bytes(range(32))])


@cache
def _call_of(name: str, kid: str, answers: tuple[Answer, ...], kept: int) -> Call | str:
    """What a deed asks next; in words, how it ended."""
    times = [0]
    keys = SigningKeys(cast("Store", AskingStore()), _SECRETS, "ES256", bytes)
    engine = Engine(keys, lambda: times[-1], kept)
    deed: Coroutine[Call, Any, Any]
    match name:
        case "renew":
            deed = engine.renew()
        case "rotate":
            deed = engine.rotate_keys()
        case "rotate at once":
            deed = engine.rotate_keys(at_once=True)
        case _:
            deed = engine.retire_key(kid)
    try:
        for answer in answers:
            times.append(answer.now)
            call = deed.send(answer.value)
    except StopIteration:
        return "done"
    except KeyturnError as error:
        return str(error)
    deed.close()
    return call


def forget_calls() -> None:
    """What deeds ask depends on the code, which a test may have changed."""
    _call_of.cache_clear()


def _perform(world: World, deed: Deed, call: Call) -> tuple[Any, World]:
    """The answer, and the world after it."""
    stored, retired = list(world.stored), world.retired
    value: Any = None
    match call.method, call.arguments:
        case "signing_keys", ():
            value = world.stored
        case "add_signing_key", (key,):
            if value := stored[-1].kid == call.named["after"]:
                stored.append(key)
        case "replace_signing_key", (old, new):
            if value := old in stored:
                stored[stored.index(old)] = new
        case "drop_signing_keys", (kids,):
            if value := any(key.kid == call.named["beside"] for key in stored):
                stored = [key for key in stored if key.kid not in kids]
                if deed.name != "renew":
                    retired |= set(kids)
    return value, world._replace(stored=tuple(stored), retired=retired)


def _words(value: Any) -> str:
    if isinstance(value, tuple) and not isinstance(value, Paper):
        return " ".join(f"{key.kid}@{key.use_from}" for key in value)
    return "" if value is None else str(getattr(value, "private_key", value))


def _unused(world: World) -> str:
    taken = _kids(world) | world.retired | {kid for kid, _ in world.live}
    return next(str(number) for number in count() if str(number) not in taken)


def _kids(world: World) -> set[str]:
    """Of every key that somebody has in hand."""
    deeds = [*world.deeds, *(server.deed for server in world.servers if server.deed)]
    kids = {key.kid for key in world.stored}
    kids |= {key.kid for server in world.servers for key in server.knows}
    for deed in deeds:
        kids.add(deed.kid)
        for answer in deed.answers:
            if isinstance(answer.value, Paper):
                kids.add(answer.value.private_key.kid)
            elif isinstance(answer.value, tuple):
                kids |= {key.kid for key in answer.value}
    return kids


def _a_second_later(world: World) -> World:
    """Every time is a second less."""
    return world._replace(
        stored=_older(world.stored),
        servers=tuple(
            Server(_older(server.knows), server.lag, server.deed and _older_deed(server.deed))
            for server in world.servers
        ),
        deeds=tuple(map(_older_deed, world.deeds)),
    )


def _older(keys: tuple[SealedKey, ...]) -> tuple[SealedKey, ...]:
    return tuple(map(_older_key, keys))


@cache
def _older_key(key: SealedKey) -> SealedKey:
    return replace(
        key,
        created_at=max(LONG_AGO, key.created_at - 1),
        use_from=max(LONG_AGO, key.use_from - 1),
    )


def _older_deed(deed: Deed) -> Deed:
    return deed._replace(answers=tuple(map(_older_answer, deed.answers)))


def _older_answer(answer: Answer) -> Answer:
    value = answer.value
    if isinstance(value, Paper):
        value = Paper(_older_key(value.private_key))
    elif isinstance(value, tuple):
        value = _older(value)
    return Answer(value, max(LONG_AGO, answer.now - 1))


def _with_server(world: World, number: int, server: Server) -> World:
    servers = list(world.servers)
    servers[number] = server
    return world._replace(servers=tuple(servers))


def _new_deed(world: World, deed: Deed | None) -> World:
    return world._replace(deeds=(*world.deeds, *([] if deed is None else [deed])))


def _deed_of_server(number: int) -> Callable[[World, Deed | None], World]:
    return lambda world, deed: _with_server(
        world, number, world.servers[number]._replace(deed=deed)
    )


def _deed_of_operator(number: int) -> Callable[[World, Deed | None], World]:
    def put(world: World, deed: Deed | None) -> World:
        others = world.deeds[:number], world.deeds[number + 1 :]
        deeds = (*others[0], *([] if deed is None else [deed]), *others[1])
        return world._replace(deeds=deeds)

    return put


# ── the search ──────────────────────────────────────────────────────────────────────────────────


class Outcome(NamedTuple):
    """What a search has seen."""

    worlds: int
    failure: str
    """The shortest history that breaks the claim, one event a line; empty if none does."""
    outcomes: frozenset[str]
    """How deeds ended."""


def search(setting: Setting) -> Outcome:
    """Every history, breadth first, until the claim breaks or nothing new is reached."""
    machine = Machine(setting)
    start = machine.start()
    origins: dict[World, tuple[World, str] | None] = {start: None}
    worlds = [start]
    for world in worlds:  # grows while it is read
        for told, reached, broken in machine.steps(world):
            if broken:
                history = [*_history(world, origins), told, broken]
                return Outcome(len(origins), "\n".join(history), frozenset(machine.outcomes))
            if reached not in origins:
                origins[reached] = world, told
                worlds.append(reached)
    return Outcome(len(origins), "", frozenset(machine.outcomes))


def walk(setting: Setting, *, walks: int, steps: int) -> Outcome:
    """Histories by chance, of which there are too many to search them all."""
    machine = Machine(setting)
    chance = Random(0)
    for _ in range(walks):
        world, history = machine.start(), []
        for _ in range(steps):
            told, world, broken = chance.choice(list(machine.steps(world)))
            history.append(told)
            if broken:
                failure = "\n".join([*history, broken])
                return Outcome(walks * steps, failure, frozenset(machine.outcomes))
    return Outcome(walks * steps, "", frozenset(machine.outcomes))


def _history(world: World, origins: dict[World, tuple[World, str] | None]) -> list[str]:
    told = []
    while (origin := origins[world]) is not None:
        world, event = origin
        told.append(event)
    return told[::-1]
