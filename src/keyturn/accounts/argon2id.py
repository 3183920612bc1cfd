"""Argon2id (RFC 9106), through argon2-cffi, which lets other threads run meanwhile."""

from __future__ import annotations

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import Argon2Error, InvalidHashError, VerifyMismatchError

from keyturn.core.errors import Unavailable

__all__ = ["Argon2id"]


class Argon2id:
    """The ``Hasher`` of choice: one lane, and as much work as OWASP's Password Storage Cheat Sheet
    asks for.

    Args:
        memory: KiB that one hash takes.
        passes: how often the memory is gone through.
    """

    def __init__(self, *, memory: int = 19_456, passes: int = 2) -> None:
        self._argon2 = PasswordHasher(time_cost=passes, memory_cost=memory, parallelism=1)
        # 16 bytes of salt and 32 of hash, all zero: made without work, checked with all of it.
        self.nobody = f"$argon2id$v=19$m={memory},t={passes},p=1${'A' * 22}${'A' * 43}"

    def hash(self, password: bytes) -> str:
        """A hash with a random salt.

        Raises:
            Unavailable: the memory could not be had.
        """
        try:
            return self._argon2.hash(password)
        except Argon2Error:
            raise Unavailable from None

    def verify(self, password_hash: str, password: bytes) -> bool:
        """Whether ``password`` has this hash.

        Raises:
            Unavailable: the memory could not be had, or the hash is damaged.
        """
        try:
            return self._argon2.verify(password_hash, password)
        except VerifyMismatchError:
            return False
        except (Argon2Error, InvalidHashError):
            raise Unavailable from None

    def outdated(self, password_hash: str) -> bool:
        """Whether the hash took less memory, or fewer passes, than one would now.

        Raises:
            Unavailable: the hash is damaged.
        """
        try:
            made_with = extract_parameters(password_hash)
        except InvalidHashError:
            raise Unavailable from None
        return (
            made_with.memory_cost < self._argon2.memory_cost
            or made_with.time_cost < self._argon2.time_cost
        )
