"""Logs on standard error: a line of JSON each, or text. None holds a token, whoever wrote it."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, Final, Literal

from keyturn.wire.request_ids import request_id

__all__ = ["configure_logs", "mask"]

_TOKENS: Final = re.compile(
    r"ktr_[A-Za-z0-9_-]{8,}"  # a refresh token, or a piece of one
    r"|eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,2}"  # a JWT, or a piece of one
)
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_OF_EVERY_RECORD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def configure_logs(level: str, style: Literal["json", "text"]) -> None:
    """Send what all loggers say, from ``level`` on, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if style == "json" else _TextLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for talkative in ("httpx", "httpcore"):  # they tell whole URLs
        logging.getLogger(talkative).setLevel(logging.WARNING)
    # It warns of whatever a stranger sends that is no HTTP, without a word of who it was.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)


def mask(text: str) -> str:
    """``text`` with every token cut short. The last guard: nothing ought to log one."""
    return _TOKENS.sub(lambda match: f"{match[0][:4]}…", text)


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return mask(json.dumps(line, default=str))


class _TextLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        extra = "".join(f" {name}={value}" for name, value in _extra(record).items())
        level = record.levelname.lower()
        lines = [f"{_time(record)} {level} {record.name}: {record.getMessage()}{extra}"]
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            lines += [f"  {line}" for line in trace.splitlines()]
        return mask("\n".join(_CONTROLS.sub(_escaped, line) for line in lines))


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """What the caller added, and the request that was being served."""
    added = {name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD}
    return added | {"requestId": served} if (served := request_id()) else added


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
