"""The signing keys as a store keeps them: made by one of many processes, read by all, sealed
under the server's secret.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .core.errors import ConfigurationError
from .core.keyring import ALGORITHMS, PUBLISHED_AHEAD, Keyring, PrivateKey, SigningKey, generate
from .core.model import SealedKey
from .core.server_secret import ServerSecret, ServerSecrets
from .stores.base import Store

__all__ = ["SigningKeys", "open_key", "seal_key"]


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
        f"none of the secrets opens signing key {sealed.kid}: restore the one it was sealed under",
    )


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


class SigningKeys:
    """Keys of one algorithm for signing; those of another are kept for checking.

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

    async def ensure(self, now: int) -> None:
        """See to it that there is a key of the configured algorithm, sealed under the first secret.

        Raises:
            ConfigurationError: the secrets do not open what is stored.
        """
        stored = await self._store.signing_keys()
        if not stored:
            await self._add(after=stored, now=now, use_from=now)
        elif stored[-1].algorithm != self._algorithm:
            await self._add(after=stored, now=now, use_from=now + PUBLISHED_AHEAD)
        await self._seal_anew(stored)

    async def read(self, known: Keyring) -> Keyring:
        """The keys that are stored; ``known`` itself if they are the same."""
        stored = await self._store.signing_keys()
        if {key.kid for key in stored} == {key.kid for key in known.keys}:
            return known
        return Keyring(open_key(key, self._secrets) for key in stored)

    async def rotate(self, now: int) -> str:
        """Add a key to be used once every copy of the JWK set knows it; return its ``kid``. The
        older one checks until its last token has ended.
        """
        stored = await self._store.signing_keys()
        return await self._add(after=stored, now=now, use_from=now + PUBLISHED_AHEAD)

    async def drop_spent(self, known: Keyring, now: int, longest_ttl: int) -> None:
        """Delete the keys whose last token has ended."""
        if spent := known.spent(now, longest_ttl):
            await self._store.drop_signing_keys([key.kid for key in spent])

    async def _add(self, *, after: Sequence[SealedKey], now: int, use_from: int) -> str:
        """Add a key, unless another process was faster: then that one will do."""
        key = generate(self._algorithm, created_at=now, use_from=use_from)
        newest = after[-1].kid if after else None
        if await self._store.add_signing_key(self._seal(key), after=newest):
            return key.kid
        return (await self._store.signing_keys())[-1].kid

    async def _seal_anew(self, stored: Sequence[SealedKey]) -> None:
        """Let no key depend on a secret that is about to be taken away. Its id, of one byte, does
        not tell which secret that is: two may share it.
        """
        for sealed in stored:
            if _opened(sealed, self._secrets.first) is None:
                await self._store.replace_signing_key(self._seal(open_key(sealed, self._secrets)))

    def _seal(self, key: SigningKey) -> SealedKey:
        return seal_key(key, self._secrets, self._random_bytes(12))
