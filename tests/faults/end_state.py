"""What must hold once a fault is over: each session that the store holds is one chain of tokens,
and each end that it holds is an end, whichever server is asked.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Final

from msgspec.structs import replace

from keyturn.core import refresh_token
from keyturn.core.model import EventKind, Session
from keyturn.sessions import Sessions
from keyturn.stores.base import Swap
from keyturn.wire.settings import REFRESH_PATH
from tests.faults.clients import Client, together, told
from tests.processes.http_client import Connection, Reply, connected
from tests.processes.races import expect

__all__ = ["examine"]

_AT_ONCE: Final = 8
_LEARNT: Final = 10.0
"""Seconds: twice what a call waits for a database that does not answer, as one may be under way."""


async def examine(
    clients: Sequence[Client],
    sessions: Sessions,
    ports: Sequence[int],
    *,
    fell_back: bool = False,
    forgotten: bool = False,
) -> Counter[str]:
    """Ask every server about the session of every client, and compare with the store.

    Args:
        clients: of whom none is at work any more.
        sessions: an engine on their store.
        ports: of the servers.
        fell_back: whether the store may have lost turns, ends and sessions. Lost ends hold all the
            same, as the servers know of them;
        forgotten: unless they do not any more.

    Returns how many sessions were found to be what.

    Raises:
        Wrong: what must never be.
    """
    found: Counter[str] = Counter()
    waiting = iter(clients)

    async def examine_next() -> None:
        async with AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(connected(port)) for port in ports]
            for client in waiting:
                examination = _Examination(
                    client, sessions, servers, fell_back=fell_back, forgotten=forgotten
                )
                found[await examination.result()] += 1

    async with together() as tasks:
        for _ in range(_AT_ONCE):
            tasks.create_task(examine_next())
    return found


class _Examination:
    """Of one client's session."""

    def __init__(
        self,
        client: Client,
        sessions: Sessions,
        servers: Sequence[Connection],
        *,
        fell_back: bool,
        forgotten: bool,
    ) -> None:
        self._client = client
        self._sessions = sessions
        self._servers = servers
        self._fell_back = fell_back
        self._forgotten = forgotten

    async def result(self) -> str:
        row = await self._row()
        logged_out = self._client.log_out_met == "200"
        if row is None:
            expect(self._fell_back, "a session is lost")
            return await self._is_over("unknown")
        if row.ended_at is not None:
            expect(self._client.wants_out, f"logged out by mistake: {row.end_reason}")
            return await self._is_over("logged out")
        expect(self._fell_back or not logged_out, "a logout that was acknowledged is undone")
        if logged_out and not self._forgotten:
            return await self._is_ended_anew()
        return await self._is_one_chain(row)

    # ── over ────────────────────────────────────────────────────────────────────────────────────

    async def _is_over(self, what: str) -> str:
        for server in self._servers:
            reply = await self._present(self._client.wallet.refresh_token, server)
            expect(reply.status == 401, "the refresh token outlives the session")
            if what != "unknown":
                await self._voids_access(server)
        return what

    async def _voids_access(self, server: Connection) -> None:
        """By now, or as soon as this server has learnt of what another did."""
        until = time.monotonic() + _LEARNT
        for token in self._client.access_tokens:
            while (reply := await server.get("/me", token)).status != 401:
                in_time = time.monotonic() < until
                expect(in_time, f"the access token outlives the session: {told(reply)}")

    async def _is_ended_anew(self) -> str:
        """The store lost a logout; the servers have not."""
        await self._is_over("logged out")
        row = await self._known_row()
        expect(row.ended_at is not None, "a logout is lost")
        return "logged out anew"

    # ── one chain ───────────────────────────────────────────────────────────────────────────────

    async def _is_one_chain(self, row: Session) -> str:
        if row.generation < self._generation(self._client.wallet.refresh_token):
            expect(self._fell_back, "the store lost a turn")
            await self._present(self._client.wallet.refresh_token, self._servers[0])
            row = await self._known_row()
        await self._let_window_pass(row)
        held = [*self._client.held, await self._next_token()]
        chain = [self._generation(token) for token in held]
        recovered, resumed = await self._events()
        expect(chain == sorted(set(chain)), "the generations of the tokens do not rise")
        expect(self._fell_back or not resumed, "the store lost a turn")
        if resumed:
            return "resumed"
        turns = (await self._known_row()).generation
        expect(len(held) - 1 <= turns <= len(held) - 1 + recovered, "a token turned twice")
        if recovered:
            return "recovered"
        await self._are_refused(held[:-2])
        return "living"

    async def _let_window_pass(self, row: Session) -> None:
        """Instead of waiting for it, let the last turn have happened earlier."""
        if row.turned_at is not None:
            earlier = replace(row, turned_at=row.turned_at - self._sessions.policy.retry_window - 1)
            [aged] = await self._sessions.store.swap([Swap(row, earlier)])
            expect(aged, "somebody else is at work")

    async def _next_token(self) -> str:
        """What the servers, one after the other, hand out for the client's."""
        presented = self._client.wallet.refresh_token
        replies = [await self._present(presented, server) for server in self._servers]
        for reply in replies:
            expect(reply.status == 200, f"logged out by mistake: {told(reply)}")
        for server in self._servers:
            for reply in replies:
                checked = await server.get("/me", reply.access_token)
                expect(checked.status == 200, f"an access token is refused: {told(checked)}")
        first, *others = (reply.refresh_token for reply in replies)
        expect(first != presented and {*others} <= {first}, "a session has two chains")
        return first

    async def _are_refused(self, superseded: Iterable[str]) -> None:
        """Even if it ends the session, which is examined by now."""
        for token in superseded:
            reply = await self._present(token, self._servers[0])
            expect(reply.status in {401, 409}, "a superseded token is good")

    # ── asking ──────────────────────────────────────────────────────────────────────────────────

    async def _present(self, token: str, server: Connection) -> Reply:
        return await server.post(REFRESH_PATH, refreshToken=token)

    async def _row(self) -> Session | None:
        return (await self._sessions.store.get([self._client.sid])).get(self._client.sid)

    async def _known_row(self) -> Session:
        row = await self._row()
        expect(row is not None, "a session is lost")
        assert row
        return row

    async def _events(self) -> tuple[int, int]:
        """How often the session was recovered and resumed."""
        events = await self._sessions.store.events(sid=self._client.sid, limit=1000)
        kinds = Counter(event.kind for event in events)
        return kinds[EventKind.RECOVERED], kinds[EventKind.RESUMED]

    def _generation(self, token: str) -> int:
        return refresh_token.parse(self._sessions.secrets, token).generation
