"""What an engine tells of its work, for whoever counts or traces it, with any library or none."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence, Sized
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast, get_args

from .core.model import EndReason
from .core.rotation import Verdict

__all__ = [
    "HOOK_OUTCOMES",
    "SILENT",
    "HookOutcome",
    "Observer",
    "Observers",
    "guarded",
    "observed",
    "unobserved",
]

_Store = TypeVar("_Store")

log = logging.getLogger("keyturn")

_NO_WORK: Final = {"wait_for_change", "close"}

HookOutcome: TypeAlias = Literal["told", "put_off", "given_up"]
"""What came of a try to tell a hook of an event."""
HOOK_OUTCOMES: Final[Sequence[HookOutcome]] = get_args(HookOutcome)


class Observer:
    """Is told of what was done, at once and in the context of whoever asked for it.

    Derive from it, and say what is to be done with what you want to know; of the rest nothing is
    made. What is done must be quick and must not wait: users do. What it raises is logged. No
    argument tells of a user, and each has few values. Methods may be added.
    """

    def exchanged(self, verdict: Verdict, seconds: float) -> None:
        """A refresh token was judged, and that was carried out. Exchanges of one token that come at
        the same time are one.
        """

    def begun(self) -> None:
        """A session was begun."""

    def ended(self, reason: EndReason, sessions: int) -> None:
        """So many sessions were ended."""

    def refused(self, code: str) -> None:
        """A request was answered with a problem document of this code."""

    def called_store(self, operation: str, rows: int, seconds: float, *, failed: bool) -> None:
        """A method of the store ended, which was given so many rows at once."""

    def hashed(self, seconds: float, waited: float) -> None:
        """A password was hashed, after it had waited for its turn."""

    def refused_to_hash(self) -> None:
        """A password was not hashed, as too many others were to be."""

    def tried_hook(self, hook: str, outcome: HookOutcome, seconds: float) -> None:
        """A hook of this name was told of an event that is so many seconds old, or was not. Nobody
        asked for that: it is in the context of a task of its own. Where the store fails afterwards
        this is not called, as the hook is tried again.
        """


SILENT: Final = Observer()
"""Does nothing."""


class Observers(Observer):
    """Several that are told the same. What one raises is logged, and is nobody else's business."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def exchanged(self, verdict: Verdict, seconds: float) -> None:
        self._tell(lambda observer: observer.exchanged(verdict, seconds))

    def begun(self) -> None:
        self._tell(lambda observer: observer.begun())

    def ended(self, reason: EndReason, sessions: int) -> None:
        self._tell(lambda observer: observer.ended(reason, sessions))

    def refused(self, code: str) -> None:
        self._tell(lambda observer: observer.refused(code))

    def called_store(self, operation: str, rows: int, seconds: float, *, failed: bool) -> None:
        self._tell(lambda observer: observer.called_store(operation, rows, seconds, failed=failed))

    def hashed(self, seconds: float, waited: float) -> None:
        self._tell(lambda observer: observer.hashed(seconds, waited))

    def refused_to_hash(self) -> None:
        self._tell(lambda observer: observer.refused_to_hash())

    def tried_hook(self, hook: str, outcome: HookOutcome, seconds: float) -> None:
        self._tell(lambda observer: observer.tried_hook(hook, outcome, seconds))

    def _tell(self, tell: Callable[[Observer], None]) -> None:
        for observer in self._observers:
            try:
                tell(observer)
            except Exception:
                log.exception("an observer failed")


def guarded(observer: Observer | None) -> Observer:
    """``observer``, so that what it raises is only logged; ``SILENT`` where there is none."""
    if observer is None or observer is SILENT:
        return SILENT
    return observer if isinstance(observer, Observers) else Observers(observer)


def observed(
    store: _Store,
    contract: type[object],
    observer: Observer,
    steady_clock: Callable[[], float],
    *,
    prefix: str = "",
) -> _Store:
    """``store``, and whatever is called of its contract is told. Who is not observed has none of
    this, and no cost.

    Args:
        store: of sessions, or of users.
        contract: the protocol that it keeps.
        observer: is told.
        steady_clock: seconds that never jump.
        prefix: of the names of its methods, as they are told.
    """
    operations = [
        name
        for name, member in vars(contract).items()
        if inspect.iscoroutinefunction(member) and name not in _NO_WORK
    ]
    return cast(_Store, _Observed(store, operations, observer, steady_clock, prefix))


def unobserved(store: _Store) -> _Store:
    """What ``observed`` was given, or ``store`` itself."""
    return cast(_Store, store._store) if isinstance(store, _Observed) else store  # noqa: SLF001


class _Observed:
    """Does what the store does, and has what it has."""

    def __init__(
        self,
        store: object,
        operations: list[str],
        observer: Observer,
        steady_clock: Callable[[], float],
        prefix: str,
    ) -> None:
        self._store = store
        self._observer = observer
        self._steady_clock = steady_clock
        for name in operations:
            setattr(self, name, self._told(prefix + name, getattr(store, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _told(
        self, operation: str, method: Callable[..., Awaitable[Any]]
    ) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any, **named: Any) -> Any:
            began = self._steady_clock()
            failed = False
            try:
                return await method(*arguments, **named)
            except BaseException:  # to be cancelled too: who asked has waited in vain
                failed = True
                raise
            finally:
                seconds = self._steady_clock() - began
                self._observer.called_store(operation, _rows(arguments), seconds, failed=failed)

        return call


def _rows(arguments: tuple[Any, ...]) -> int:
    """How many are asked for at once: the length of what comes first, if that is several."""
    first = arguments[0] if arguments else None
    return len(first) if isinstance(first, Sized) and not isinstance(first, str | bytes) else 1
