"""A user's devices and what happened to them, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from keyturn.core import model
from keyturn.core.model import DAY, EndReason, EventKind
from keyturn.wire.discretion import happened_at, is_told, last_used_at

from .rendering import Texts
from .user_agents import software_of

__all__ = ["Device", "Happening", "devices_of", "happenings_of"]

_ALARMING: Final = frozenset({EndReason.REUSE_DETECTED})


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One session, as its user sees it."""

    sid: str
    name: str
    address: str
    created_at: int
    last_used: str
    """In words; empty for the current one."""
    current: bool


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """One event, as its user sees it."""

    text: str
    at: int
    device: str
    address: str
    tone: str
    """``alarm`` or ``usual``."""


def devices_of(
    sessions: Sequence[model.Session], current_sid: str, now: int, texts: Texts
) -> list[Device]:
    """The current one first, then those used last, as far as that is told."""
    return [
        Device(
            sid=session.sid,
            name=_name(session.device, texts),
            address=session.device.address,
            created_at=session.created_at,
            last_used=(
                ""
                if session.sid == current_sid
                else _age((now - last_used_at(session, now)) // DAY, texts)
            ),
            current=session.sid == current_sid,
        )
        for session in sorted(
            sessions, key=lambda session: (session.sid != current_sid, -last_used_at(session, now))
        )
    ]


def _age(days: int, texts: Texts) -> str:
    name = {0: "today", 1: "yesterday"}.get(max(0, days), "days")
    return str(texts["ages"][name].format(count=days))


def happenings_of(
    events: Sequence[model.Event], sessions: Sequence[model.Session], now: int, texts: Texts
) -> list[Happening]:
    """In the order of ``events``, as far as they are told yet."""
    known = {event.sid: event.device for event in events if event.kind is EventKind.SIGNED_IN}
    known |= {session.sid: session.device for session in sessions}
    return [_happening(event, known, texts) for event in events if is_told(event, now)]


def _happening(
    event: model.Event, known: Mapping[str | None, model.Device], texts: Texts
) -> Happening:
    device = known.get(event.sid, event.device) if event.sid else event.device
    is_told = device != model.Device()
    ended = event.kind is EventKind.ENDED and event.reason is not None
    return Happening(
        text=texts["ends"][event.reason] if ended else texts["events"][event.kind],
        at=happened_at(event),
        device=_name(device, texts) if is_told else "",
        address=device.address,
        tone="alarm" if event.reason in _ALARMING else "usual",
    )


def _name(device: model.Device, texts: Texts) -> str:
    browser, system = software_of(device.user_agent)
    kind = {(True, True): "both", (True, False): "browser", (False, True): "system"}.get(
        (bool(browser), bool(system)), "none"
    )
    return str(texts["devices"][kind].format(browser=browser, system=system))
