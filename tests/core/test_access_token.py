"""The access token as others read it, and every known way to forge one.

Where an attack needs it, the token is signed by the right key: what is refused then is what a
library that only checks signatures would let through.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import math
from collections.abc import Callable, Iterable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import KeySet
from msgspec.structs import replace

from keyturn.checking import Verifier
from keyturn.core import base64url
from keyturn.core.access_token import (
    LONGEST_CLAIMS,
    LONGEST_TOKEN,
    RESERVED,
    AccessToken,
    check_claims,
    check_size,
    mint,
)
from keyturn.core.cutoffs import CutoffView
from keyturn.core.errors import (
    AccessTokenExpired,
    AccessTokenInvalid,
    AccessTokenRevoked,
    ClaimsRefused,
)
from keyturn.core.keyring import ALGORITHMS, Keyring, SigningKey, generate
from keyturn.core.model import ALL_VERSIONS, Claims, Cutoff
from keyturn.core.refresh_token import mint as mint_refresh_token
from keyturn.core.server_secret import ServerSecrets

ISSUER = "https://accounts.example.com"
AUDIENCE = "https://api.example.com"
NOW = 1_800_000_000
TTL = 600
NEVER = 10**12

ACCESS = AccessToken(
    user_id="ada",
    sid="A" * 22,
    version=3,
    issued_at=NOW,
    expires_at=NOW + TTL,
    auth_time=NOW - 1000,
    token_id="T" * 22,
    claims=Claims(
        username="ada",
        email="ada@example.com",
        fullname="Ada Lovelace",
        permissions=("read", "notes:write"),
        extra={"tenant": "north", "limits": {"notes": 5, "share": 0.5, "until": None}},
    ),
)
PAYLOAD = {
    "iss": ISSUER,
    "sub": "ada",
    "aud": AUDIENCE,
    "exp": NOW + TTL,
    "iat": NOW,
    "jti": "T" * 22,
    "sid": "A" * 22,
    "ver": 3,
    "auth_time": NOW - 1000,
    "scope": "read notes:write",
}
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
ABSENT: Any = object()


@functools.cache
def a_key(algorithm: str) -> SigningKey:
    return generate(algorithm, created_at=0, use_from=0)


KEY = a_key("ES256")
STRANGER = generate("ES256", created_at=0, use_from=0)


def verifier(
    keys: Iterable[SigningKey] = (),
    *,
    cutoffs: CutoffView | None = None,
    cache_bytes: int = 1 << 20,
) -> Verifier:
    return Verifier(
        Keyring(keys or [a_key(algorithm) for algorithm in ALGORITHMS]).by_header,
        CutoffView() if cutoffs is None else cutoffs,
        issuer=ISSUER,
        audience=AUDIENCE,
        longest_ttl=TTL,
        cache_bytes=cache_bytes,
    )


def token(access: AccessToken = ACCESS, key: SigningKey = KEY) -> str:
    return mint(key, ISSUER, AUDIENCE, access)


def as_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def signed(payload: bytes, header: str = KEY.header, key: SigningKey = KEY) -> str:
    """Any payload under any header, signed by a key of ours."""
    content = f"{header}.{base64url.encode(payload)}"
    return f"{content}.{base64url.encode(key.sign(content.encode()))}"


def with_claims(**changes: Any) -> bytes:
    members = {**PAYLOAD, **changes}
    return as_json({name: value for name, value in members.items() if value is not ABSENT})


def with_header(*, key: SigningKey = KEY, **changes: Any) -> str:
    header = {"alg": key.algorithm, "kid": key.kid, "typ": "at+jwt", **changes}
    kept = {name: value for name, value in header.items() if value is not ABSENT}
    return signed(with_claims(), base64url.encode(as_json(kept)), key)


def refuses(text: str, **keys: Any) -> bool:
    try:
        verifier(**keys).verify(text, NOW)
    except AccessTokenInvalid:
        return True
    return False


def parts(text: str) -> tuple[bytes, bytes, bytes]:
    header, payload, signature = map(base64url.decode, text.split("."))
    return header, payload, signature


# What it is, to us and to others.


def test_what_is_forged_here_would_be_accepted_if_it_were_not_changed() -> None:
    """The attacks below fail for the reason they name, not for another one."""
    assert not refuses(signed(with_claims()))
    assert not refuses(with_header())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_says_what_it_was_minted_with(algorithm: str) -> None:
    """D5: user, session, version, times, id and claims, with each kind of key."""
    text = token(key=a_key(algorithm))

    assert verifier().verify(text, NOW) == ACCESS


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_header_is_three_members_in_order(algorithm: str) -> None:
    """D3, D4: so that it can be compared instead of read."""
    key = a_key(algorithm)

    header, _, _ = parts(token(key=key))
    expected = f'{{"alg":"{algorithm}","kid":"{key.kid}","typ":"at+jwt"}}'
    assert header == expected.encode()


def test_the_payload_is_the_documented_one() -> None:
    """D5: the claims of RFC 9068, section 2.2, then the user's, then the application's own."""
    _, payload, _ = parts(token())

    assert payload == as_json(
        {
            **PAYLOAD,
            "username": "ada",
            "email": "ada@example.com",
            "fullname": "Ada Lovelace",
            **ACCESS.claims.extra,
        }
    )


def test_a_token_says_no_more_than_it_was_given() -> None:
    """D11: without claims there is nothing of the person but the user's id."""
    _, payload, _ = parts(token(replace(ACCESS, claims=Claims())))

    assert json.loads(payload).keys() == PAYLOAD.keys() - {"scope"}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_pyjwt_reads_it_through_our_key_set(algorithm: str) -> None:
    """E1: any service can check it without us."""
    key = a_key(algorithm)
    (jwk,) = json.loads(Keyring([key]).jwks())["keys"]
    now = replace(ACCESS, issued_at=1, expires_at=NEVER)

    claims = jwt.decode(
        token(now, key),
        jwt.PyJWK(jwk),
        algorithms=[algorithm],
        audience=AUDIENCE,
        issuer=ISSUER,
        options={"require": ["exp", "aud", "iss"]},
    )

    assert claims == json.loads(parts(token(now, key))[1])


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated via RFC 9864")  # in favour of "Ed25519"
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_joserfc_reads_it_through_our_key_set(algorithm: str) -> None:
    """E1: any service can check it without us."""
    keys = KeySet.import_key_set(json.loads(Keyring(map(a_key, ALGORITHMS)).jwks()))
    text = token(replace(ACCESS, issued_at=1, expires_at=NEVER), a_key(algorithm))

    read = joserfc_jwt.decode(text, keys, algorithms=[algorithm])
    required: dict[str, Any] = {
        "iss": {"essential": True, "value": ISSUER},
        "aud": {"essential": True, "value": AUDIENCE},
        "exp": {"essential": True},
    }
    joserfc_jwt.JWTClaimsRegistry(**required).validate(read.claims)

    assert read.header == json.loads(parts(text)[0])
    assert read.claims == json.loads(parts(text)[1])


# D1, D2, D4, D8, D9: headers. Each is signed by the key of ours that it leaves in place.

FOREIGN_JWK = {**STRANGER.jwk}
HEADERS = {
    "alg none": {"alg": "none"},
    "alg None": {"alg": "None"},
    "alg NONE": {"alg": "NONE"},
    "alg nOnE": {"alg": "nOnE"},
    "alg empty": {"alg": ""},
    "alg absent": {"alg": ABSENT},
    "alg null": {"alg": None},
    "alg in lower case": {"alg": "es256"},
    "alg of another curve": {"alg": "ES384"},
    "alg of a sibling curve": {"alg": "ES256K"},
    "alg of another kind of key": {"alg": "RS256"},
    "alg of Ed25519": {"alg": "EdDSA"},
    "alg symmetric": {"alg": "HS256"},
    "alg as a list": {"alg": ["ES256"]},
    "jwk": {"jwk": FOREIGN_JWK},
    "jku": {"jku": "https://evil.example/jwks.json"},
    "x5u": {"x5u": "https://evil.example/chain.pem"},
    "x5c": {"x5c": ["MIIB"]},
    "x5t": {"x5t": "dGh1bWI"},
    "x5t#S256": {"x5t#S256": "dGh1bWI"},
    "kid absent": {"kid": ABSENT},
    "kid empty": {"kid": ""},
    "kid null": {"kid": None},
    "kid a number": {"kid": 0},
    "kid a list": {"kid": [KEY.kid]},
    "kid unknown": {"kid": "key-1"},
    "kid a path": {"kid": "../../../../dev/null"},
    "kid an SQL fragment": {"kid": "' UNION SELECT 'key"},
    "kid with NUL": {"kid": f"{KEY.kid}\0"},
    "kid in another case": {"kid": KEY.kid.swapcase()},
    "kid of another key of ours": {"kid": a_key("EdDSA").kid},
    "typ absent": {"typ": ABSENT},
    "typ JWT": {"typ": "JWT"},
    "typ in upper case": {"typ": "AT+JWT"},
    "typ in long form": {"typ": "application/at+jwt"},
    "typ of a refresh token": {"typ": "rt+jwt"},
    "typ of a security event": {"typ": "secevent+jwt"},
    "typ of a proof of possession": {"typ": "dpop+jwt"},
    "typ of an id token": {"typ": "id+jwt"},
    "crit unknown": {"crit": ["exp"], "exp": NOW},
    "crit empty": {"crit": []},
    "crit of a wrong type": {"crit": "exp"},
    "crit naming what is absent": {"crit": ["b64"]},
    "b64 false": {"b64": False, "crit": ["b64"]},
    "b64 true": {"b64": True, "crit": ["b64"]},
    "b64 without crit": {"b64": False},
    "cty": {"cty": "JWT"},
    "zip": {"zip": "DEF"},
    "enc": {"enc": "A256GCM"},
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_no_other_header_is_accepted(header: dict[str, Any]) -> None:
    """D1, D2, D4, D8: the header is compared, so nothing an attacker writes there is ever read."""
    assert refuses(with_header(**header))


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE"])
def test_an_unsigned_token_is_refused(name: str) -> None:
    """D1: whatever the letter case of none."""
    header = base64url.encode(as_json({"alg": name, "kid": KEY.kid, "typ": "at+jwt"}))

    assert refuses(f"{header}.{base64url.encode(with_claims())}.")


@pytest.mark.parametrize("count", [0, 2, 3])
def test_a_token_of_other_parts_is_refused_though_we_signed_it(count: int) -> None:
    """D3: the payload that is read is the second of three parts; none is signed beside it."""
    content = ".".join([KEY.header, *[base64url.encode(with_claims())] * count])

    assert refuses(f"{content}.{base64url.encode(KEY.sign(content.encode()))}")


@pytest.mark.parametrize("form", ["pem", "der", "point", "jwk", "kid"])
@pytest.mark.parametrize("alg", ["HS256", "ES256"])
def test_the_public_key_is_no_shared_secret(alg: str, form: str) -> None:
    """D1: an HMAC keyed with what everybody knows, under its own name or under ours."""
    public = KEY.private_key.public_key()
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    shared = {
        "pem": public.public_bytes(serialization.Encoding.PEM, spki),
        "der": public.public_bytes(serialization.Encoding.DER, spki),
        "point": base64url.decode(KEY.jwk["x"]) + base64url.decode(KEY.jwk["y"]),
        "jwk": as_json(KEY.jwk),
        "kid": KEY.kid.encode(),
    }[form]
    header = base64url.encode(as_json({"alg": alg, "kid": KEY.kid, "typ": "at+jwt"}))
    content = f"{header}.{base64url.encode(with_claims())}"
    tag = hmac.digest(shared, content.encode(), hashlib.sha256)

    assert refuses(f"{content}.{base64url.encode(tag)}")
    assert refuses(f"{content}.{base64url.encode(tag + tag)}")


@pytest.mark.parametrize("header", [{}, {"jwk": FOREIGN_JWK}, {"kid": STRANGER.kid}])
def test_a_strangers_key_is_not_ours(header: dict[str, Any]) -> None:
    """D2: neither under our key's name, nor brought along, nor under its own name."""
    ours = {"alg": "ES256", "kid": KEY.kid, "typ": "at+jwt"}
    forged = base64url.encode(as_json({**ours, **header}))

    assert refuses(signed(with_claims(), forged, STRANGER))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("signer", ALGORITHMS)
def test_a_key_signs_under_its_own_header_only(algorithm: str, signer: str) -> None:
    """D1: an ES256 header does not go with an Ed25519 key of ours, nor any such pair."""
    text = signed(with_claims(), a_key(algorithm).header, a_key(signer))

    assert refuses(text) == (signer != algorithm)


def test_a_key_that_was_dropped_signs_nothing() -> None:
    """E2: its header is no longer known."""
    assert refuses(token(), keys=[STRANGER])


def test_the_order_of_the_header_is_ours() -> None:
    """D4: even the same members in another order are not what we write."""
    header = {"typ": "at+jwt", "alg": "ES256", "kid": KEY.kid}

    assert refuses(signed(with_claims(), base64url.encode(as_json(header))))


HEADER = base64url.decode(KEY.header)
HEADER_BYTES = {
    "duplicate alg, none first": HEADER.replace(b"{", b'{"alg":"none",'),
    "duplicate alg, none last": HEADER.replace(b"}", b',"alg":"none"}'),
    "duplicate kid": HEADER.replace(b"}", b',"kid":"x"}'),
    "duplicate typ": HEADER.replace(b"}", b',"typ":"JWT"}'),
    "byte order mark": b"\xef\xbb\xbf" + HEADER,
    "UTF-16": HEADER.decode().encode("utf-16"),
    "UTF-32": HEADER.decode().encode("utf-32"),
    "space before": b" " + HEADER,
    "newline after": HEADER + b"\n",
    "spaces within": HEADER.replace(b":", b": "),
    "NUL after": HEADER + b"\0",
    "an escape": HEADER.replace(b"alg", b"\\u0061lg"),
    "a list": b"[" + HEADER + b"]",
    "empty object": b"{}",
    "empty": b"",
}


@pytest.mark.parametrize("header", HEADER_BYTES.values(), ids=HEADER_BYTES)
def test_a_header_is_compared_byte_for_byte(header: bytes) -> None:
    """D9: what other libraries read as the same header is another one."""
    assert refuses(signed(with_claims(), base64url.encode(header)))


# D3: the shape.

TOKEN = token()
FIRST, SECOND, THIRD = TOKEN.split(".")


def spare_bits(segment: str) -> str:
    """The same bytes for a reader that ignores the spare bits of the last character."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return segment[:-1] + alphabet[alphabet.index(segment[-1]) + 1]


SHAPES = {
    "empty": "",
    "two dots": "..",
    "one part": FIRST,
    "two parts": f"{FIRST}.{SECOND}",
    "four parts": f"{TOKEN}.{THIRD}",
    "an empty fourth part": f"{TOKEN}.",
    "a leading dot": f".{TOKEN}",
    "five parts": f"{FIRST}.{SECOND}.{THIRD}.{FIRST}.{SECOND}",
    "a doubled dot": f"{FIRST}..{SECOND}.{THIRD}",
    "no header": f".{SECOND}.{THIRD}",
    "no payload": f"{FIRST}..{THIRD}",
    "no signature": f"{FIRST}.{SECOND}.",
    "padding": f"{TOKEN}=",
    "more padding": f"{TOKEN}==",
    "padding of the payload": f"{FIRST}.{SECOND}=.{THIRD}",
    "padding of the header": f"{FIRST}=.{SECOND}.{THIRD}",
    "a space before": f" {TOKEN}",
    "a space after": f"{TOKEN} ",
    "a newline after": f"{TOKEN}\n",
    "a newline within": f"{FIRST}.{SECOND}.{THIRD[:9]}\n{THIRD[9:]}",
    "quotes": f'"{TOKEN}"',
    "a scheme": f"Bearer {TOKEN}",
    "NUL after": f"{TOKEN}\0",
    "NUL within": f"{FIRST}.{SECOND}\0.{THIRD}",
    "a lone surrogate after": f"{TOKEN}\ud800",
    "a lone surrogate within": f"{FIRST}.\ud800{SECOND}.{THIRD}",
    "lookalike dots": f"{FIRST}\uff0e{SECOND}\uff0e{THIRD}",
    "a letter beyond ASCII": f"{FIRST}.{SECOND}.{THIRD[:-1]}é",
    "the other alphabet": f"{FIRST}.{SECOND}.{'+/' + THIRD[2:]}",
    "spare bits of the signature": f"{FIRST}.{SECOND}.{spare_bits(THIRD)}",
    "JSON serialization": json.dumps(
        {"payload": SECOND, "signatures": [{"protected": FIRST, "signature": THIRD}]}
    ),
    "flattened JSON serialization": json.dumps(
        {"protected": FIRST, "payload": SECOND, "signature": THIRD}
    ),
    "a megabyte": f"{FIRST}.{'A' * (1 << 20)}.{THIRD}",
    "a megabyte of dots": "." * (1 << 20),
    "one character too long": TOKEN + "A" * (LONGEST_TOKEN + 1 - len(TOKEN)),
}


@pytest.mark.parametrize("text", SHAPES.values(), ids=SHAPES)
def test_no_other_shape_is_read(text: str) -> None:
    """D3: three parts of one alphabet, of bounded length, each with the one canonical ending."""
    assert refuses(text)


def test_spare_bits_of_the_payload_are_refused() -> None:
    """D3: also where the signature was made over just that text."""
    payload = next(p for n in range(3) if len(p := with_claims(sub="a" * n)) % 3 == 1)
    content = f"{KEY.header}.{spare_bits(base64url.encode(payload))}"

    assert refuses(f"{content}.{base64url.encode(KEY.sign(content.encode()))}")


def test_a_token_that_is_too_long_is_refused_though_we_signed_it() -> None:
    """D3: the length is judged first, and no cookie could have held it."""
    text = signed(with_claims(tenant="x" * LONGEST_TOKEN))

    assert refuses(text)


def test_no_changed_character_goes_unnoticed() -> None:
    """D3: header, dots, payload and signature, each character of them."""
    text = token(replace(ACCESS, claims=Claims()), a_key("EdDSA"))
    judge = verifier()

    for place, character in enumerate(text):
        changed = text[:place] + ("A" if character != "A" else "B") + text[place + 1 :]
        with pytest.raises(AccessTokenInvalid):
            judge.verify(changed, NOW)


# D5, D6, D7, D9: payloads, each signed by the right key under the right header.

WRONG: dict[str, list[Any]] = {
    "text": [None, True, 5, 1.5, [], ["x"], {}],
    "number": [None, True, False, "5", str(NOW), "", [], {}, [NOW]],
}
TYPES = {
    name: "number" if name in {"exp", "iat", "ver", "auth_time"} else "text" for name in PAYLOAD
}


@pytest.mark.parametrize("name", sorted(PAYLOAD.keys() - {"scope"}))
def test_every_claim_is_required(name: str) -> None:
    """D5: we always write it."""
    assert refuses(signed(with_claims(**{name: ABSENT})))


@pytest.mark.parametrize(("name", "value"), [(n, v) for n in PAYLOAD for v in WRONG[TYPES[n]]])
def test_a_claim_of_a_wrong_type_is_refused(name: str, value: Any) -> None:
    """D5, D6: text is text, a number is a number, true is not one."""
    assert refuses(signed(with_claims(**{name: value})))


@pytest.mark.parametrize("name", ["username", "email", "fullname"])
@pytest.mark.parametrize("value", WRONG["text"])
def test_a_profile_of_a_wrong_type_is_refused(name: str, value: Any) -> None:
    """D5: whoever reads a name gets text."""
    assert refuses(signed(with_claims(**{name: value})))


@pytest.mark.parametrize("name", ["exp", "iat", "ver", "auth_time"])
@pytest.mark.parametrize(
    "number",
    [
        *("1e300", "-1e300", "1e400", "1800000600.0", "18e8", "1800000600.5", "1.8e9"),
        *("NaN", "Infinity", "-Infinity", "0x6b49d200", "01800000600", "+1800000600", "-0"),
        *("1_800_000_600", "true", '"1800000600"', "[1800000600]"),
    ],
)
def test_a_time_is_an_integer_written_plainly(name: str, number: str) -> None:
    """D6: no fraction, no exponent, nothing that is no number, no digits in quotes."""
    payload = with_claims(**{name: "HERE"}).replace(b'"HERE"', number.encode())

    assert refuses(signed(payload))


@pytest.mark.parametrize(
    ("exp", "iat"),
    [
        (10**30, NOW),
        (2**63, NOW),
        (2**64, NOW),
        (NOW + TTL + 1, NOW),
        (NOW + TTL, NOW - 1),
        (NOW + TTL, -(10**30)),
        (NOW + TTL, 0),
        (NOW, NOW),
        (NOW - 1, NOW),
        (-1, NOW),
    ],
)
def test_a_life_that_we_do_not_give_is_refused(exp: int, iat: int) -> None:
    """D6, D12: longer than configured, or none at all."""
    assert refuses(signed(with_claims(exp=exp, iat=iat)))


def test_the_longest_life_is_accepted() -> None:
    """D12: and the shortest."""
    judge = verifier()

    assert judge.read(signed(with_claims(exp=NOW + TTL, iat=NOW))).expires_at == NOW + TTL
    assert judge.read(signed(with_claims(exp=NOW + 1, iat=NOW))).expires_at == NOW + 1


@pytest.mark.parametrize(
    "name", sorted(RESERVED - PAYLOAD.keys() - {"username", "email", "fullname"})
)
@pytest.mark.parametrize("value", [NOW + 10**6, "x", None])
def test_a_registered_claim_that_we_do_not_write_is_refused(name: str, value: Any) -> None:
    """D5, D6: above all nbf, which would be a promise to wait, and cnf, one to ask for a proof."""
    assert refuses(signed(with_claims(**{name: value})))


@pytest.mark.parametrize(
    "iss",
    [
        *("", f"{ISSUER}/", ISSUER.upper(), f" {ISSUER}", f"{ISSUER}.evil.example", ISSUER[:-1]),
        *("https://evil.example", f"{ISSUER}\0", "http://accounts.example.com", [ISSUER], None),
    ],
)
def test_another_issuer_is_refused(iss: object) -> None:
    """D7: the text is compared, all of it, as it is."""
    assert refuses(signed(with_claims(iss=iss)))


@pytest.mark.parametrize(
    "aud",
    [
        *("", f"{AUDIENCE}/", AUDIENCE.upper(), f"{AUDIENCE} ", "https://other.example.com", "*"),
        *([AUDIENCE], [AUDIENCE, "https://other.example.com"], [], None, {AUDIENCE: True}),
    ],
)
def test_another_audience_is_refused(aud: object) -> None:
    """D7: also a list that holds ours: we write one audience, as text."""
    assert refuses(signed(with_claims(aud=aud)))


GOOD = with_claims()
PAYLOADS = {
    "duplicate sub, ours last": GOOD.replace(b"{", b'{"sub":"eve",', 1),
    "duplicate sub, ours first": GOOD.replace(b"}", b',"sub":"eve"}'),
    "duplicate exp": GOOD.replace(b"}", b',"exp":1800000600}'),
    "the same member twice": GOOD.replace(b"{", b'{"iss":"%s",' % ISSUER.encode(), 1),
    "duplicate within a claim": GOOD.replace(b"}", b',"x":{"role":"user","role":"admin"}}'),
    "duplicate by escape": GOOD.replace(b"}", b',"su\\u0062":"eve"}'),
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-16 without mark": GOOD.decode().encode("utf-16-le"),
    "UTF-32": GOOD.decode().encode("utf-32"),
    "Latin-1": with_claims(sub="é").decode().encode("latin-1"),
    "an overlong encoding": GOOD.replace(b"ada", b"\xc1\xa1da"),
    "an encoded surrogate": GOOD.replace(b"ada", b"\xed\xa0\x80"),
    "an escaped lone surrogate": GOOD.replace(b"ada", b"\\ud800"),
    "a needless escape": GOOD.replace(b"ada", b"\\u0061da"),
    "an escaped slash": GOOD.replace(b"https://", b"https:\\/\\/"),
    "a raw control character": GOOD.replace(b"ada", b"a\x01a"),
    "a space before": b" " + GOOD,
    "a newline after": GOOD + b"\n",
    "spaces within": GOOD.replace(b":", b": "),
    "a trailing comma": GOOD.replace(b"}", b",}"),
    "something after": GOOD + b"{}",
    "NUL after": GOOD + b"\0",
    "cut": GOOD[:-1],
    "a list": b"[" + GOOD + b"]",
    "text": as_json(GOOD.decode()),
    "null": b"null",
    "an empty object": b"{}",
    "empty": b"",
    "a comment": GOOD.replace(b"}", b"/**/}"),
    "another order": as_json(dict(reversed(json.loads(GOOD).items()))),
    "a claim that says nothing": GOOD.replace(b"}", b',"username":""}'),
    "a claim of the application's before ours": GOOD.replace(b"{", b'{"tenant":"x",', 1),
    "single quotes": GOOD.replace(b'"', b"'"),
    "a deep nest": GOOD.replace(b"}", b',"x":' + b"[" * 1200 + b"]" * 1200 + b"}"),
}


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_a_payload_that_we_would_not_have_written_is_refused(payload: bytes) -> None:
    """D9: duplicates, other encodings, other spellings of the same value."""
    assert refuses(signed(payload))


def test_a_token_is_its_own_kind() -> None:
    """D14: a refresh token is no access token."""
    secrets = ServerSecrets([bytes(range(32))])

    assert refuses(mint_refresh_token(secrets, "A" * 22, bytes(32), 0))


# Signatures.


def ecdsa(change: Callable[[int, int], tuple[int, int]]) -> Callable[[bytes], bytes]:
    def changed(signature: bytes) -> bytes:
        r, s = change(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    return changed


def der(signature: bytes) -> bytes:
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    return utils.encode_dss_signature(r, s)


def add_order(signature: bytes) -> bytes:
    s = int.from_bytes(signature[32:], "little") + ED25519_ORDER
    return signature[:32] + s.to_bytes(32, "little")


SIGNATURES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "ES256 empty": ("ES256", lambda _: b""),
    "ES256 in DER": ("ES256", der),
    "ES256 all zero": ("ES256", lambda _: bytes(64)),
    "ES256 r zero": ("ES256", ecdsa(lambda _, s: (0, s))),
    "ES256 s zero": ("ES256", ecdsa(lambda r, _: (r, 0))),
    "ES256 r is n": ("ES256", ecdsa(lambda _, s: (P256_ORDER, s))),
    "ES256 s is n": ("ES256", ecdsa(lambda r, _: (r, P256_ORDER))),
    "ES256 r and s are n": ("ES256", ecdsa(lambda _r, _s: (P256_ORDER, P256_ORDER))),
    "ES256 r above n": ("ES256", ecdsa(lambda _, s: (2**256 - 1, s))),
    "ES256 s above n": ("ES256", ecdsa(lambda r, _: (r, 2**256 - 1))),
    "ES256 r and s swapped": ("ES256", ecdsa(lambda r, s: (s, r))),
    "ES256 r and s are one": ("ES256", ecdsa(lambda _r, _s: (1, 1))),
    "ES256 cut": ("ES256", lambda signature: signature[:-1]),
    "ES256 with a byte more": ("ES256", lambda signature: signature + b"\0"),
    "ES256 with a zero before": ("ES256", lambda signature: b"\0" + signature),
    "ES256 doubled": ("ES256", lambda signature: signature + signature),
    "EdDSA empty": ("EdDSA", lambda _: b""),
    "EdDSA all zero": ("EdDSA", lambda _: bytes(64)),
    "EdDSA malleated": ("EdDSA", add_order),
    "EdDSA cut": ("EdDSA", lambda signature: signature[:-1]),
    "EdDSA with a byte more": ("EdDSA", lambda signature: signature + b"\0"),
    "RS256 empty": ("RS256", lambda _: b""),
    "RS256 all zero": ("RS256", lambda _: bytes(384)),
    "RS256 cut": ("RS256", lambda signature: signature[:-1]),
    "RS256 with a zero before": ("RS256", lambda signature: b"\0" + signature),
    "RS256 one": ("RS256", lambda _: (1).to_bytes(384, "big")),
}


@pytest.mark.parametrize(("algorithm", "change"), SIGNATURES.values(), ids=SIGNATURES)
def test_no_other_signature_is_accepted(algorithm: str, change: Callable[[bytes], bytes]) -> None:
    """D1, D3: other forms, other lengths, numbers outside their range."""
    text = token(key=a_key(algorithm))
    content, _, signature = text.rpartition(".")

    changed = base64url.encode(change(base64url.decode(signature)))
    assert refuses(f"{content}.{changed}")


def test_a_signature_over_something_else_is_refused() -> None:
    """D1: ours, good, and of another token."""
    content = TOKEN.rpartition(".")[0]
    other = token(replace(ACCESS, user_id="eve")).rpartition(".")[2]

    assert refuses(f"{content}.{other}")


def test_another_padding_is_another_algorithm() -> None:
    """D1: RSA-PSS by the right key under the RS256 header."""
    key = a_key("RS256")
    assert isinstance(key.private_key, rsa.RSAPrivateKey)
    content = token(key=key).rpartition(".")[0]
    pss = padding.PSS(padding.MGF1(SHA256()), 32)

    signature = key.private_key.sign(content.encode(), pss, SHA256())
    assert refuses(f"{content}.{base64url.encode(signature)}")


def test_a_malleated_signature_escapes_no_revocation() -> None:
    """D10: (r, n - s) is good too, and the session is what is revoked, not the text."""
    content, _, signature = TOKEN.rpartition(".")
    negate_s = ecdsa(lambda r, s: (r, P256_ORDER - s))
    twin = f"{content}.{base64url.encode(negate_s(base64url.decode(signature)))}"
    view = CutoffView()
    judge = verifier(cutoffs=view)
    assert judge.verify(twin, NOW) == judge.verify(TOKEN, NOW) == ACCESS

    view.apply([Cutoff(ACCESS.sid, ALL_VERSIONS, NEVER)])

    for text in (TOKEN, twin):
        with pytest.raises(AccessTokenRevoked):
            judge.verify(text, NOW)


# Time and revocation, for tokens seen before and for new ones.


@pytest.mark.parametrize("seen", [False, True])
def test_a_token_ends_to_the_second(seen: bool) -> None:  # noqa: FBT001
    """D12: also one that was found good earlier."""
    judge = verifier()
    if seen:
        judge.verify(TOKEN, NOW)

    assert judge.verify(TOKEN, NOW + TTL - 1) == ACCESS
    with pytest.raises(AccessTokenExpired):
        judge.verify(TOKEN, NOW + TTL)


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize(
    "cutoff",
    [
        Cutoff(ACCESS.sid, ACCESS.version, NEVER),
        Cutoff(ACCESS.sid, ALL_VERSIONS, NEVER),
        Cutoff(None, NOW, NEVER),
    ],
)
def test_a_cutoff_voids_a_token(cutoff: Cutoff, seen: bool) -> None:  # noqa: FBT001
    """D10, C7: its version, its whole session, or everything issued until then."""
    view = CutoffView()
    judge = verifier(cutoffs=view)
    if seen:
        judge.verify(TOKEN, NOW)

    view.apply([cutoff])

    with pytest.raises(AccessTokenRevoked):
        judge.verify(TOKEN, NOW)


@pytest.mark.parametrize(
    "cutoff",
    [
        Cutoff(ACCESS.sid, ACCESS.version - 1, NEVER),
        Cutoff("B" * 22, ALL_VERSIONS, NEVER),
        Cutoff(None, NOW - 1, NEVER),
    ],
)
def test_other_cutoffs_leave_a_token_alone(cutoff: Cutoff) -> None:
    """C3, C10: an older version, another session, an earlier time."""
    view = CutoffView()
    view.apply([cutoff])

    assert verifier(cutoffs=view).verify(TOKEN, NOW) == ACCESS


def test_a_read_judges_neither_time_nor_revocation() -> None:
    """A logout names its session also by a token that has ended."""
    view = CutoffView()
    view.apply([Cutoff(ACCESS.sid, ALL_VERSIONS, NEVER)])
    old = replace(ACCESS, issued_at=1, expires_at=2)

    assert verifier(cutoffs=view).read(token(old)) == old


@pytest.mark.parametrize("text", [TOKEN[:-9], with_header(alg="none"), signed(b"{}")])
def test_a_refusal_says_nothing_of_the_token(text: str) -> None:
    """H1, H3: one sentence, whatever was wrong."""
    with pytest.raises(AccessTokenInvalid) as refusal:
        verifier().verify(text, NOW)

    assert str(refusal.value) == "Invalid access token"
    assert refusal.value.__suppress_context__


# The cache.


def counting(key: SigningKey) -> tuple[SigningKey, list[int]]:
    """A key like ``key`` that counts the signatures it checks."""
    twin = SigningKey(key.private_key, key.algorithm, created_at=0, use_from=0)
    checked: list[int] = []
    check = twin.verify

    def verify(signature: bytes, data: bytes) -> bool:
        checked.append(1)
        return check(signature, data)

    twin.verify = verify
    return twin, checked


def tokens(number: int) -> list[str]:
    key = a_key("EdDSA")
    return [token(replace(ACCESS, token_id=f"{n:022}"), key) for n in range(number)]


def test_a_token_seen_before_costs_no_signature() -> None:
    """The check is a look-up from the second time on."""
    key, checked = counting(KEY)
    judge = verifier([key])

    for _ in range(5):
        judge.verify(TOKEN, NOW)

    assert len(checked) == 1


def test_a_token_found_bad_is_not_remembered_as_good() -> None:
    """H4: however often it is tried."""
    key, checked = counting(KEY)
    judge = verifier([key])

    for _ in range(3):
        with pytest.raises(AccessTokenInvalid):
            judge.verify(TOKEN[:-4] + "AAAA", NOW)

    assert len(checked) == 3


def test_what_is_remembered_is_bounded_in_bytes() -> None:
    """H6: however many tokens are shown to us."""
    judge = verifier(cache_bytes=100_000)

    for text in tokens(2000):
        judge.verify(text, NOW)

    good = {**judge._good._young, **judge._good._old}
    assert 20 < len(good) < 100
    assert sum(2 * len(text) + 400 for text in good) <= 100_000 + 2 * LONGEST_TOKEN + 400
    assert 400 < len({**judge._signed._young, **judge._signed._old}) < 900


def test_a_token_that_was_read_long_ago_is_known_to_be_signed() -> None:
    """It is read again, but its signature, which is what costs, is not checked again."""
    key, checked = counting(a_key("EdDSA"))
    judge = verifier([key], cache_bytes=100_000)
    first, *others = tokens(300)

    said = [judge.verify(text, NOW) for text in (first, *others, first)]

    assert len(checked) == 300
    assert said[0] == said[-1]
    assert said[0] is not said[-1]


def test_a_token_that_is_known_to_be_signed_is_judged_again() -> None:
    """That it is signed is all that is remembered of it."""
    judge = verifier([a_key("EdDSA")], cache_bytes=100_000)
    first, *others = tokens(300)
    for text in (first, *others):
        judge.verify(text, NOW)

    with pytest.raises(AccessTokenExpired):
        judge.verify(first, NOW + TTL)


def test_what_is_used_stays_remembered() -> None:
    """Others come and go."""
    key, checked = counting(a_key("EdDSA"))
    judge = verifier([key], cache_bytes=10_000)
    often, *others = tokens(300)

    for other in others:
        judge.verify(often, NOW)
        judge.verify(other, NOW)

    assert len(checked) == 300


def test_what_is_not_used_is_forgotten() -> None:
    """It is checked again when it comes back."""
    key, checked = counting(a_key("EdDSA"))
    judge = verifier([key], cache_bytes=10_000)
    first, *others = tokens(300)

    for text in (first, *others, first):
        judge.verify(text, NOW)

    assert len(checked) == 301


# Claims.

letters = st.characters(codec="utf-8") | st.sampled_from('\0\x7f\x85\u2028\ufeff\U0010ffff"\\/<>')
texts = st.text(letters, max_size=30)
numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
permissions = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='"\\'),
    min_size=1,
    max_size=12,
)
claims_that_fit = st.builds(
    Claims,
    username=texts,
    email=texts,
    fullname=texts,
    permissions=st.lists(permissions, max_size=5).map(tuple),
    extra=st.dictionaries(texts.filter(lambda name: name not in RESERVED), values, max_size=4),
)


@given(claims_that_fit)
def test_claims_come_back_as_they_were(claims: Claims) -> None:
    """Whatever was accepted: any letters, numbers of any size, nested as deep as it goes."""
    check_claims(claims)
    access = replace(ACCESS, claims=claims)

    read = verifier().verify(token(access, a_key("EdDSA")), NOW)

    assert read == access
    assert as_json(read.claims.extra) == as_json(claims.extra)


anything = st.recursive(
    values | st.binary(max_size=4) | st.floats() | st.text(max_size=4) | st.tuples(st.integers()),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.integers() | texts, inner),
    max_leaves=4,
)


@given(st.dictionaries(texts | st.integers(0, 9), anything, max_size=3), st.lists(st.text()))
def test_claims_are_refused_or_come_back_as_they_were(
    extra: dict[Any, Any], granted: list[str]
) -> None:
    """There is no third outcome, whatever an application puts in."""
    access = replace(ACCESS, claims=Claims(permissions=tuple(granted), extra=extra))
    try:
        check_claims(access.claims)
    except ClaimsRefused:
        return

    assert verifier().verify(token(access, a_key("EdDSA")), NOW) == access


def nested(depth: int) -> Any:
    innermost: Any = None
    for _ in range(depth):
        innermost = [innermost]
    return innermost


@pytest.mark.parametrize(
    "extra",
    [
        {"when": {1, 2}},
        {"raw": b"bytes"},
        {"pair": (1, 2)},
        {"number": math.nan},
        {"number": math.inf},
        {"number": 1j},
        {1: "a number for a name"},
        {"text": "\ud800"},
        {"\ud800": "name"},
        {"thing": object()},
        {"deep": nested(100_000)},
        "not a dictionary",
        None,
    ],
)
def test_what_json_would_not_give_back_is_refused(extra: Any) -> None:
    """D9: types that JSON has not, and those that it turns into others."""
    with pytest.raises(ClaimsRefused):
        check_claims(Claims(extra=extra))


def test_claims_that_hold_themselves_are_refused() -> None:
    """H6: they have no end."""
    extra: dict[str, Any] = {}
    extra["self"] = extra

    with pytest.raises(ClaimsRefused):
        check_claims(Claims(extra=extra))


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_no_reserved_name_can_be_taken(name: str) -> None:
    """D5: an application cannot say who issued a token, for whom, or until when."""
    with pytest.raises(ClaimsRefused, match=name):
        check_claims(Claims(extra={name: "x"}))


@pytest.mark.parametrize(
    "permission",
    [
        *("", " ", "a b", "a\tb", "a\nb", 'a"b', "a\\b", "\0", "\x7f", "a\x85b"),
        *("a\xa0b", "a\u2003b", "a\u2028b", "a\x1cb", "é", "\ud800", 5, None, ["a"], b"a"),
    ],
)
def test_a_permission_is_a_word(permission: Any) -> None:
    """C6: RFC 6749, section 3.3: none can be read back as two."""
    with pytest.raises(ClaimsRefused):
        check_claims(Claims(permissions=("read", permission)))


@pytest.mark.parametrize("granted", ["admin", ["read"], None, {"read": 1}])
def test_permissions_are_a_tuple(granted: Any) -> None:
    """C6: one word is not a list of letters."""
    with pytest.raises(ClaimsRefused):
        check_claims(Claims(permissions=granted))


@pytest.mark.parametrize("name", ["username", "email", "fullname"])
@pytest.mark.parametrize("value", [None, 5, b"ada", ["ada"], "\ud800"])
def test_a_profile_is_text(name: str, value: Any) -> None:
    """D5: or nothing."""
    with pytest.raises(ClaimsRefused):
        check_claims(Claims(**{name: value}))


def filled(size: int, letter: str = "x") -> Claims:
    """Claims whose JSON has ``size`` bytes."""
    room = size - len('{"extra":{"note":""}}')
    return Claims(extra={"note": letter * (room // len(letter.encode()))})


def test_claims_are_bounded_in_bytes() -> None:
    """A4: 2048 as JSON, and not one more."""
    check_claims(filled(LONGEST_CLAIMS))

    with pytest.raises(ClaimsRefused, match="over 2048 bytes"):
        check_claims(filled(LONGEST_CLAIMS + 1))


def test_letters_count_as_bytes() -> None:
    """A4: what looks short need not be."""
    with pytest.raises(ClaimsRefused):
        check_claims(Claims(fullname="\U0001f600" * 600))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("letter", ["x", "é"])
def test_the_largest_token_fits_a_cookie(algorithm: str, letter: str) -> None:
    """A4: name and value within 4096 bytes, with the largest claims and a long user id."""
    claims = filled(LONGEST_CLAIMS, letter)
    check_claims(claims)
    largest = replace(ACCESS, claims=claims, user_id="u" * 128, version=2**63 - 1)

    text = token(largest, a_key(algorithm))

    assert len("__Secure-accessToken") + len(text) <= 4096
    assert verifier().verify(text, NOW) == largest


def test_a_token_that_no_cookie_holds_is_refused() -> None:
    """A4: a browser would drop it in silence."""
    largest = replace(ACCESS, claims=filled(LONGEST_CLAIMS), user_id="\U0001f600" * 255)

    with pytest.raises(ClaimsRefused, match="4000 characters"):
        check_size(ISSUER, AUDIENCE, largest)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_size_that_was_accepted_fits_with_any_algorithm_and_version(algorithm: str) -> None:
    """A4: neither a change of algorithm nor of claims makes a session's token too long."""
    lengths = [
        length
        for length in range(LONGEST_CLAIMS - 40)
        if fits(replace(ACCESS, user_id="u" * 255, claims=Claims(fullname="x" * length)))
    ]
    longest = Claims(fullname="x" * lengths[-1])

    text = token(
        replace(ACCESS, user_id="u" * 255, claims=longest, version=2**63 - 1), a_key(algorithm)
    )

    assert len(text) <= 4000


def fits(access: AccessToken) -> bool:
    try:
        check_size("https://long.example.com" * 10, AUDIENCE, access)
    except ClaimsRefused:
        return False
    return True


@pytest.mark.parametrize(("levels", "accepted"), [(31, True), (32, False)])
def test_claims_nest_to_32_and_no_deeper(levels: int, *, accepted: bool) -> None:
    """H6: what is accepted at sign-in can be read wherever the stack stands."""
    value: Any = "x"
    for _ in range(levels):
        value = [value]
    claims = Claims(extra={"deep": value})

    if accepted:
        check_claims(claims)
        assert verifier().verify(token(replace(ACCESS, claims=claims)), NOW).claims == claims
    else:
        with pytest.raises(ClaimsRefused, match="deeper"):
            check_claims(claims)


def test_who_changes_what_they_were_told_changes_it_for_themselves() -> None:
    """What is remembered of a token is nobody's to change."""
    text = token(replace(ACCESS, claims=Claims(extra={"tenant": {"roles": ["reader"]}})))
    judge = verifier()

    judge.verify(text, NOW).claims.extra["tenant"]["roles"].append("admin")
    judge.verify(text, NOW).claims.extra["tenant"]["roles"].append("admin")

    assert judge.verify(text, NOW).claims.extra == {"tenant": {"roles": ["reader"]}}
