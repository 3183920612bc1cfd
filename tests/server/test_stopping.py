"""How a process ends when it is told to."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.server.processes import KEYTURN, PATIENCE, clean_environment, until

BEGINNING = """
import asyncio, os, signal, threading, uvloop
from functools import partial
from contextlib import asynccontextmanager
from keyturn.server import run as server
from keyturn.server.stopping import end_when_told, unless_stopped

tell = partial(os.kill, os.getpid(), signal.{stop})

def be_told():
    tell()
    print("goes on to where it waits")

async def run():
    opened = await unless_stopped(opening())
    print("opened", opened)
    be_told()

def main():
    end_when_told()
    with asyncio.Runner(loop_factory={loop}) as runner:
        runner.run(run())
"""
TOLD_AS_IT_RUNS = """
async def opening():
    be_told()
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0)
        print("tidied up")
"""
TOLD_AS_IT_WAITS = """
async def opening():
    threading.Timer(0.2, tell).start()
    try:
        await asyncio.sleep(60)
    finally:
        print("tidied up")
"""
TOLD_AS_IT_ENDS = """
async def opening():
    await asyncio.sleep(0)
    be_told()
    return "in vain"
"""
TOLD_OFTEN = """
async def opening():
    be_told()
    try:
        await asyncio.sleep(60)
    finally:
        be_told()
        await asyncio.sleep(0)
        print("tidied up")
"""
TOLD_LATER = """
async def opening():
    await asyncio.sleep(0)
    return "the door"
"""
GOES_ON = "goes on to where it waits\n"


def run(opening: str, stop: str, loop: str) -> tuple[int, str, str]:
    """Exit code, output and complaints of a process that is told to stop by itself."""
    program = BEGINNING.format(stop=stop, loop=loop) + opening + "\nmain()\n"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.parametrize("loop", ["asyncio.new_event_loop", "uvloop.new_event_loop"])
@pytest.mark.parametrize("stop", ["SIGTERM", "SIGINT", "SIGHUP"])
@pytest.mark.parametrize(
    ("opening", "output"),
    [
        (TOLD_AS_IT_RUNS, GOES_ON + "tidied up\n"),
        (TOLD_AS_IT_WAITS, "tidied up\n"),
        (TOLD_AS_IT_ENDS, GOES_ON),
        (TOLD_OFTEN, GOES_ON + GOES_ON + "tidied up\n"),
        (TOLD_LATER, "opened the door\n"),
    ],
    ids=["as it runs", "as it waits", "as it ends", "often", "later"],
)
def test_what_is_being_opened_is_left_where_it_waits(
    opening: str, output: str, stop: str, loop: str
) -> None:
    """Never in the middle of something; and the process ends well, without complaint."""
    assert run(opening, stop, loop) == (0, output, "")


SEEN_THAT_ALL_IS_THERE = """
async def prepare(_, *, create):
    await opening()

server.prepare = prepare

def main():
    server.serve(None, None, workers=1)
"""
OPENED = """
@asynccontextmanager
async def application(_):
    yield await opening()

server.application = application

def main():
    end_when_told()
    server._work(None, None)
"""


@pytest.mark.parametrize("stage", [SEEN_THAT_ALL_IS_THERE, OPENED], ids=["before", "then"])
def test_a_server_that_starts_is_left_where_it_waits(stage: str) -> None:
    """As it looks whether all is there, and as it opens what it serves from."""
    assert run(TOLD_AS_IT_RUNS + stage, "SIGTERM", "None") == (0, GOES_ON + "tidied up\n", "")


def test_a_server_that_waits_for_another_to_make_what_is_missing_can_be_stopped(
    tmp_path: Path,
) -> None:
    """It hears of the stop while it waits, and made nothing."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    others = os.open(data, os.O_RDONLY)
    fcntl.flock(others, fcntl.LOCK_EX)
    server = subprocess.Popen(
        [*KEYTURN, "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(tmp_path),
    )
    until(lambda: data in opened_by(server.pid))
    server.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        server.wait(PATIENCE)
    server.kill()
    told = server.communicate()
    os.close(others)

    assert (server.returncode, told) == (0, ("", ""))
    assert list(data.iterdir()) == []


def opened_by(pid: int) -> list[Path]:
    """The files that a process has open."""
    paths = []
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            paths.append(descriptor.readlink())
    return paths
