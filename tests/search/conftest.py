from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_look_for_garbage() -> Iterator[None]:
    """Through millions of states, none of which refers to itself, again and again."""
    gc.disable()
    yield
    gc.enable()
