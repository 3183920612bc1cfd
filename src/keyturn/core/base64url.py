"""Base64url without padding, as RFC 7515, appendix C; read strictly: one text for one value."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from typing import Final

__all__ = ["decode", "encode"]

_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_LAST: Final = (_ALPHABET, "", _ALPHABET[::16], _ALPHABET[::4])
"""Characters that a text may end with, by its length modulo 4: the last one's spare bits are 0."""


def encode(data: bytes) -> str:
    """The one text for ``data``."""
    return b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """The bytes that ``encode`` made ``text`` from.

    Raises:
        ValueError: ``text`` has another alphabet, padding, or an ending that is not canonical.
    """
    standard = text.replace("-", "+").replace("_", "/")
    if "+" in text or "/" in text or text[-1:] not in _LAST[len(text) % 4]:
        raise ValueError("not canonical base64url")
    return a2b_base64(standard + "=" * (-len(text) % 4), strict_mode=True)
