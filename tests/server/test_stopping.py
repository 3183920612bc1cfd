"""How a process ends when it is told to."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEGINNING = """
import asyncio, os, signal, uvloop
from keyturn.server.stopping import end_when_told, unless_stopped

def be_told():
    os.kill(os.getpid(), signal.{stop})
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
TOLD_AS_IT_WAITS = """
async def opening():
    be_told()
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0)
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
@pytest.mark.parametrize("stop", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(
    ("opening", "output"),
    [
        (TOLD_AS_IT_WAITS, GOES_ON + "tidied up\n"),
        (TOLD_AS_IT_ENDS, GOES_ON),
        (TOLD_OFTEN, GOES_ON + GOES_ON + "tidied up\n"),
        (TOLD_LATER, "opened the door\n"),
    ],
    ids=["as it waits", "as it ends", "often", "later"],
)
def test_what_is_being_opened_is_left_where_it_waits(
    opening: str, output: str, stop: str, loop: str
) -> None:
    """Never in the middle of something; and the process ends well, without complaint."""
    assert run(opening, stop, loop) == (0, output, "")
