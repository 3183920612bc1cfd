"""The refresh token: ``ktr_`` and 53 bytes, which anyone can carry and only we can make.

    key id (1) | sid (16) | generation (4) | proof (16) | tag (16)

The *tag* needs the server's secret, so a forged token is refused before any I/O. The *proof* needs
the session's secret, so the server's secret alone makes no token, and neither does the database.
Both are deterministic: any token of a session can be made again, so none has to be kept.
"""

from __future__ import annotations

import hmac
from typing import Final

import msgspec

from . import base64url
from .errors import RefreshTokenInvalid
from .model import LAST_GENERATION
from .server_secret import ServerSecret, ServerSecrets

__all__ = ["LENGTH", "PREFIX", "RefreshToken", "is_sid", "mint", "parse", "proves"]

PREFIX: Final = "ktr_"
LENGTH: Final = 75
"""Characters; no more, no fewer."""

_PROOF_LABEL: Final = b"keyturn refresh proof v1"
_TAG_LABEL: Final = b"keyturn refresh tag v1"


class RefreshToken(msgspec.Struct, frozen=True):
    """A token whose tag was found good: this server issued it, if its proof holds too."""

    name: bytes
    """Of sid and generation, as the proof is over them."""
    proof: bytes
    sid: str
    generation: int


def mint(secrets: ServerSecrets, sid: str, session_secret: bytes, generation: int) -> str:
    """The one refresh token of this ``generation`` of the session, under the first secret."""
    if not 0 <= generation <= LAST_GENERATION:
        raise ValueError("a generation has four bytes")
    name = base64url.decode(sid) + generation.to_bytes(4, "big")
    proven = bytes((secrets.first.key_id,)) + name + _proof(session_secret, name)
    return PREFIX + base64url.encode(proven + _tag(secrets.first, proven))


def parse(secrets: ServerSecrets, token: str) -> RefreshToken:
    """Read a token whose tag is good under any of the secrets. Does no I/O.

    Raises:
        RefreshTokenInvalid: we did not issue it, or a character of it was changed since.
    """
    try:
        if len(token) != LENGTH or not token.startswith(PREFIX):
            raise RefreshTokenInvalid
        raw = base64url.decode(token[len(PREFIX) :])
    except (AttributeError, TypeError, ValueError):
        raise RefreshTokenInvalid from None
    proven, tag = raw[:37], raw[37:]
    for secret in secrets.with_id(raw[0]):
        if hmac.compare_digest(tag, _tag(secret, proven)):
            sid, generation = base64url.encode(raw[1:17]), int.from_bytes(raw[17:21], "big")
            return RefreshToken(raw[1:21], raw[21:37], sid, generation)
    raise RefreshTokenInvalid


def proves(token: RefreshToken, session_secret: bytes) -> bool:
    """Whether the token was made from this session's secret."""
    return hmac.compare_digest(token.proof, _proof(session_secret, token.name))


def is_sid(text: str) -> bool:
    """Whether ``text`` has the form of a session's id: what has not, names no session."""
    try:
        return len(base64url.decode(text)) == 16
    except (AttributeError, TypeError, ValueError):
        return False


def _proof(session_secret: bytes, name: bytes) -> bytes:
    return hmac.digest(session_secret, _PROOF_LABEL + name, "sha256")[:16]


def _tag(secret: ServerSecret, proven: bytes) -> bytes:
    mac = secret.refresh_mac.copy()  # with the key in place already
    mac.update(_TAG_LABEL + proven)
    return mac.finalize()[:16]
