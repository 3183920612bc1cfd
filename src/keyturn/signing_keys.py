"""The signing keys as a store keeps them: made by one of many processes, read by all, sealed
under the server's secret.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .core.errors import ConfigurationError
from .core.keyring import (
    ALGORITHMS,
    PUBLISHED_AHEAD,
    Keyring,
    SealedKey,
    SigningKey,
    generate,
    open_key,
    seal_key,
)
from .core.server_secret import ServerSecrets
from .stores.base import Store

__all__ = ["SigningKeys"]


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
        """Let no key depend on a secret that is about to be taken away."""
        for sealed in stored:
            if sealed.sealed[0] != self._secrets.first.key_id:
                await self._store.replace_signing_key(self._seal(open_key(sealed, self._secrets)))

    def _seal(self, key: SigningKey) -> SealedKey:
        return seal_key(key, self._secrets, self._random_bytes(12))
