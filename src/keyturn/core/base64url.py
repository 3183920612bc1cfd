"""Base64url without padding, as RFC 7515, appendix C; read strictly: one text for one value."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64

__all__ = ["decode", "encode"]

_TO_URL = bytes.maketrans(b"+/", b"-_")
_FROM_URL = bytes.maketrans(b"-_", b"+/")


def encode(data: bytes) -> str:
    """The one text for ``data``."""
    return b2a_base64(data, newline=False).translate(_TO_URL).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """The bytes that ``encode`` made ``text`` from.

    Raises:
        ValueError: ``text`` has another alphabet, padding, or an ending that is not canonical.
    """
    data = a2b_base64(text.encode("ascii").translate(_FROM_URL) + b"=" * (-len(text) % 4))
    if encode(data) != text:
        raise ValueError("not canonical base64url")
    return data
