"""How old what is known of revocations may be: one rule, for servers and for those who follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from .core.cutoffs import CutoffView
from .core.errors import ConfigurationError, CutoffsStale

__all__ = ["Staleness"]


class Staleness:
    """The age of a view of the cutoffs.

    Args:
        cutoffs: the view.
        at_most: seconds without news of cutoffs that are no cause for worry.
        on_stale: beyond them, whether ``check`` still allows, or refuses.
        steady_clock: seconds that never jump, as those of ``cutoffs.known_at``.

    Raises:
        ConfigurationError: ``on_stale`` is neither.
    """

    def __init__(
        self,
        cutoffs: CutoffView,
        *,
        at_most: float,
        on_stale: Literal["allow", "refuse"],
        steady_clock: Callable[[], float],
    ) -> None:
        if on_stale not in {"allow", "refuse"}:
            raise ConfigurationError("on_stale", "must be allow or refuse")
        self._cutoffs = cutoffs
        self._at_most = at_most
        self._refuses = on_stale == "refuse"
        self._steady_clock = steady_clock

    @property
    def seconds(self) -> float:
        """Since every cutoff was last known; infinite before."""
        known_at = self._cutoffs.known_at
        return float("inf") if known_at is None else self._steady_clock() - known_at

    @property
    def excessive(self) -> bool:
        """Whether that is longer than it should be."""
        return self.seconds > self._at_most

    def check(self) -> None:
        """Return if what is known is good enough to judge an access token by.

        Raises:
            CutoffsStale: the cutoffs were never learnt; or too long ago, where that refuses.
        """
        if self._cutoffs.known_at is None or (self._refuses and self.excessive):
            raise CutoffsStale
