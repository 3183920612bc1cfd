"""Of a JWK set that others publish, only what can be a key of an issuer like ours is taken."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from keyturn.core import base64url
from keyturn.core.keyring import ALGORITHMS, Keyring, SigningKey, generate
from keyturn.jwks import read_jwks

KEYS = {name: generate(name, created_at=0, use_from=0) for name in ALGORITHMS}
GOOD = KEYS["ES256"]
OTHER = generate("ES256", created_at=0, use_from=0)


def jwks(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


def test_what_an_issuer_publishes_checks_what_it_signs() -> None:
    """E1: each key with its one algorithm, by the header that it writes, and no other key's."""
    keys = read_jwks(Keyring(KEYS.values()).jwks())

    assert keys.keys() == {key.header for key in KEYS.values()}
    for signing in KEYS.values():
        signature = signing.sign(b"data")
        assert keys[signing.header].verify(signature, b"data")
        assert not keys[signing.header].verify(signature, b"other data")
        assert not keys[signing.header].verify(OTHER.sign(b"data"), b"data")
        assert (keys[signing.header].jwk, keys[signing.header].kid) == (signing.jwk, signing.kid)


def weak() -> dict[str, str]:
    """An RSA key of 1024 bits, as its owner would publish it."""
    numbers = rsa.generate_private_key(65537, 1024).public_key().public_numbers()
    jwk = {"kty": "RSA", "e": "AQAB", "n": base64url.encode(numbers.n.to_bytes(128, "big"))}
    return jwk | {"alg": "RS256", "use": "sig", "kid": KEYS["RS256"].kid}


def changed(key: SigningKey = GOOD, without: str = "", **members: Any) -> dict[str, Any]:
    jwk = {**key.jwk, **members}
    jwk.pop(without, None)
    return jwk


@pytest.mark.parametrize(
    "jwk",
    [
        changed(kid=OTHER.kid),
        changed(kid="1"),
        changed(without="kid"),
        changed(without="alg"),
        changed(without="use"),
        changed(without="y"),
        changed(use="enc"),
        changed(alg="ES384"),
        changed(alg="EdDSA"),
        changed(alg="none"),
        changed(alg="HS256"),
        changed(kty="oct", k="c2VjcmV0"),
        changed(kty="RSA"),
        changed(crv="P-384"),
        changed(without="crv"),
        changed(kty=["EC"]),
        changed(alg=["ES256"]),
        changed(d="AA"),
        changed(x=OTHER.jwk["x"]),
        changed(x=GOOD.jwk["x"] + "="),
        changed(x=GOOD.jwk["x"] + "AAAA"),
        changed(x=7),
        changed(x="é"),
        changed(x="", y=""),
        changed(KEYS["EdDSA"], x=GOOD.jwk["x"][:-4]),
        changed(KEYS["EdDSA"], crv="X25519", kty="EC"),
        changed(KEYS["RS256"], e="AA"),
        changed(KEYS["RS256"], n="AA" + KEYS["RS256"].jwk["n"]),
        changed(KEYS["RS256"], alg="PS256"),
        changed(KEYS["RS256"], p="AA", q="AA"),
        weak(),
        {},
    ],
)
def test_what_is_no_key_of_ours_is_passed_over(jwk: dict[str, Any]) -> None:
    """E1, E3, D1, D13: the good one beside it is taken all the same."""
    assert read_jwks(jwks(jwk, OTHER.jwk)).keys() == {OTHER.header}


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": [7]}',
        b'{"keys": []}',
        jwks(changed(kid="1")),
        "{}".encode("utf-16"),
    ],
)
def test_what_holds_no_key_is_no_set(written: bytes) -> None:
    """E4: so that the last good one is kept."""
    with pytest.raises(ValueError):  # noqa: PT011  whatever is wrong with it
        read_jwks(written)


def test_members_that_say_more_are_read_over() -> None:
    """RFC 7517, section 4: certificates and the like change nothing, and lead nowhere."""
    more = changed(x5u="https://evil.example", key_ops=["verify"], ext=True)

    assert read_jwks(jwks(more)).keys() == {GOOD.header}
