"""``keyturn`` whose supervisor waits for less: what tests need to see the ends of its patience."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from keyturn.cli import main
from keyturn.server import supervising

SECONDS_BETWEEN_LOOKS = float(os.environ.get("SECONDS_BETWEEN_LOOKS", "1"))
FORKS_THAT_FAIL = [int(number) for number in os.environ.get("FORKS_THAT_FAIL", "").split()]
"""Which of them do, counted from 1."""


def short_of_memory(fork: Callable[[], int]) -> Callable[[], int]:
    forks = 0

    def fork_if_allowed() -> int:
        nonlocal forks
        forks += 1
        if forks in FORKS_THAT_FAIL:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return fork()

    return fork_if_allowed


if __name__ == "__main__":
    supervising._SECONDS_BETWEEN_LOOKS = SECONDS_BETWEEN_LOOKS  # type: ignore[misc, assignment]
    supervising._SECONDS_TO_END = 1  # type: ignore[misc]
    os.fork = short_of_memory(os.fork)
    main()
