"""Keyturn keeps users signed in.

store = await open_store("sqlite:///sessions.db", create=True)
async with Sessions(store, secrets=[secret], issuer="https://example.com") as sessions:
    tokens = await sessions.create("user-1", Claims(username="ada"))
    user = sessions.verify(tokens.access_token)
    tokens = await sessions.refresh(tokens.refresh_token)
"""

from __future__ import annotations

from ._version import __version__
from .core.access_token import AccessToken
from .core.errors import (
    AccessRefused,
    AccessTokenExpired,
    AccessTokenInvalid,
    AccessTokenMissing,
    AccessTokenRevoked,
    ClaimsRefused,
    ConfigurationError,
    CutoffsStale,
    KeyturnError,
    RefreshRefused,
    RefreshSuperseded,
    RefreshTokenInvalid,
    RefreshTokenMissing,
    RefreshTokenReused,
    Remedy,
    SessionExpired,
    SessionRevoked,
    SessionUnknown,
    SignInRaced,
    StoreUnavailable,
    Unavailable,
)
from .core.model import Claims, Device, EndReason, Event, EventKind, Policy, Session, Tokens
from .core.rotation import Verdict
from .following.verifier import Verifier
from .observing import Observer
from .sessions import Sessions
from .signing_keys import SigningKeyUnknown
from .stores import Store, open_store

__all__ = [
    "AccessRefused",
    "AccessToken",
    "AccessTokenExpired",
    "AccessTokenInvalid",
    "AccessTokenMissing",
    "AccessTokenRevoked",
    "Claims",
    "ClaimsRefused",
    "ConfigurationError",
    "CutoffsStale",
    "Device",
    "EndReason",
    "Event",
    "EventKind",
    "KeyturnError",
    "Observer",
    "Policy",
    "RefreshRefused",
    "RefreshSuperseded",
    "RefreshTokenInvalid",
    "RefreshTokenMissing",
    "RefreshTokenReused",
    "Remedy",
    "Session",
    "SessionExpired",
    "SessionRevoked",
    "SessionUnknown",
    "Sessions",
    "SignInRaced",
    "SigningKeyUnknown",
    "Store",
    "StoreUnavailable",
    "Tokens",
    "Unavailable",
    "Verdict",
    "Verifier",
    "__version__",
    "open_store",
]
