"""Pack the words of zxcvbn's frequency lists, as far as they are long enough to be passwords here.

Run it after an update of zxcvbn:  .venv/bin/python scripts/build_blocklist.py
"""

from __future__ import annotations

import gzip
from pathlib import Path
from unicodedata import normalize

from zxcvbn.frequency_lists import FREQUENCY_LISTS  # type: ignore[import-untyped]

from keyturn.accounts.passwords import LEAST_LENGTH

PACKED = Path(__file__).parents[1] / "src/keyturn/accounts/common_passwords.txt.gz"


def build() -> list[str]:
    """The words in NFC, case-folded and sorted, each once."""
    words = {
        normalize("NFC", word).casefold() for ranked in FREQUENCY_LISTS.values() for word in ranked
    }
    return sorted(word for word in words if len(word) >= LEAST_LENGTH)


if __name__ == "__main__":
    words = build()
    PACKED.write_bytes(gzip.compress("\n".join(words).encode(), mtime=0))
    print(f"{len(words)} words in {PACKED.stat().st_size} bytes")
