"""Signing keys: their kinds, their life cycle, their public side, their sealed form."""

from __future__ import annotations

import functools
import json
import re

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc.jwk import KeySet
from msgspec.structs import replace

from keyturn.core import keyring
from keyturn.core.errors import ConfigurationError
from keyturn.core.keyring import (
    ALGORITHMS,
    JWKS_MAX_AGE,
    Keyring,
    SigningKey,
    VerifyingKey,
    generate,
)
from keyturn.core.server_secret import ServerSecrets
from keyturn.signing_keys import PUBLISHED_AHEAD, PUBLISHED_FOR, open_key, seal_key

SECRETS = ServerSecrets([bytes(range(32))])
OTHER_SECRETS = ServerSecrets([bytes(range(32, 64))])
NONCE = bytes(range(12))
PUBLIC = {
    "ES256": {"kty": "EC", "crv": "P-256"},
    "EdDSA": {"kty": "OKP", "crv": "Ed25519"},
    "RS256": {"kty": "RSA", "e": "AQAB"},
}


@functools.cache
def a_key(algorithm: str) -> SigningKey:
    return generate(algorithm, created_at=1, use_from=2)


def key(use_from: int, created_at: int = 0) -> SigningKey:
    return generate("EdDSA", created_at=created_at, use_from=use_from)


# E1: the public side.


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_jwk_set_has_public_members_only(algorithm: str) -> None:
    """E1: nothing of the private key is in it, and what must be there is."""
    (jwk,) = json.loads(Keyring([a_key(algorithm)]).jwks())["keys"]

    assert jwk.items() >= {**PUBLIC[algorithm], "use": "sig", "alg": algorithm}.items()
    assert not jwk.keys() & {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
    assert (
        jwk.keys()
        == {"alg", "kid", "kty", "use"}
        | {
            "ES256": {"crv", "x", "y"},
            "EdDSA": {"crv", "x"},
            "RS256": {"n", "e"},
        }[algorithm]
    )


def test_key_ids_are_unique() -> None:
    """E1: also where a key was given twice."""
    keys = [a_key(algorithm) for algorithm in (*ALGORITHMS, *ALGORITHMS)]

    kids = [jwk["kid"] for jwk in json.loads(Keyring(keys).jwks())["keys"]]
    assert len(kids) == len(set(kids)) == 3


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_key_id_is_the_thumbprint(algorithm: str) -> None:
    """E1: as another library computes it (RFC 7638)."""
    ring = Keyring([a_key(algorithm)])

    (theirs,) = KeySet.import_key_set(json.loads(ring.jwks())).keys
    assert theirs.thumbprint() == a_key(algorithm).kid


def test_the_thumbprint_of_the_rfcs_own_key_is_the_rfcs() -> None:
    """E1: RFC 7638, section 3.1."""
    members = {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSo"
        "c_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_"
        "FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4v"
        "MQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
    }

    assert keyring._thumbprint(members) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_coordinates_keep_their_leading_zeros() -> None:
    """E1: RFC 7518, section 6.2.1.2: always 32 bytes, so that the thumbprint is the same."""
    scalars = (n for n in range(1, 1 << 16) if _x(n) < 1 << 248)
    private_key = ec.derive_private_key(next(scalars), ec.SECP256R1())

    jwk = SigningKey(private_key, "ES256", created_at=0, use_from=0).jwk

    assert len(jwk["x"]) == len(jwk["y"]) == 43


def _x(scalar: int) -> int:
    return ec.derive_private_key(scalar, ec.SECP256R1()).public_key().public_numbers().x


# E2: the life cycle.


def test_a_key_signs_from_its_time_on() -> None:
    """E2: it is published before, and signs until a newer one's time has come."""
    older, newer = key(use_from=100), key(use_from=200)
    ring = Keyring([older, newer])

    assert [ring.signing_key(now) for now in (100, 199, 200, 201)] == [older, older, newer, newer]
    assert len(json.loads(ring.jwks())["keys"]) == 2


def test_before_any_keys_time_the_first_one_signs() -> None:
    """A clock that is behind must not stop sign-ins."""
    older, newer = key(use_from=100), key(use_from=200)

    assert Keyring([older, newer]).signing_key(50) is older


def test_a_key_takes_the_place_of_all_that_were_added_before_it() -> None:
    """E2: also of one whose time would come later, and for good."""
    older, skipped, newest = key(use_from=100), key(use_from=300), key(use_from=200)
    ring = Keyring([older, skipped, newest])

    assert [ring.signing_key(now) for now in (199, 200, 300, 10**9)] == [older] + 3 * [newest]


def test_an_empty_ring_signs_nothing() -> None:
    """H4: no key, no token."""
    with pytest.raises(LookupError, match="no signing key"):
        Keyring([]).signing_key(0)


def test_a_key_is_published_for_longer_than_copies_are_kept() -> None:
    """E2: whoever keeps our public keys as long as they may has the new one before its use."""
    assert PUBLISHED_FOR > PUBLISHED_AHEAD > JWKS_MAX_AGE


# E3: strength.


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_generated_keys_are_strong(algorithm: str) -> None:
    """E3: P-256, Ed25519, RSA of 3072 bits."""
    made = a_key(algorithm).private_key

    if isinstance(made, rsa.RSAPrivateKey):
        assert (made.key_size, made.public_key().public_numbers().e) == (3072, 65537)
    else:
        kinds = ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey
        assert isinstance(made, kinds[algorithm == "EdDSA"])


def test_a_weak_rsa_key_is_refused() -> None:
    """E3: below 2048 bits."""
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # as small as allowed

    with pytest.raises(ConfigurationError, match="2048 bits"):
        SigningKey(weak, "RS256", created_at=0, use_from=0)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_public_side_checks_alone(algorithm: str) -> None:
    """E1: whoever has it has the same id and header, and nothing that signs."""
    signing = a_key(algorithm)

    public = VerifyingKey(signing.private_key.public_key(), algorithm)

    assert (public.kid, public.header, public.jwk) == (signing.kid, signing.header, signing.jwk)
    assert public.verify(signing.sign(b"data"), b"data")
    assert not public.verify(signing.sign(b"data"), b"other data")
    assert not public.verify(signing.sign(b"data")[:-1], b"data")
    assert not hasattr(public, "sign")


@pytest.mark.parametrize("made_for", ALGORITHMS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_fits_one_algorithm(made_for: str, algorithm: str) -> None:
    """D1: whatever another algorithm asks for, this key does not do it."""
    private_key = a_key(made_for).private_key

    if made_for == algorithm:
        SigningKey(private_key, algorithm, created_at=0, use_from=0)
    else:
        with pytest.raises(ConfigurationError, match=f"{algorithm} needs"):
            SigningKey(private_key, algorithm, created_at=0, use_from=0)


def test_another_curve_is_refused() -> None:
    """D1: ES256 is P-256 (RFC 7518, section 3.4)."""
    private_key = ec.generate_private_key(ec.SECP384R1())

    with pytest.raises(ConfigurationError, match="P-256"):
        SigningKey(private_key, "ES256", created_at=0, use_from=0)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "ES384", "PS256", "es256", ""])
def test_there_is_no_other_algorithm(algorithm: str) -> None:
    """D1, D13: no symmetric one above all, so there are no weak shared keys either."""
    with pytest.raises(ConfigurationError, match="one of ES256, EdDSA, RS256"):
        generate(algorithm, created_at=0, use_from=0)
    with pytest.raises(ConfigurationError, match="one of ES256, EdDSA, RS256"):
        SigningKey(a_key("ES256").private_key, algorithm, created_at=0, use_from=0)


# The sealed form.


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_sealed_key_is_opened_as_it_was(algorithm: str) -> None:
    """E3: encrypted at rest, and the same key afterwards."""
    sealed = seal_key(a_key(algorithm), SECRETS, NONCE)

    opened = open_key(sealed, SECRETS)

    assert (opened.kid, opened.algorithm) == (a_key(algorithm).kid, algorithm)
    assert (opened.created_at, opened.use_from) == (1, 2)
    assert a_key(algorithm).verify(opened.sign(b"data"), b"data")


def test_a_key_is_opened_while_secrets_change() -> None:
    """H9: sealed under one secret, opened where another has been promoted before it."""
    sealed = seal_key(a_key("ES256"), SECRETS, NONCE)
    promoted = ServerSecrets([bytes(range(32, 64)), bytes(range(32))])

    assert open_key(sealed, promoted).kid == sealed.kid
    assert open_key(seal_key(a_key("ES256"), promoted, NONCE), OTHER_SECRETS).kid == sealed.kid


def test_another_servers_key_is_not_opened() -> None:
    """C2: the database alone gives no signing key; the error names what to look at."""
    sealed = seal_key(a_key("ES256"), SECRETS, NONCE)

    with pytest.raises(ConfigurationError, match=f"secret: .*{re.escape(sealed.kid)}"):
        open_key(sealed, OTHER_SECRETS)


def test_no_byte_of_a_sealed_key_can_be_changed() -> None:
    """E3: id, nonce, cipher text and tag, each byte of them."""
    sealed = seal_key(a_key("ES256"), SECRETS, NONCE)

    for place, byte in enumerate(sealed.sealed):
        changed = sealed.sealed[:place] + bytes((byte ^ 1,)) + sealed.sealed[place + 1 :]
        with pytest.raises(ConfigurationError):
            open_key(replace(sealed, sealed=changed), SECRETS)


def test_a_sealed_key_cannot_be_cut() -> None:
    """E3: at any length, to nothing."""
    sealed = seal_key(a_key("ES256"), SECRETS, NONCE)

    for length in range(len(sealed.sealed)):
        with pytest.raises(ConfigurationError):
            open_key(replace(sealed, sealed=sealed.sealed[:length]), SECRETS)


@pytest.mark.parametrize(
    "change",
    [
        {"kid": "x"},
        {"algorithm": "EdDSA"},
        {"created_at": 0},
        {"use_from": 0},
        {"use_from": 10**10},
        {"created_at": 2, "use_from": 1},
    ],
)
def test_a_sealed_key_is_bound_to_what_is_said_of_it(change: dict[str, object]) -> None:
    """E2, E3: who can write the store can still not have an old key sign again."""
    sealed = seal_key(a_key("ES256"), SECRETS, NONCE)

    with pytest.raises(ConfigurationError):
        open_key(replace(sealed, **change), SECRETS)


def test_a_sealed_key_shows_nothing_of_the_key() -> None:
    """E3, H3: not in its bytes, nor in what a log would print of the opened one."""
    signing_key = a_key("EdDSA")
    assert isinstance(signing_key.private_key, ed25519.Ed25519PrivateKey)
    private = signing_key.private_key.private_bytes_raw()

    assert private not in seal_key(signing_key, SECRETS, NONCE).sealed
    assert repr(private)[2:-1] not in repr(signing_key) + str(vars(signing_key))
