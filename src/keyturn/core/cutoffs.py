"""What is revoked, held in memory so that checking an access token costs no I/O."""

from __future__ import annotations

from collections.abc import Iterable

from .model import Cutoff

__all__ = ["CutoffView"]


class CutoffView:
    """The live cutoffs, as far as they are known. Grows with what was revoked of late, no more."""

    def __init__(self) -> None:
        self._by_sid: dict[str, Cutoff] = {}
        self._issued_until = 0
        self._known_at: float | None = None

    @property
    def live(self) -> tuple[Cutoff, ...]:
        """Those of sessions."""
        return tuple(self._by_sid.values())

    @property
    def issued_until(self) -> int:
        """The emergency cutoff: every token issued at or before this time is void."""
        return self._issued_until

    @property
    def known_at(self) -> float | None:
        """When the store was last known to hold no other cutoff; none before it was ever read."""
        return self._known_at

    def of(self, sid: str) -> Cutoff | None:
        """The cutoff of this session, if it has one."""
        return self._by_sid.get(sid)

    def voids(self, sid: str, version: int, issued_at: int) -> bool:
        """Whether an access token of this session, version and time of issue is void."""
        cutoff = self._by_sid.get(sid)
        return (cutoff is not None and version <= cutoff.version) or issued_at <= self._issued_until

    def apply(self, cutoffs: Iterable[Cutoff]) -> None:
        """Add what was learnt. In any order and any number of times: the further cutoff stays."""
        for cutoff in cutoffs:
            if cutoff.sid is None:
                self._issued_until = max(self._issued_until, cutoff.version)
                continue
            held = self._by_sid.get(cutoff.sid, cutoff)
            self._by_sid[cutoff.sid] = max(held, cutoff, key=_reach)

    def caught_up(self, at: float) -> None:
        """All that the store held at ``at`` has been applied."""
        self._known_at = at

    def forget(self, now: int) -> None:
        """Drop the cutoffs whose every token has ended."""
        self._by_sid = {sid: held for sid, held in self._by_sid.items() if now < held.expires_at}


def _reach(cutoff: Cutoff) -> tuple[int, int, str]:
    """How far a cutoff goes. No two differ and are equal here, so that the order never shows."""
    return cutoff.version, cutoff.expires_at, cutoff.reason or ""
