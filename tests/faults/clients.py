"""Honest clients, and crowds of them. They follow the rule of SPEC 4.2, go on whatever happens, and
take offence at what no client must ever be answered.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final, Protocol

from keyturn.core import base64url
from keyturn.core.refresh_token import PREFIX
from keyturn.wire.settings import REFRESH_PATH
from tests.processes.http_client import Connection, Reply, connected
from tests.processes.races import expect
from tests.wire.support import ACCESS, REFRESH, Jar

__all__ = [
    "PATIENCE",
    "RECOVERY",
    "Client",
    "Crowd",
    "Issued",
    "Page",
    "Program",
    "Wallet",
    "crowd",
    "honest_clients",
    "together",
    "told",
]

PATIENCE: Final = 4.0
"""Seconds that a client waits for an answer."""
PAUSE: Final = 1.0
"""Seconds from an answered exchange to the next one."""
RECOVERY: Final = 10.0
"""Seconds after a fault within which everybody is answered."""

_LONGEST_RETRY: Final = 1.0
_RECONNECT: Final = 0.2
_STUCK: Final = 60.0


# ── where a client keeps its tokens ─────────────────────────────────────────────────────────────


class Issued(Protocol):
    """A pair of tokens, wherever it comes from."""

    @property
    def access_token(self) -> str: ...

    @property
    def refresh_token(self) -> str: ...


class Wallet(Issued, Protocol):
    """Keeps the pair of one session, and presents it."""

    tabs: int
    """How many exchange at once, each for itself."""

    async def exchange(self, connection: Connection) -> Reply:
        """Present the refresh token, and keep what the answer brings."""
        ...

    async def log_out(self, connection: Connection) -> Reply: ...


class Program:
    """No browser: it gets its tokens in JSON and stores them itself."""

    tabs = 1

    def __init__(self, tokens: Issued) -> None:
        self.access_token = tokens.access_token
        self.refresh_token = tokens.refresh_token

    async def exchange(self, connection: Connection) -> Reply:
        presented = self.refresh_token
        reply = await connection.post(REFRESH_PATH, refreshToken=presented)
        if reply.status == 200:
            self.access_token = reply.access_token
            if self.refresh_token == presented:
                self.refresh_token = reply.refresh_token
        return reply

    async def log_out(self, connection: Connection) -> Reply:
        return await connection.post("/logout", refreshToken=self.refresh_token)


class Page:
    """A page of the server's own, open in two tabs of a browser that has the tokens in cookies."""

    tabs = 2

    def __init__(self, tokens: Issued) -> None:
        self._jar = Jar()
        self._jar.kept = {
            (ACCESS, "", "/"): tokens.access_token,
            (REFRESH, "", "/"): tokens.refresh_token,
        }

    @property
    def access_token(self) -> str:
        return self._jar.kept[ACCESS, "", "/"]

    @property
    def refresh_token(self) -> str:
        return self._jar.kept[REFRESH, "", "/"]

    async def exchange(self, connection: Connection) -> Reply:
        reply = await connection.post_as_page(REFRESH_PATH, self._jar.cookie_header(REFRESH_PATH))
        self._jar.take(reply)
        return reply

    async def log_out(self, connection: Connection) -> Reply:
        """The cookies are kept here, to try later whether they are worth anything."""
        return await connection.post_as_page("/logout", self._jar.cookie_header("/logout"))


# ── a client ────────────────────────────────────────────────────────────────────────────────────


class Client:
    """Has one session, and asks one server after the other."""

    def __init__(self, sid: str, wallet: Wallet, ports: Sequence[int]) -> None:
        self.sid = sid
        self.wallet = wallet
        self.held = [wallet.refresh_token]
        """Every refresh token that it ever held, in their order."""
        self.access_tokens = [wallet.access_token]
        """Every one that it ever held."""
        self.met: Counter[str] = Counter()
        """What its exchanges came to: a status, or nothing."""
        self.begun_at = self.answered_at = self.failed_at = self.recovered_at = float("-inf")
        self.wants_out = False
        self.log_out_met = ""
        """What its logout came to, if it tried."""
        self._may_stop = False
        self._called = asyncio.Event()
        self._ports = itertools.cycle(ports)

    def stop(self) -> None:
        """As soon as the last exchange was answered."""
        self._may_stop = True
        self._called.set()

    def leave(self) -> None:
        """Log out next."""
        self.wants_out = True
        self._called.set()

    async def live(self, news: asyncio.Event) -> None:
        """Exchange again and again, until it is called. Whatever it is answered is ``news``.

        Raises:
            Wrong: it was answered as no honest client must be.
        """
        self.begun_at = time.monotonic()
        while not (self.wants_out or (self._may_stop and self._is_answered)):
            pause = await self._exchange()
            news.set()
            if self._is_answered:
                await _happens(self._called, pause)
            else:
                await asyncio.sleep(pause)
        if self.wants_out:
            await self._log_out()
            news.set()

    @property
    def _is_answered(self) -> bool:
        return self.answered_at > self.failed_at

    async def _exchange(self) -> float:
        """One try in each tab. Returns for how many seconds to pause then."""
        tries = (self._ask(self.wallet.exchange) for _ in range(self.wallet.tabs))
        replies = await asyncio.gather(*tries)
        self.met.update(map(_outcome, replies))
        for reply in filter(None, replies):
            _expect_honest(reply)
        if self.wallet.refresh_token != self.held[-1]:
            self.held.append(self.wallet.refresh_token)
        if self.wallet.access_token != self.access_tokens[-1]:
            self.access_tokens.append(self.wallet.access_token)
        self._note_time(answered=all(reply and reply.status == 200 for reply in replies))
        return max(map(_pause_after, replies))

    def _note_time(self, *, answered: bool) -> None:
        now = time.monotonic()
        if not answered:
            self.failed_at = now
            return
        if not self._is_answered:
            self.recovered_at = now
        self.answered_at = now

    async def _log_out(self) -> None:
        """Tried once: the cookies are gone in any case."""
        reply = await self._ask(self.wallet.log_out)
        self.log_out_met = _outcome(reply)
        if reply is not None:
            expect(reply.status in {200, 503}, f"a logout was answered {told(reply)}")

    async def _ask(self, ask: Callable[[Connection], Awaitable[Reply]]) -> Reply | None:
        """The answer of the next server, if one comes in time."""
        with suppress(OSError):
            async with asyncio.timeout(PATIENCE), connected(next(self._ports)) as connection:
                return await ask(connection)
        return None


def told(reply: Reply) -> str:
    """The status, and the code of a problem."""
    return f"{reply.status} {reply.document.get('code', '')}".strip()


def _outcome(reply: Reply | None) -> str:
    return "no answer" if reply is None else str(reply.status)


def _expect_honest(reply: Reply) -> None:
    expect(reply.status in {200, 503}, f"an exchange was answered {told(reply)}")
    expect(reply.status == 200 or "retry-after" in reply.headers, "503 without Retry-After")
    deleted = [line for line in reply.set_cookies if "Max-Age=0" in line]
    expect(not deleted, "an exchange deleted a cookie")


def _pause_after(reply: Reply | None) -> float:
    if reply is None:
        return _RECONNECT
    if reply.status == 200:
        return PAUSE
    return min(float(reply.headers["retry-after"]), _LONGEST_RETRY)


async def _happens(event: asyncio.Event, seconds: float) -> bool:
    """Whether it does within this time."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


# ── many of them ────────────────────────────────────────────────────────────────────────────────


class Crowd:
    """Clients that begin at a constant rate, so that sessions turn all the time: each does with its
    first exchange, and then for a window it does not.
    """

    def __init__(self, clients: Iterable[Client]) -> None:
        self._over = asyncio.Event()
        self._news = asyncio.Event()
        self._yet_to_begin = deque(clients)
        self.begun: list[Client] = []
        self.seconds_to_recover = 0.0

    async def begin(self, per_second: float, tasks: asyncio.TaskGroup) -> None:
        while self._yet_to_begin and not await _happens(self._over, 1 / per_second):
            client = self._yet_to_begin.popleft()
            self.begun.append(client)
            tasks.create_task(client.live(self._news))

    def end(self) -> None:
        """Nobody begins any more; whoever was answered stops, and all others once they are."""
        self._over.set()
        for client in self.begun:
            client.stop()

    @property
    def met(self) -> Counter[str]:
        """What all exchanges came to."""
        return sum((client.met for client in self.begun), Counter())

    @property
    def turns(self) -> int:
        """How often somebody got a new token."""
        return sum(len(client.held) - 1 for client in self.begun)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what the crowd is about to meet."""
        async with asyncio.timeout(_STUCK):
            await self._until(condition)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._news.clear()
            await self._news.wait()

    async def meets(self, count: int, what: str) -> None:
        """Wait until that came of so many more exchanges."""
        before = self.met[what]
        await self.until(lambda: self.met[what] >= before + count)

    async def turns_more(self, count: int) -> None:
        """Wait until so many more got a new token."""
        before = self.turns
        await self.until(lambda: self.turns >= before + count)

    async def log_out(self, leaving: Sequence[Client]) -> None:
        """Have them log out, and wait until they have tried, whatever came of it."""
        for client in leaving:
            client.leave()
        await self.until(lambda: all(client.log_out_met for client in leaving))

    async def recovers(self) -> None:
        """Wait until everybody is answered again.

        Raises:
            TimeoutError: it takes too long.
        """
        now = time.monotonic()
        async with asyncio.timeout(RECOVERY):
            await self._until(
                lambda: all(client.answered_at > now for client in self._staying(now))
            )
        answered_again = max(client.recovered_at for client in self._staying(now))
        self.seconds_to_recover = max(0.0, answered_again - now)

    def __str__(self) -> str:
        met = ", ".join(f"{count} {what}" for what, count in self.met.most_common())
        return (
            f"{self.met.total()} exchanges ({met}), {self.turns} turns,"
            f" all answered {self.seconds_to_recover:.1f} s after the fault"
        )

    def _staying(self, since: float) -> list[Client]:
        return [each for each in self.begun if each.begun_at < since and not each.wants_out]


@asynccontextmanager
async def crowd(clients: Iterable[Client], *, per_second: float) -> AsyncIterator[Crowd]:
    """Clients that come while the context lasts. At its end each of them has been answered.

    Raises:
        Wrong: as soon as one of them was answered as it must not be.
    """
    async with together() as tasks:
        them = Crowd(clients)
        tasks.create_task(them.begin(per_second, tasks))
        yield them
        them.end()


@asynccontextmanager
async def together() -> AsyncIterator[asyncio.TaskGroup]:
    """A group of tasks, of which the first one that fails tells what is wrong with all."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        raise _first_of(group) from None


def _first_of(error: BaseException) -> BaseException:
    return _first_of(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def honest_clients(sessions: Iterable[Issued], ports: Sequence[int]) -> list[Client]:
    """Programs and pages by turns, each with a session of its own."""
    kinds: tuple[Callable[[Issued], Wallet], ...] = (Program, Page)
    orders = [[*ports[start:], *ports[:start]] for start in range(len(ports))]
    makings = itertools.cycle(itertools.product(kinds, orders))
    return [
        Client(_sid_of(tokens.refresh_token), kind(tokens), order)
        for tokens, (kind, order) in zip(sessions, makings, strict=False)
    ]


def _sid_of(refresh_token: str) -> str:
    """As SPEC 3 lays the token out."""
    return base64url.encode(base64url.decode(refresh_token.removeprefix(PREFIX))[1:17])
