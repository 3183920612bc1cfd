"""The words of Keyturn as values: what a session is, what its policy says, what its user may claim.

All of them are frozen. Time is integer Unix seconds; a duration is integer seconds.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec

from .errors import ConfigurationError

__all__ = [
    "ALL_VERSIONS",
    "DAY",
    "LAST_GENERATION",
    "Claims",
    "Cutoff",
    "Device",
    "EndReason",
    "Event",
    "EventKind",
    "Policy",
    "SealedKey",
    "Session",
    "Tokens",
]

DAY: Final = 86_400

LAST_GENERATION: Final = 2**32 - 1
"""A refresh token has four bytes for its generation; a session that used them up is over."""

ALL_VERSIONS: Final = 2**63 - 1
"""As the version of a cutoff: every access token of the session is void."""


class EndReason(StrEnum):
    """Why a session ended. The first reason stands: ending an ended session changes nothing."""

    IDLE = "idle"
    ABSOLUTE = "absolute"
    LOGGED_OUT = "logged_out"
    REPLACED = "replaced"
    REVOKED_BY_USER = "revoked_by_user"
    REVOKED_BY_ADMIN = "revoked_by_admin"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105  a reason, not a password
    USER_DISABLED = "user_disabled"
    USER_DELETED = "user_deleted"
    EVICTED = "evicted"
    REUSE_DETECTED = "reuse_detected"


class EventKind(StrEnum):
    """What is worth telling the story of a session. Echo, replay and rotate are not."""

    SIGNED_IN = "signed_in"
    AUTHENTICATION_FAILED = "authentication_failed"
    RECOVERED = "recovered"
    RESUMED = "resumed"
    CLAIMS_CHANGED = "claims_changed"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105  a kind of event, not a password
    ENDED = "ended"


class Claims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an access token says of its user. Anyone who holds the token can read it.

    ``permissions`` travel as the space-separated ``scope`` of RFC 9068, section 2.2.3, so a
    permission is a word without spaces. ``extra`` are the application's own claims, put beside
    the registered ones; a name that Keyturn uses itself is refused.
    """

    username: str = ""
    email: str = ""
    fullname: str = ""
    permissions: tuple[str, ...] = ()
    extra: dict[str, Any] = {}


class Device(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a session was begun, as far as its request told."""

    user_agent: str = ""
    address: str = ""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One sign-in of one user on one device; one row, for as long as it lives.

    The five fields from ``generation`` to ``turned_at`` are the protocol's state, changed only as
    ``rotation.decide`` says and only by a compare-and-swap on ``generation``.
    """

    sid: str
    """128 random bits as 22 characters of base64url."""
    user_id: str
    secret: bytes | None
    """32 random bytes, set once; erased when the session ends."""
    created_at: int
    generation: int = 0
    """The newest generation handed out."""
    parent: int = -1
    """The generation whose exchange brought forth the children."""
    first_child: int = 0
    """The children are the generations from here to ``generation``."""
    previous_parent: int = -2
    """The parent before this one: what the latest turn superseded is not older. After a *recover*,
    which supersedes nothing, the newest generation before it: children below that are left behind.
    """
    turned_at: int | None = None
    """When the generations last changed: the window opened then."""
    used_before: int | None = None
    """When the session was last used before the day (UTC) of its last use; None if it was begun on
    that day. Nothing is judged by it: it is what may be told of the session on that day.
    """
    version: int = 0
    """Of the claims: it rises when they change."""
    claims: Claims = Claims()
    device: Device = Device()
    remember: bool = True
    """False: the browser is told to forget the cookies when it closes."""
    ended_at: int | None = None
    end_reason: EndReason | None = None

    def __repr__(self) -> str:  # the secret is for no log and no traceback
        return f"<Session {self.sid}, generation {self.generation}>"

    @property
    def last_used_at(self) -> int:
        """When the session was begun or last turned."""
        return self.created_at if self.turned_at is None else max(self.created_at, self.turned_at)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How long things last and how many there may be. All times in seconds.

    Raises:
        ConfigurationError: two settings contradict each other, or one is impossible.
    """

    access_ttl: int = 600
    """Life of an access token."""
    retry_window: int = 30
    """How long after a turn the superseded tokens are answered. 0: never."""
    recover: bool = True
    """Whether the parent stays good until one of its children is used."""
    idle_timeout: int = 30 * DAY
    absolute_lifetime: int = 180 * DAY
    max_sessions: int = 50
    """Of one user; a further sign-in ends the least recently used."""
    event_retention: int = 90 * DAY
    leeway: int = 60
    """How far the clocks of two processes may be apart before a cutoff is forgotten too soon."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            least = 0 if name in _MAY_BE_ZERO else 1
            if getattr(self, name) < least:
                raise ConfigurationError(name, f"must be at least {least}")
        if self.idle_timeout < 2 * self.access_ttl and self.access_ttl > 60:
            raise ConfigurationError("idle_timeout", "must be at least twice access_ttl")
        if self.idle_timeout <= self.retry_window:
            raise ConfigurationError("idle_timeout", "must be longer than retry_window")
        if self.absolute_lifetime < self.idle_timeout:
            raise ConfigurationError("absolute_lifetime", "must be at least idle_timeout")


_MAY_BE_ZERO: Final = {"retry_window", "recover", "event_retention", "leeway"}


class Cutoff(msgspec.Struct, frozen=True):
    """Access tokens of session ``sid`` up to ``version`` are void, and may be forgotten to be so
    at ``expires_at``, when none of them can be alive. Without a ``sid`` it is the emergency
    cutoff: ``version`` is a time, and every access token issued at or before it is void.
    """

    sid: str | None
    version: int
    expires_at: int
    reason: EndReason | None = None
    """Why the session ended, where it did."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened to a session, or to a user (then ``sid`` is none)."""

    at: int
    kind: EventKind
    user_id: str
    sid: str | None = None
    reason: EndReason | None = None
    device: Device = Device()


class SealedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A signing key as the store keeps it: encrypted under the server's secret."""

    kid: str
    algorithm: str
    created_at: int
    use_from: int
    sealed: bytes
    """Id of the secret (1) | nonce (12) | AES-256-GCM of the PKCS #8 form, bound to the rest."""


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What a sign-in or an exchange hands out."""

    access_token: str
    refresh_token: str
    expires_in: int
    """Seconds until the access token ends."""
    refresh_at: int
    """When a client does well to exchange: spread over 0.5 to 0.9 of the access token's life."""
    refresh_expires_in: int
    """Seconds until the session ends unless it is used."""
    session: Session
    echoed: bool = False
    """The refresh token is the one that was presented: a cookie that holds it is not set again."""

    def __repr__(self) -> str:  # a pair in a log is a session given away
        return f"<Tokens of session {self.session.sid}>"
