"""Logs: one line each, no token, and nothing that could command a terminal."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest

from keyturn.server.logs import configure_logs, mask
from keyturn.wire.request_ids import serve_under

REFRESH = "ktr_" + "Ab-_" * 17 + "Abc"
ACCESS = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ"

log = logging.getLogger("keyturn.test")


@pytest.fixture(autouse=True)
def _root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize(
    "text",
    [
        REFRESH,
        ACCESS,
        f"GET /?token={REFRESH} HTTP/1.1",
        f"Bearer {ACCESS};",
        REFRESH[:30],
        ACCESS.rpartition(".")[0],
        f"{REFRESH}{ACCESS}",
    ],
)
def test_a_token_is_cut_short_wherever_it_stands(text: str) -> None:
    """H3: whole, in part, and beside other text."""
    masked = mask(text)

    assert "Ab-_Ab" not in masked
    assert "hbGci" not in masked
    assert "c2lnbm" not in masked


def test_what_is_no_token_is_left_as_it_is() -> None:
    """Session ids, key ids and words are needed to find anything in a log."""
    text = "sid=iwy6wHv_fMKDEXelQh3V_w kid=w0zsTAEh1jdeKZ_326EVdqrVO81YLRARhW15X7EjyFs keyJ"

    assert mask(text) == text


def test_json_lines_hold_time_level_logger_and_message(capsys: pytest.CaptureFixture[str]) -> None:
    """H3: UTC time and what the caller added, one object a line."""
    configure_logs("info", "json")
    log.info("signed in %s", "ada", extra={"sid": "s1"})

    line = json.loads(capsys.readouterr().err)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "keyturn.test",
        "message": "signed in ada",
        "sid": "s1",
    }


@pytest.mark.parametrize("style", ["json", "text"])
async def test_a_line_names_the_request_that_is_served(
    capsys: pytest.CaptureFixture[str], style: Literal["json", "text"]
) -> None:
    """H3: by the id that its answer has; where none is served, by none."""
    configure_logs("info", style)
    log.info("before")
    serve_under("b7f3")
    log.info("signed in", extra={"sid": "s1"})

    before, during = capsys.readouterr().err.splitlines()
    assert "requestId" not in before
    assert ('"requestId": "b7f3"' if style == "json" else " sid=s1 requestId=b7f3") in during


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_message_is_one_line_whatever_is_in_it(
    capsys: pytest.CaptureFixture[str], style: str
) -> None:
    """H3: line ends, escape sequences and halves of characters cannot forge or break a line."""
    configure_logs("info", style)  # type: ignore[arg-type]
    log.info("name=%s", "a\nb\r\x1b[2J\u2028\x85\ud800")

    written = capsys.readouterr().err
    assert len(written.splitlines()) == 1
    assert written.rstrip("\n").isprintable()


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_traceback_holds_no_token_either(capsys: pytest.CaptureFixture[str], style: str) -> None:
    """H3: an exception may quote what it stumbled over."""
    configure_logs("info", style)  # type: ignore[arg-type]
    try:
        int(REFRESH)
    except ValueError:
        log.exception("failed with %s", ACCESS, extra={"token": REFRESH})

    written = capsys.readouterr().err
    assert "'ktr_…'" in written.replace("\\u2026", "…")
    assert "Ab-_Ab" not in written
    assert "hbGci" not in written


def test_the_level_holds_for_all_and_http_parsing_is_no_news(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What the HTTP server says of its own life is left out."""
    configure_logs("info", "text")
    log.debug("unseen")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received: unseen")
    log.warning("seen")

    assert "unseen" not in (written := capsys.readouterr().err)
    assert " warning keyturn.test: seen" in written
