"""How long ``import keyturn`` takes, against importing what it stands on, in the same run."""

from __future__ import annotations

import subprocess
import sys

from .measure import heading, median_of, shown

ROUNDS = 15
_FOUNDATION = (
    "import asyncio, msgspec, cryptography.exceptions, "
    "cryptography.hazmat.primitives.serialization, "
    "cryptography.hazmat.primitives.asymmetric.ec, "
    "cryptography.hazmat.primitives.asymmetric.ed25519, "
    "cryptography.hazmat.primitives.asymmetric.padding, "
    "cryptography.hazmat.primitives.asymmetric.rsa, "
    "cryptography.hazmat.primitives.asymmetric.utils, "
    "cryptography.hazmat.primitives.ciphers.aead, "
    "cryptography.hazmat.primitives.kdf.hkdf, "
    "cryptography.hazmat.primitives.hashes"
)
_TIMED = "import time; began = time.process_time(); {}; print(time.process_time() - began)"


def run() -> None:
    heading("import keyturn, against asyncio + msgspec + the cryptography modules it uses")
    ours, theirs = [], []
    for _ in range(ROUNDS):
        theirs.append(_milliseconds(_FOUNDATION))
        ours.append(_milliseconds("import keyturn"))
    print(f"import keyturn: ms                {shown(ours)}")
    print(f"its foundation: ms                {shown(theirs)}")
    print(f"ratio                             {median_of(ours) / median_of(theirs):.2f}")


def _milliseconds(statement: str) -> float:
    command = [sys.executable, "-c", _TIMED.format(statement)]
    return float(subprocess.run(command, check=True, capture_output=True).stdout) * 1000
