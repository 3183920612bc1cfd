"""Where the workers of a server count together, so that any of them can tell the sums."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from .settings import Settings

__all__ = ["COMMON_FOLDER", "counting_together", "forget_worker"]

COMMON_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable in which prometheus_client looks for it, once, when it is imported."""


@contextmanager
def counting_together(settings: Settings, workers: int) -> Iterator[None]:
    """Within, the processes that are forked count together, if anybody may see what. One alone
    does without the files, which cost it more than counting.
    """
    if workers == 1 or not settings.metrics_token:
        for name in (COMMON_FOLDER, COMMON_FOLDER.lower()):  # of others that it was started by
            os.environ.pop(name, None)
        yield
        return
    with tempfile.TemporaryDirectory(prefix="keyturn-metrics-") as folder:
        os.environ[COMMON_FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[COMMON_FOLDER]


def forget_worker(pid: int) -> None:
    """What a worker that ended has counted stays; how it was does not."""
    if COMMON_FOLDER in os.environ:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(pid)  # type: ignore[no-untyped-call]
