"""The signing keys as a store keeps them: made by one of many processes, read by all, sealed
under the server's secret; and the schedule by which one follows the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .core.errors import ConfigurationError, KeyturnError, StoreUnavailable
from .core.keyring import ALGORITHMS, Keyring, PrivateKey, SigningKey, generate, in_use
from .core.model import DAY, SealedKey
from .core.server_secret import ServerSecret, ServerSecrets
from .stores.base import Store

__all__ = [
    "KNOWN_AFTER",
    "PUBLISHED_AHEAD",
    "PUBLISHED_FOR",
    "USED_FOR",
    "Heir",
    "SigningKeyUnknown",
    "SigningKeys",
    "checked_until",
    "is_long_known",
    "next_use",
    "open_key",
    "opens",
    "seal_key",
]

USED_FOR: Final = 90 * DAY
"""Seconds for which a key signs before the next one takes over."""
PUBLISHED_FOR: Final = 14 * DAY
"""Seconds between a key's publication and its first use, where nobody is in a hurry."""
PUBLISHED_AHEAD: Final = 900
"""The same where somebody asked for a new key: three lives of a copy of the JWK set."""
KNOWN_AFTER: Final = 2
"""Seconds after it was stored when every running process knows a key: each looks within one."""

_LONG_KNOWN: Final = 60
"""Seconds after it was made when it was stored long ago, however slow the store."""
_CLOCKS_APART: Final = 1
"""Seconds by which the clock of another process may be behind."""
_ATTEMPTS: Final = 8


class SigningKeyUnknown(KeyturnError):
    """No such signing key."""

    code = "signing_key_unknown"
    message = "No such signing key"


# ── the schedule: pure, of the keys in the order they were added ────────────────────────────────


def next_use(keys: Sequence[SealedKey], now: int) -> int | None:
    """When the next key is to be used first, if it is time to publish it; none before that."""
    if not keys:
        return now
    relieved_at = keys[-1].use_from + USED_FOR
    if now < relieved_at - PUBLISHED_FOR:
        return None
    return max(relieved_at, now + PUBLISHED_FOR)


def checked_until(keys: Sequence[SealedKey], longest_ttl: int) -> dict[str, int]:
    """Until when each key is needed for checking, by its ``kid``: until the last token that it
    signed has ended. Of the last one that was added it is unknown yet.
    """
    return {
        key.kid: min(newer.use_from for newer in keys[place:]) + longest_ttl
        for place, key in enumerate(keys[:-1], 1)
    }


def is_long_known(key: SealedKey, now: int) -> bool:
    """Whether a key was made so long ago that every running process knows it."""
    return key.created_at + _LONG_KNOWN <= now


# ── the sealed form ─────────────────────────────────────────────────────────────────────────────


def seal_key(key: SigningKey, secrets: ServerSecrets, nonce: bytes) -> SealedKey:
    """Encrypt ``key`` under the first secret. ``nonce`` is 12 random bytes, never used twice."""
    plain = key.private_key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    name = _name(key.kid, key.algorithm, key.created_at, key.use_from)
    cipher = AESGCM(secrets.first.wrapping_key).encrypt(nonce, plain, name)
    return SealedKey(
        kid=key.kid,
        algorithm=key.algorithm,
        created_at=key.created_at,
        use_from=key.use_from,
        sealed=bytes((secrets.first.key_id,)) + nonce + cipher,
    )


def open_key(sealed: SealedKey, secrets: ServerSecrets) -> SigningKey:
    """Decrypt a stored key with whichever of the secrets sealed it.

    Raises:
        ConfigurationError: none of them did, or the stored key was changed.
    """
    for secret in secrets.with_id(sealed.sealed[0] if sealed.sealed else -1):
        plain = _opened(sealed, secret)
        if plain is not None:
            return _signing_key(plain, sealed)
    raise ConfigurationError(
        "secret",
        f"none of the secrets opens signing key {sealed.kid}: restore the one it was sealed under;"
        f" only if that is lost, or the key damaged: `keyturn keys retire -- {sealed.kid}`",
    )


def opens(secrets: ServerSecrets, sealed: SealedKey) -> bool:
    """Whether one of the secrets sealed this key, and it was not changed since."""
    try:
        open_key(sealed, secrets)
    except ConfigurationError:
        return False
    return True


def _opened(sealed: SealedKey, secret: ServerSecret) -> bytes | None:
    name = _name(sealed.kid, sealed.algorithm, sealed.created_at, sealed.use_from)
    try:
        return AESGCM(secret.wrapping_key).decrypt(sealed.sealed[1:13], sealed.sealed[13:], name)
    except (InvalidTag, ValueError):
        return None


def _signing_key(plain: bytes, sealed: SealedKey) -> SigningKey:
    private_key = serialization.load_der_private_key(plain, password=None)
    if not isinstance(private_key, PrivateKey):
        raise ConfigurationError("signing_algorithm", f"is of no kind known here: {sealed.kid}")
    return SigningKey(
        private_key, sealed.algorithm, created_at=sealed.created_at, use_from=sealed.use_from
    )


def _name(kid: str, algorithm: str, created_at: int, use_from: int) -> bytes:
    return f"{kid}|{algorithm}|{created_at}|{use_from}".encode()


# ── in the store ────────────────────────────────────────────────────────────────────────────────


class Heir(NamedTuple):
    """The key by which nobody misses another."""

    key: SealedKey
    signs: bool
    """Already."""


class SigningKeys:
    """Keys of one algorithm for signing; those of another are kept for checking.

    Of many processes that want a new key at once one adds it, and the others find it.

    Raises:
        ConfigurationError: there is no such algorithm.
    """

    def __init__(
        self,
        store: Store,
        secrets: ServerSecrets,
        algorithm: str,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        if algorithm not in ALGORITHMS:
            raise ConfigurationError("signing_algorithm", f"must be one of {', '.join(ALGORITHMS)}")
        self._store = store
        self._secrets = secrets
        self._algorithm = algorithm
        self._random_bytes = random_bytes
        self._read: Sequence[SealedKey] = ()
        self._fault: ConfigurationError | None = None

    async def ensure(self, now: int) -> None:
        """See to it that there is a key of the configured algorithm, that the next one is
        published in time, and that all are sealed under the first secret.

        Raises:
            ConfigurationError: the secrets do not open what is stored; nothing was added.
            StoreUnavailable: the store does not answer, or others are faster again and again.
        """
        await self._seal_anew(await self._store.signing_keys())
        await self._publish(lambda stored: self._wanted(stored, now), now)

    async def renew(self, now: int, longest_ttl: int) -> None:
        """Publish the next key when it is time, and delete those whose last token has ended.

        Raises:
            StoreUnavailable: the store does not answer, or others are faster again and again.
        """
        await self._publish(lambda stored: next_use(stored, now), now)
        stored = await self._store.signing_keys()
        until = checked_until(stored, longest_ttl)
        if spent := [kid for kid, end in until.items() if end <= now]:
            await self._store.drop_signing_keys(spent, beside=stored[-1].kid)

    async def read(self, known: Keyring) -> tuple[Keyring, ConfigurationError | None]:
        """The keys that are stored, or ``known`` itself if they are the same; and what is wrong
        with one of them, if anything is.

        One that cannot be opened is used as it was known. Where it was not, nobody can tell what it
        is and what was dropped for it, so none that is known is forgotten; nor where none is left.
        """
        stored = await self._store.signing_keys()
        if not stored:
            return known, None
        if stored != self._read:
            self._read = stored
            known, self._fault = self._opened(stored, known)
        return known, self._fault

    def _opened(
        self, stored: Sequence[SealedKey], known: Keyring
    ) -> tuple[Keyring, ConfigurationError | None]:
        remembered = {key.kid: key for key in known.keys}
        keys: dict[str, SigningKey] = {}
        fault = None
        for sealed in stored:
            try:
                keys[sealed.kid] = open_key(sealed, self._secrets)
            except ConfigurationError as error:
                fault = error
                if sealed.kid in remembered:
                    keys[sealed.kid] = remembered[sealed.kid]
        if len(keys) < len(stored):
            keys = remembered | keys
        return Keyring(keys.values()), fault

    async def rotate(self, now: int) -> SealedKey:
        """Add a key to be used once every copy of the JWK set knows it. The older one checks until
        its last token has ended.

        Raises:
            ConfigurationError: the secrets do not open what is stored.
            StoreUnavailable: the store does not answer, or another process was faster.
        """
        stored = await self._store.signing_keys()
        self._require_secrets(stored)
        return await self._add_next(stored, now)

    async def heir_of(self, kid: str, now: int, *, lost: bool = False) -> Heir:
        """The key that is to sign in place of ``kid``: the one that signs anyway, else the next one
        that is published, else a new one.

        Args:
            kid: of the key that is to go.
            now: Unix seconds.
            lost: whoever asks knows that the secrets need not open that key, nor the others.

        Raises:
            SigningKeyUnknown: there is no ``kid``.
            ConfigurationError: the secrets do not open the other keys.
            StoreUnavailable: the store does not answer, or another process was faster.
        """
        stored = await self._store.signing_keys()
        kids = [key.kid for key in stored]
        if kid not in kids:
            raise SigningKeyUnknown
        if not lost or self._opens(stored[kids.index(kid)]):
            self._require_secrets([key for key in stored if key.kid != kid] or stored)
        signing = in_use(stored, now - _CLOCKS_APART)
        if signing.kid != kid:
            return Heir(signing, signs=True)
        later = stored[kids.index(kid) + 1 :]
        fit = [key for key in later if key.algorithm == self._algorithm and self._opens(key)]
        return Heir(in_use(fit, now) if fit else await self._add_next(stored, now), signs=False)

    async def let_sign(self, key: SealedKey, now: int) -> None:
        """Have a key sign from now on. Every process must know it.

        Raises:
            ConfigurationError: the secrets do not open it.
            StoreUnavailable: the store does not answer, or another process changed it meanwhile.
        """
        use_from = now - _CLOCKS_APART
        if key.use_from <= use_from:
            return
        private_key = open_key(key, self._secrets).private_key
        sooner = SigningKey(
            private_key, key.algorithm, created_at=key.created_at, use_from=use_from
        )
        if not await self._store.replace_signing_key(key, self._seal(sooner)):
            raise StoreUnavailable("The signing keys were changed meanwhile")

    async def drop(self, *kids: str, heir: str) -> None:
        """Delete keys: as soon as a process has noticed, it refuses what they signed.

        Args:
            kids: of the keys.
            heir: that of the key by which no good token is refused meanwhile. Whoever else changes
                keys may have dropped it.

        Raises:
            StoreUnavailable: the store does not answer, or there is no ``heir`` any more; then
                nothing was deleted.
        """
        if not await self._store.drop_signing_keys(kids, beside=heir):
            raise StoreUnavailable("The signing keys were changed meanwhile")

    async def drop_all_before(self, kid: str) -> None:
        """Delete every key that was added before ``kid``.

        Raises:
            StoreUnavailable: the store does not answer, or another process has deleted that one.
        """
        kids = [key.kid for key in await self._store.signing_keys()]
        await self.drop(*takewhile(lambda other: other != kid, kids), heir=kid)

    def _wanted(self, stored: Sequence[SealedKey], now: int) -> int | None:
        if stored and stored[-1].algorithm != self._algorithm:
            return now + PUBLISHED_AHEAD
        return next_use(stored, now)

    async def _publish(self, wanted: Callable[[Sequence[SealedKey]], int | None], now: int) -> None:
        """Add a key if one is ``wanted``, which tells from when it is to be used. Who loses against
        another process asks again.
        """
        for _ in range(_ATTEMPTS):
            stored = await self._store.signing_keys()
            use_from = wanted(stored)
            if use_from is None or await self._added(stored, now, use_from) is not None:
                return
        raise StoreUnavailable("The signing keys are being changed too fast to follow")

    async def _add_next(self, stored: Sequence[SealedKey], now: int) -> SealedKey:
        key = await self._added(stored, now, now + PUBLISHED_AHEAD)
        if key is None:
            raise StoreUnavailable("The signing keys were changed meanwhile")
        return key

    async def _added(
        self, stored: Sequence[SealedKey], now: int, use_from: int
    ) -> SealedKey | None:
        """A new key that was added to these; none if another process was faster."""
        made = await asyncio.to_thread(  # of an RSA key it takes a while
            generate, self._algorithm, created_at=now, use_from=use_from
        )
        key = self._seal(made)
        newest = stored[-1].kid if stored else None
        return key if await self._store.add_signing_key(key, after=newest) else None

    def _opens(self, sealed: SealedKey) -> bool:
        return opens(self._secrets, sealed)

    def _require_secrets(self, stored: Sequence[SealedKey]) -> None:
        """Else a new key would be one that no server opens."""
        for sealed in stored:
            open_key(sealed, self._secrets)

    async def _seal_anew(self, stored: Sequence[SealedKey]) -> None:
        """Let no key depend on a secret that is about to be taken away. Its id, of one byte, does
        not tell which secret that is: two may share it.
        """
        for sealed in stored:
            if _opened(sealed, self._secrets.first) is None:
                anew = self._seal(open_key(sealed, self._secrets))
                await self._store.replace_signing_key(sealed, anew)

    def _seal(self, key: SigningKey) -> SealedKey:
        return seal_key(key, self._secrets, self._random_bytes(12))
