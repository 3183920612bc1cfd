#!/usr/bin/env python3
"""Write the test vectors: ``scripts/build_vectors.py``, with the development requirements.

Nothing of Keyturn is imported here. What is written follows from the specification alone, so that
the library, reading the vectors in its tests, is compared with something other than itself. The
verdicts are written out by hand; what a verdict does to the row is the table's last two columns.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256

VECTORS = Path(__file__).parents[1] / "vectors"


def build() -> dict[str, str]:
    """The text of every file that is built, by its name. The same each time."""
    contents = {
        "refresh_tokens.json": refresh_tokens(),
        "verdicts.json": verdicts(),
        "access_tokens.json": access_tokens(),
    }
    return {name: json.dumps(content, indent=2) + "\n" for name, content in contents.items()}


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


# Refresh tokens.

ONE = bytes(range(32))
OTHER = bytes(range(32, 64))
SID = bytes(range(100, 116))
SESSION_SECRET = bytes(range(200, 232))
LAST_GENERATION = 2**32 - 1


def derive(secret: bytes, label: str, length: int) -> bytes:
    """HKDF-SHA256 (RFC 5869) without salt, for at most 32 bytes."""
    key = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(key, label.encode() + b"\x01", "sha256")[:length]


def proven_bytes(secret: bytes, sid: bytes, session_secret: bytes, generation: int) -> bytes:
    name = sid + generation.to_bytes(4, "big")
    proof = hmac.digest(session_secret, b"keyturn refresh proof v1" + name, "sha256")[:16]
    return derive(secret, "keyturn secret id v1", 1) + name + proof


def tagged(secret: bytes, proven: bytes) -> bytes:
    key = derive(secret, "keyturn refresh key v1", 32)
    return proven + hmac.digest(key, b"keyturn refresh tag v1" + proven, "sha256")[:16]


def refresh_token(secret: bytes, sid: bytes, session_secret: bytes, generation: int) -> str:
    return "ktr_" + base64url(tagged(secret, proven_bytes(secret, sid, session_secret, generation)))


def refresh_tokens() -> dict[str, Any]:
    good = refresh_token(ONE, SID, SESSION_SECRET, 7)
    raw = base64.urlsafe_b64decode(good[4:] + "=")
    foreign = tagged(OTHER, proven_bytes(OTHER, SID, SESSION_SECRET, 7))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spare_bit = good[:-1] + alphabet[alphabet.index(good[-1]) + 1]
    minted = [
        (ONE, SID, SESSION_SECRET, 0),
        (ONE, SID, SESSION_SECRET, 1),
        (ONE, SID, SESSION_SECRET, 7),
        (ONE, SID, SESSION_SECRET, 256),
        (ONE, SID, SESSION_SECRET, LAST_GENERATION),
        (ONE, bytes(16), bytes(range(32)), 0),
        (ONE, b"\xff" * 16, b"\xff" * 32, 0x01020304),
        (OTHER, SID, SESSION_SECRET, 7),
        (hashlib.sha512(b"a longer server secret").digest(), SID, SESSION_SECRET, 7),
    ]
    refused = {
        "empty": "",
        "74 characters": good[:-1],
        "76 characters": good + "A",
        "padding": good + "=",
        "padding in place of the last character": good[:-1] + "=",
        "a spare bit of the last character is set": spare_bit,
        "a newline in place of the last character": good[:-1] + "\n",
        "the prefix in upper case": "KTR_" + good[4:],
        "another prefix": "ktr-" + good[4:],
        "the other alphabet": good[:10] + "+/" + good[12:],
        "a letter beyond ASCII": good[:10] + "\u00e9" + good[11:],
        "a lookalike letter": good[:10] + "\u0430" + good[11:],
        "a digit of another script": good[:10] + "\u0661" + good[11:],
        "NUL": good[:10] + "\0" + good[11:],
        "quotes": f'"{good[1:-1]}"',
        "another key id": "ktr_" + base64url(bytes((raw[0] ^ 1,)) + raw[1:]),
        "another session": "ktr_" + base64url(raw[:1] + bytes(16) + raw[17:]),
        "another generation": "ktr_" + base64url(raw[:17] + bytes((0, 0, 0, 8)) + raw[21:]),
        "another proof": "ktr_" + base64url(raw[:21] + bytes(16) + raw[37:]),
        "another tag": "ktr_" + base64url(raw[:37] + bytes(16)),
        "the tag of another server": "ktr_" + base64url(foreign),
        "the tag of another server under our key id": "ktr_" + base64url(raw[:1] + foreign[1:]),
        "all zero": "ktr_" + "A" * 71,
    }
    return {
        "server_secrets": [ONE.hex()],
        "minted": [
            {
                "server_secret": secret.hex(),
                "sid": base64url(sid),
                "session_secret": session_secret.hex(),
                "generation": generation,
                "token": refresh_token(secret, sid, session_secret, generation),
            }
            for secret, sid, session_secret, generation in minted
        ],
        "unproven": {
            "about": "the tag is good, the proof is not of this session's secret",
            "session_secret": SESSION_SECRET.hex(),
            "token": refresh_token(ONE, SID, bytes(32), 7),
        },
        "refused": [{"reason": reason, "token": token} for reason, token in refused.items()],
    }


# Verdicts.

T = 1_800_000_000
DAY = 86_400
POLICY = {
    "retry_window": 30,
    "recover": True,
    "idle_timeout": 30 * DAY,
    "absolute_lifetime": 180 * DAY,
}
LOGIN: dict[str, Any] = {
    "created_at": T,
    "generation": 0,
    "parent": -1,
    "first_child": 0,
    "previous_parent": -2,
    "turned_at": None,
    "ended_at": None,
    "end_reason": None,
}
TURN = T + 1000
MARKS = {"previous_parent": 3, "parent": 6, "first_child": 8, "generation": 10}
AGED = {**LOGIN, **MARKS, "turned_at": TURN}
"""Generation 6 of 4 to 7 turned; the children are 8 to 10."""

END_REASONS = [
    *("idle", "absolute", "logged_out", "replaced", "revoked_by_user", "revoked_by_admin"),
    *("password_changed", "user_disabled", "user_deleted", "evicted", "reuse_detected"),
]

Step = tuple[int, int, str] | tuple[int, int, str, str]
"""When, which generation is presented, the verdict, and with a new end its reason."""


def history(
    name: str, *steps: Step, row: dict[str, Any] | None = LOGIN, **policy: Any
) -> dict[str, Any]:
    told = []
    before = row
    for now, presented, verdict, *reason in steps:
        after, handed_out = outcome(before, now, presented, verdict, *reason)
        told.append(
            {
                "now": now,
                "presented": presented,
                "verdict": verdict,
                "handed_out": handed_out,
                "row": after,
            }
        )
        before = after
    return {"name": name, "policy": {**POLICY, **policy}, "row": row, "steps": told}


def outcome(
    row: dict[str, Any] | None, now: int, presented: int, verdict: str, reason: str | None = None
) -> tuple[dict[str, Any] | None, int | None]:
    """The row afterwards, and the generation handed out."""
    if row is None:
        return None, None
    child = row["generation"] + 1
    turn = {"generation": child, "turned_at": now}
    marks = {"previous_parent": row["parent"], "parent": presented, "first_child": child}
    changes, handed_out = {
        "echo": ({}, presented),
        "replay": ({}, row["generation"]),
        "late": ({}, None),
        "rotate": ({**turn, **marks}, child),
        "recover": ({**turn, "previous_parent": row["generation"]}, child),
        "reuse": ({"ended_at": now, "end_reason": "reuse_detected"}, None),
        "resume": ({"generation": presented, "turned_at": now}, presented),
        "ended": ({"ended_at": now, "end_reason": reason} if reason else {}, None),
    }[verdict]
    return {**row, **changes}, handed_out


def verdicts() -> dict[str, Any]:
    idle = POLICY["idle_timeout"]
    absolute = POLICY["absolute_lifetime"]
    histories = [
        history("the first exchange", (T + 600, 0, "rotate")),
        history("an exchange in the second of the login", (T, 0, "rotate")),
        history(
            "one exchange after another",
            (T + 600, 0, "rotate"),
            (T + 1200, 1, "rotate"),
            (T + 1800, 2, "rotate"),
        ),
        history(
            "a repeat inside the window, to its last second",
            (T, 0, "rotate"),
            (T, 0, "replay"),
            (T + 1, 0, "replay"),
            (T + 30, 0, "replay"),
        ),
        history(
            "the answer was lost and the window is over",
            (T, 0, "rotate"),
            (T + 31, 0, "recover"),
            (T + 32, 0, "replay"),
        ),
        history(
            "a new token used inside the window is echoed",
            (T, 0, "rotate"),
            (T + 30, 1, "echo"),
            (T + 31, 1, "rotate"),
        ),
        history(
            "every turn opens the window again",
            (T, 0, "rotate"),
            (T + 31, 1, "rotate"),
            (T + 61, 1, "replay"),
            (T + 62, 1, "recover"),
            (T + 92, 1, "replay"),
        ),
        history(
            "a client that can never store an answer",
            (T, 0, "rotate"),
            (T + 600, 0, "recover"),
            (T + 1200, 0, "recover"),
            (T + 1800, 0, "recover"),
        ),
        history("inside: the newest child", (TURN + 30, 10, "echo"), row=AGED),
        history("inside: an older child", (TURN, 8, "echo"), (TURN, 9, "echo"), row=AGED),
        history("inside: the parent", (TURN + 30, 6, "replay"), row=AGED),
        history("inside: a sibling of the parent", (TURN + 30, 7, "late"), row=AGED),
        history("inside: an older sibling of the parent", (TURN, 4, "late"), row=AGED),
        history("inside: the previous parent", (TURN + 30, 3, "late"), row=AGED),
        history("inside: older than the previous parent", (TURN + 30, 2, "reuse"), row=AGED),
        history("inside: the oldest", (TURN, 0, "reuse"), row=AGED),
        history("outside: the newest child", (TURN + 31, 10, "rotate"), row=AGED),
        history(
            "outside: an older child, and its siblings are dead",
            (TURN + 31, 8, "rotate"),
            (TURN + 61, 10, "late"),
            (TURN + 62, 10, "reuse"),
            row=AGED,
        ),
        history("outside: the parent", (TURN + 31, 6, "recover"), row=AGED),
        history(
            "nothing is late after a recovery",
            (TURN + 31, 6, "recover"),
            (TURN + 32, 6, "replay"),
            (TURN + 32, 10, "echo"),
            (TURN + 32, 11, "echo"),
            (TURN + 32, 7, "reuse"),
            row=AGED,
        ),
        history(
            "a child from before two recoveries turns inside the window",
            (TURN + 31, 6, "recover"),
            (TURN + 32, 9, "rotate"),
            (TURN + 33, 9, "replay"),
            (TURN + 33, 6, "late"),
            row=AGED,
        ),
        history(
            "nobody is echoed in windows that somebody else opens",
            (T, 0, "rotate"),
            (T + 31, 0, "recover"),
            (T + 32, 1, "echo"),
            (T + 62, 0, "recover"),
            (T + 63, 1, "rotate"),
            (T + 64, 0, "late"),
            (T + 94, 0, "reuse"),
        ),
        history("outside: a sibling of the parent", (TURN + 31, 7, "reuse"), row=AGED),
        history("outside: an older sibling of the parent", (TURN + 31, 5, "reuse"), row=AGED),
        history("outside: the previous parent", (TURN + 31, 3, "reuse"), row=AGED),
        history("outside: the oldest", (TURN + 31, 0, "reuse"), row=AGED),
        history(
            "a clock behind by the whole window is inside",
            (TURN - 30, 10, "echo"),
            (TURN - 30, 6, "replay"),
            (TURN - 30, 7, "late"),
            row=AGED,
        ),
        history("a clock further behind is outside", (TURN - 31, 10, "rotate"), row=AGED),
        history("a clock further behind recovers", (TURN - 31, 6, "recover"), row=AGED),
        history("a clock further behind finds reuse", (TURN - 31, 7, "reuse"), row=AGED),
        history(
            "a clock set back to before the login",
            (T - 500, 0, "rotate"),
            (T + idle - 1, 1, "rotate"),
        ),
        history(
            "without a window nothing is inside",
            (T, 0, "rotate"),
            (T, 0, "recover"),
            (T, 2, "rotate"),
            (T, 1, "reuse"),
            retry_window=0,
        ),
        history(
            "strict single use",
            (T, 0, "rotate"),
            (T, 1, "rotate"),
            (T, 1, "reuse"),
            retry_window=0,
            recover=False,
        ),
        history(
            "without recovery the parent ends with the window",
            (T, 0, "rotate"),
            (T + 30, 0, "replay"),
            (T + 31, 0, "reuse"),
            recover=False,
        ),
        history("just not idle", (TURN + idle - 1, 10, "rotate"), row=AGED),
        history("idle", (TURN + idle, 10, "ended", "idle"), row=AGED),
        history("idle, and an old token is no reuse", (TURN + idle, 0, "ended", "idle"), row=AGED),
        history("idle since the login", (T + idle, 0, "ended", "idle")),
        history(
            "a recovery counts as use",
            (TURN + 31, 6, "recover"),
            (TURN + idle, 11, "rotate"),
            row=AGED,
        ),
        history(
            "just not past the absolute end",
            (T + absolute - 1, 10, "rotate"),
            row={**AGED, "turned_at": T + absolute - 31 - 1},
        ),
        history(
            "past the absolute end, however lately used",
            (T + absolute, 10, "ended", "absolute"),
            row={**AGED, "turned_at": T + absolute - 1},
        ),
        history("past both ends", (T + absolute, 10, "ended", "absolute"), row=AGED),
        history(
            "the store lost a turn",
            (TURN + 31, 11, "resume"),
            (TURN + 32, 11, "echo"),
            (TURN + 62, 11, "rotate"),
            row=AGED,
        ),
        history(
            "the store lost many turns, and the window is open",
            (TURN + 1, 500, "resume"),
            (TURN + 1, 10, "echo"),
            (TURN + 31, 6, "replay"),
            row=AGED,
        ),
        history("a lost turn is not known to be idle", (TURN + idle, 11, "resume"), row=AGED),
        history(
            "a lost turn does not move the absolute end",
            (T + absolute, 11, "ended", "absolute"),
            row=AGED,
        ),
        history(
            "a thief turns first",
            (T, 0, "rotate"),
            (T + 600, 1, "rotate"),
            (T + 1200, 2, "rotate"),
            (T + 1300, 1, "reuse"),
            (T + 1301, 3, "ended"),
        ),
        history(
            "a thief comes later",
            (T, 0, "rotate"),
            (T + 600, 1, "rotate"),
            (T + 1200, 0, "reuse"),
            (T + 1201, 2, "ended"),
        ),
        history(
            "a thief who polls inside the windows",
            (T, 0, "rotate"),
            (T + 31, 1, "rotate"),
            (T + 50, 0, "late"),
            (T + 62, 2, "rotate"),
            (T + 63, 0, "reuse"),
            (T + 64, 3, "ended"),
        ),
        history(
            "the last generation is handed out, and is the end",
            (TURN + 31, LAST_GENERATION - 1, "rotate"),
            (TURN + 31, LAST_GENERATION - 1, "ended", "absolute"),
            row={**AGED, "generation": LAST_GENERATION - 1},
        ),
        history("no row", (T, 0, "ended"), (T, 7, "ended"), row=None),
        *(
            history(
                f"ended before: {reason}",
                (TURN + 1, 10, "ended"),
                (TURN + 1, 6, "ended"),
                (TURN + 1, 0, "ended"),
                (TURN + 31, 11, "ended"),
                row={**AGED, "ended_at": TURN, "end_reason": reason},
            )
            for reason in END_REASONS
        ),
    ]
    return {"histories": histories}


# Access tokens.

ISSUER = "https://accounts.example.com"
AUDIENCE = "https://api.example.com"
TTL = 600
VOIDED_SID = base64url(bytes(16))
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
PAYLOAD: dict[str, Any] = {
    "iss": ISSUER,
    "sub": "user-1",
    "aud": AUDIENCE,
    "exp": T + TTL,
    "iat": T,
    "jti": base64url(bytes(range(16))),
    "sid": base64url(SID),
    "ver": 3,
    "auth_time": T - 1000,
    "scope": "read notes:write",
}
FULL_PAYLOAD = {
    **PAYLOAD,
    "username": "ada",
    "email": "ada@example.com",
    "fullname": "Ada \u00c5ngstr\u00f6m \U0001f511",
    "tenant": {"name": "north", "seats": [1, 2.5, None, True]},
}


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


class Key:
    """A private test key, and the header that it writes."""

    def __init__(self, algorithm: str, jwk: dict[str, str]) -> None:
        self.algorithm = algorithm
        self._private_key = jwt.PyJWK(jwk, algorithm).key
        public = {name: jwk[name] for name in ("crv", "e", "kty", "n", "x", "y") if name in jwk}
        self.kid = base64url(hashlib.sha256(compact(public)).digest())
        self.header = {"alg": algorithm, "kid": self.kid, "typ": "at+jwt"}

    def sign(self, data: bytes) -> bytes:
        match self._private_key:
            case ec.EllipticCurvePrivateKey() as key:
                signature = key.sign(data, ec.ECDSA(SHA256(), deterministic_signing=True))
                return b"".join(
                    n.to_bytes(32, "big") for n in utils.decode_dss_signature(signature)
                )
            case rsa.RSAPrivateKey() as key:
                return key.sign(data, padding.PKCS1v15(), SHA256())
            case ed25519.Ed25519PrivateKey() as key:
                return key.sign(data)
        raise TypeError("no such key")

    def token(self, payload: bytes, header: bytes | None = None) -> str:
        content = f"{base64url(header or compact(self.header))}.{base64url(payload)}"
        return f"{content}.{base64url(self.sign(content.encode()))}"


def access_tokens() -> dict[str, Any]:
    jwks = json.loads((VECTORS / "keys.json").read_text())
    keys = {algorithm: Key(algorithm, jwk) for algorithm, jwk in jwks.items()}
    accepted = [
        {
            "key": key.algorithm,
            "kid": key.kid,
            "payload": payload,
            "token": key.token(compact(payload)),
        }
        for key in keys.values()
        for payload in (PAYLOAD, FULL_PAYLOAD)
    ]
    return {
        "now": T,
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "longest_ttl": TTL,
        "cutoffs": [{"sid": VOIDED_SID, "version": 3}],
        "accepted": accepted,
        "refused": [
            {"name": name, "code": code, "token": token}
            for code, tokens in refused_access_tokens(keys).items()
            for name, token in tokens.items()
        ],
    }


def refused_access_tokens(keys: dict[str, Key]) -> dict[str, dict[str, str]]:
    key = keys["EdDSA"]

    def changed(**changes: Any) -> str:
        return key.token(compact({**PAYLOAD, **changes}))

    def headed(**changes: Any) -> str:
        return key.token(compact(PAYLOAD), compact({**key.header, **changes}))

    good = compact(PAYLOAD)
    return {
        "access_token_expired": {
            "ended this second": changed(exp=T, iat=T - TTL),
            "ended long ago": changed(exp=T - 10_000, iat=T - 10_000 - TTL),
        },
        "access_token_revoked": {
            "the version that the cutoff names": changed(sid=VOIDED_SID, ver=3),
            "an older version": changed(sid=VOIDED_SID, ver=2),
        },
        "access_token_invalid": {
            "alg none, unsigned": headed(alg="none").rpartition(".")[0] + ".",
            "alg none in other letters": headed(alg="NoNe"),
            "alg symmetric": headed(alg="HS256"),
            "alg of another key": headed(alg="ES256"),
            "header of another key": key.token(good, compact(keys["ES256"].header)),
            "kid unknown": headed(kid="key-1"),
            "kid a path": headed(kid="../../dev/null"),
            "typ JWT": headed(typ="JWT"),
            "typ in upper case": headed(typ="AT+JWT"),
            "jwk": headed(jwk={"kty": "OKP", "crv": "Ed25519", "x": base64url(bytes(32))}),
            "jku": headed(jku="https://evil.example/jwks.json"),
            "crit": headed(crit=["b64"], b64=False),
            "header in another order": key.token(
                good, compact(dict(sorted(key.header.items())[::-1]))
            ),
            "duplicate alg": key.token(
                good, compact(key.header).replace(b"{", b'{"alg":"none",', 1)
            ),
            "header with a byte order mark": key.token(good, b"\xef\xbb\xbf" + compact(key.header)),
            "no exp": key.token(compact({k: v for k, v in PAYLOAD.items() if k != "exp"})),
            "no sid": key.token(compact({k: v for k, v in PAYLOAD.items() if k != "sid"})),
            "exp in quotes": changed(exp=str(T + TTL)),
            "exp true": changed(exp=True),
            "exp with a fraction": key.token(
                good.replace(b"%d," % (T + TTL), b"%d.0," % (T + TTL))
            ),
            "exp 1e300": key.token(good.replace(b"%d," % (T + TTL), b"1e300,")),
            "exp beyond 64 bits": changed(exp=10**30),
            "a longer life than is given": changed(exp=T + TTL + 1),
            "no life": changed(exp=T, iat=T),
            "another issuer": changed(iss=ISSUER + "/"),
            "another audience": changed(aud="https://other.example.com"),
            "a list of audiences": changed(aud=[AUDIENCE]),
            "not before": changed(nbf=T - 1),
            "a confirmation": changed(cnf={"jkt": "x"}),
            "duplicate sub": key.token(good.replace(b"{", b'{"sub":"root",', 1)),
            "white space": key.token(good + b" "),
            "a byte order mark": key.token(b"\xef\xbb\xbf" + good),
            "UTF-16": key.token(good.decode().encode("utf-16")),
            "a needless escape": key.token(good.replace(b"user-1", b"\\u0075ser-1")),
            "padding": key.token(good) + "==",
            "four parts": key.token(good) + ".AAAA",
            "two parts": key.token(good).rpartition(".")[0],
            "over 4000 characters": changed(note="x" * 4000),
            "signature cut": key.token(good)[:-4],
            "signature all zero": key.token(good).rpartition(".")[0] + "." + base64url(bytes(64)),
            "signature of another payload": ".".join(
                [*key.token(good).split(".")[:2], changed(sub="root").rpartition(".")[2]]
            ),
            **refused_ecdsa_signatures(keys["ES256"]),
        },
    }


def refused_ecdsa_signatures(key: Key) -> dict[str, str]:
    content, _, signature = key.token(compact(PAYLOAD)).rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    r, s = raw[:32], raw[32:]
    n = P256_ORDER.to_bytes(32, "big")
    der = utils.encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
    forms = {
        "in DER": der,
        "r zero": bytes(32) + s,
        "s zero": r + bytes(32),
        "r the order": n + s,
        "s the order": r + n,
        "r and s swapped": s + r,
        "a byte more": raw + b"\0",
    }
    return {
        f"ES256 signature: {name}": f"{content}.{base64url(raw)}" for name, raw in forms.items()
    }


if __name__ == "__main__":
    for name, text in build().items():
        (VECTORS / name).write_text(text)
