"""What a process says as it ends."""

from __future__ import annotations

import sys
from unittest.mock import Mock

import pytest

from keyturn.core.errors import ConfigurationError, StoreUnavailable
from keyturn.server.exits import MISCONFIGURED, UNAVAILABLE, complain, exit_code


@pytest.mark.parametrize(
    ("error", "as_json", "code", "line"),
    [
        (
            ConfigurationError("issuer", "must be printable"),
            False,
            MISCONFIGURED,
            "Error: KEYTURN_ISSUER: must be printable\n",
        ),
        (
            StoreUnavailable("away"),
            True,
            UNAVAILABLE,
            '{"error": {"code": "unavailable", "message": "away"}}\n',
        ),
    ],
)
def test_a_complaint_is_one_write(
    monkeypatch: pytest.MonkeyPatch,
    *,
    error: ConfigurationError | StoreUnavailable,
    as_json: bool,
    code: int,
    line: str,
) -> None:
    """Workers share standard error, and two of them may fail at once."""
    written: list[str] = []
    monkeypatch.setattr(sys, "stderr", Mock(write=written.append))

    complain(error, as_json=as_json)

    assert written == [line]
    assert exit_code(error) == code
