"""Servers with a mistake each, for clients and examination to find, in the process of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, cast

from msgspec.structs import replace

from keyturn.accounts import Accounts, open_users
from keyturn.core.errors import StoreUnavailable
from keyturn.core.model import ALL_VERSIONS, Cutoff, Policy, Session
from keyturn.integrations.asgi import App
from keyturn.sessions import Sessions
from keyturn.stores.base import Ending, Store, Swap
from keyturn.stores.sqlite import SQLiteStore
from keyturn.wire.endpoints import Endpoints
from keyturn.wire.settings import WireSettings
from tests.faults.stage import POLICY, PUBLIC_URL, SECRET, Stage, engine_on
from tests.processes.servers import Application, served
from tests.support import Altered
from tests.wire.support import REFRESH

__all__ = [
    "DoubleTurn",
    "LostAnswer",
    "LostEnd",
    "LostTurn",
    "deletes_cookies",
    "flawed_stage",
    "logs_out",
    "never_says_when",
    "pardons",
]

Message = MutableMapping[str, Any]


@asynccontextmanager
async def flawed_stage(
    folder: Path,
    *,
    store: type[SQLiteStore | Altered] = SQLiteStore,
    policy: Policy = POLICY,
    change: Callable[[Message], None] = lambda _: None,
) -> AsyncIterator[Stage]:
    """Two servers on a file of SQLite, as a ``store`` of that type keeps it. They ``change`` what
    begins their answers.
    """
    folder.mkdir(exist_ok=True)
    file = folder / "keyturn.db"
    url = f"sqlite:///{file}"
    async with engine_on(url), AsyncExitStack() as stack:
        ports = []
        for _ in range(2):
            opened = await _opened(store, str(file))
            sessions = Sessions(opened, secrets=[SECRET], issuer=PUBLIC_URL, policy=policy)
            await stack.enter_async_context(sessions)
            accounts = Accounts(open_users(_sound(opened)), sessions)
            stack.callback(accounts.close)
            app = App(Endpoints(sessions, accounts, WireSettings(public_url=PUBLIC_URL)))
            ports.append(await stack.enter_async_context(served(_changing(app, change))))
        yield Stage(url, ports)


async def _opened(kind: type[SQLiteStore | Altered], path: str) -> Store:
    if issubclass(kind, SQLiteStore):
        return await kind.open(path)
    return cast("Store", kind(await SQLiteStore.open(path)))


def _sound(store: Store) -> Store:
    return store.store if isinstance(store, Altered) else store


def _changing(app: App, change: Callable[[Message], None]) -> Application:
    async def changed(scope: Message, receive: Any, send: Any) -> None:
        async def send_changed(message: Message) -> None:
            if message["type"] == "http.response.start":
                change(message)
            await send(message)

        await app(scope, receive, send_changed)

    return changed


# ── answers ─────────────────────────────────────────────────────────────────────────────────────


def logs_out(message: Message) -> None:
    """What is our fault is told as the client's."""
    if message["status"] == 503:
        message["status"] = 401


def deletes_cookies(message: Message) -> None:
    """What is our fault costs the client its cookies."""
    if message["status"] == 503:
        message["headers"].append((b"set-cookie", f"{REFRESH}=; Path=/; Max-Age=0".encode()))


def never_says_when(message: Message) -> None:
    """To try again."""
    message["headers"] = [each for each in message["headers"] if each[0] != b"retry-after"]


def pardons(message: Message) -> None:
    """What was superseded is good."""
    if message["status"] == 409:
        message["status"] = 200


# ── stores ──────────────────────────────────────────────────────────────────────────────────────


class LostAnswer(SQLiteStore):
    """No mistake: the first turn of each session is written, and not acknowledged."""

    async def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        won = await super().swap(swaps)
        if any(_is_first(swap) for swap, turned in zip(swaps, won, strict=True) if turned):
            raise StoreUnavailable
        return won


class LostTurn(SQLiteStore):
    """The first turn of each session is acknowledged, and not written."""

    async def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        won = await super().swap([swap for swap in swaps if not _is_first(swap)])
        return [_is_first(swap) or won.pop(0) for swap in swaps]


class DoubleTurn(SQLiteStore):
    """The first turn of each session is followed by another one that nobody asked for."""

    async def swap(self, swaps: Sequence[Swap]) -> list[bool]:
        won = await super().swap(swaps)
        more = [Swap(swap.new, _with_one_more(swap.new)) for swap in swaps if _is_first(swap)]
        await super().swap(more)
        return won


def _is_first(swap: Swap) -> bool:
    return swap.new.parent == 0


def _with_one_more(session: Session) -> Session:
    return replace(session, generation=session.generation + 1)


class LostEnd(SQLiteStore):
    """Ends are acknowledged, and nothing is written."""

    async def end(
        self, sids: Sequence[str], ending: Ending, *, generation: int | None = None
    ) -> list[Cutoff]:
        return [Cutoff(sid, ALL_VERSIONS, ending.tokens_until, ending.reason) for sid in sids]
