"""A load on a server: wrk (Debian's), with sessions that carry their tokens on."""

from __future__ import annotations

import resource
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from .contenders.model import Ask

__all__ = ["Load", "ask_for"]

_SCRIPT: Final = Path(__file__).with_name("load.lua")


class Load(msgspec.Struct, frozen=True):
    """What came of it."""

    answers: int
    seconds: float
    refused: int
    """Answers that were neither 2xx nor 3xx."""
    lost: int
    """Connections that failed, and answers that did not come."""
    p50_ms: float
    p99_ms: float
    """As wrk tells it: what waited behind a slow answer is counted in."""
    client_cpu_us: float = 0
    """Of the load itself, a request."""
    unanswered: int = 0
    """Requests that were under way when the load ended. The server works for them all the same."""

    @property
    def asked(self) -> int:
        return self.answers + self.unanswered

    @property
    def a_second(self) -> float:
        return self.answers / self.seconds


def ask_for(
    seconds: float, ask: Ask, port: int, tokens: Path, *, connections: int, core: int | None = None
) -> Load:
    """Have so many connections ask one thing after the other for a while. ``tokens`` is a file with
    one in a line; those that may be presented afterwards are in it then. With ``core`` the load
    runs on that one alone.
    """
    with tempfile.TemporaryDirectory() as folder:
        head, body, figures = (Path(folder, name) for name in ("head", "body", "figures"))
        head.write_bytes(_head(ask, port).encode())
        body.write_text(ask.body.replace("{port}", str(port)))
        pinned = [] if core is None else ["taskset", "--cpu-list", str(core)]
        before = _used()
        subprocess.run(
            [
                *pinned, "wrk", "--threads=1", f"--connections={connections}",
                f"--duration={seconds:g}s", "--timeout=30s", f"--script={_SCRIPT}",
                f"http://127.0.0.1:{port}", "--",
                head, body, tokens, ask.next_after, tokens, figures, "once" if ask.once else "",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        load = msgspec.json.decode(figures.read_bytes(), type=Load)
    cost = (_used() - before) / max(load.asked, 1) * 1e6
    return msgspec.structs.replace(load, client_cpu_us=cost)


def _head(ask: Ask, port: int) -> str:
    lines = [f"{ask.method} {ask.path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *ask.headers]
    if ask.method != "GET":
        lines.append("Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).replace("{port}", str(port))


def _used() -> float:
    """CPU seconds of the commands that were run and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
