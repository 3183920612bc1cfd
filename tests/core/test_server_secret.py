"""The server's secret and what is derived from it."""

from __future__ import annotations

import pytest

from keyturn.core.errors import ConfigurationError
from keyturn.core.server_secret import ServerSecret, ServerSecrets

ONE = bytes(range(32))
OTHER = bytes(range(32, 64))


@pytest.mark.parametrize("secret", [b"", b"short", ONE[:31]])
def test_a_short_secret_is_refused(secret: bytes) -> None:
    """D13: at least as long as the hash output."""
    with pytest.raises(ConfigurationError, match="at least 32 bytes"):
        ServerSecret(secret)


@pytest.mark.parametrize("secret", [bytes(32), b"x" * 64])
def test_a_secret_of_one_repeated_byte_is_refused(secret: bytes) -> None:
    """Nobody drew it at random."""
    with pytest.raises(ConfigurationError, match="random"):
        ServerSecret(secret)


def test_at_least_one_secret_is_needed() -> None:
    """Without one nothing could be made or checked."""
    with pytest.raises(ConfigurationError, match="missing"):
        ServerSecrets([])


def test_every_purpose_has_a_key_of_its_own() -> None:
    """What one key does tells nothing about another, nor about another secret's."""
    secrets = [ServerSecret(ONE), ServerSecret(OTHER)]

    keys = [(one.refresh_key, one.wrapping_key, one.throttle_key) for one in secrets]
    assert len({*keys[0], *keys[1], ONE, OTHER}) == 8


def test_a_secret_is_named_by_what_it_is() -> None:
    """Its id does not move when it is promoted, so all processes agree meanwhile."""
    before, after = ServerSecrets([ONE, OTHER]), ServerSecrets([OTHER, ONE])

    assert [each.key_id for each in after.with_id(before.first.key_id)] == [before.first.key_id]
    assert before.first.key_id == ServerSecret(ONE).key_id


def test_a_secret_is_not_shown() -> None:
    """H3: neither it nor a key of it is in what a log would print."""
    secrets = ServerSecrets([ONE])

    printed = repr(secrets) + repr(secrets.first) + str(vars(secrets))
    assert repr(secrets.first.refresh_key)[2:-1] not in printed
    assert repr(ONE)[2:-1] not in printed
