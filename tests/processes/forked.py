"""A service that follows an issuer, then forks: ``forked.py ISSUER FEED_TOKEN follows|closes``.

It reads an access token, and says that it is good, and that it is revoked, in each process.
"""

from __future__ import annotations

import os
import sys
import time

from keyturn import AccessTokenRevoked, Verifier

PATIENCE = 20


def say(text: str) -> None:
    print(text, flush=True)


def wait_until_revoked(verifier: Verifier, access_token: str) -> str:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            verifier.verify(access_token)
        except AccessTokenRevoked:
            return "revoked"
        time.sleep(0.01)
    return "still good"


def main(issuer: str, feed_token: str, parent: str) -> None:
    access_token = sys.stdin.readline().strip()
    verifier = Verifier(issuer, feed_token=feed_token)
    verifier.start()
    child = os.fork()
    if not child:
        verifier.start()
        verifier.verify(access_token)
        say("good")
        say(f"child: {wait_until_revoked(verifier, access_token)}")
        verifier.close()
        os._exit(0)
    if parent == "closes":
        verifier.close()
    verifier.verify(access_token)
    say("good")
    if parent == "follows":
        say(f"parent: {wait_until_revoked(verifier, access_token)}")
    os.waitpid(child, 0)
    verifier.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
