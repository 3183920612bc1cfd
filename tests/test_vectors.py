"""The shared vectors, and Keyturn's agreement with them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import jwt
import msgspec
import pytest
from msgspec.structs import asdict

from keyturn.checking import Verifier
from keyturn.core import base64url, refresh_token
from keyturn.core.access_token import AccessToken, mint
from keyturn.core.cutoffs import CutoffView
from keyturn.core.errors import AccessRefused, RefreshTokenInvalid
from keyturn.core.keyring import ALGORITHMS, Keyring, SigningKey
from keyturn.core.model import Claims, Cutoff, EndReason, Policy, Session
from keyturn.core.rotation import Verdict, decide
from keyturn.core.server_secret import ServerSecrets

ROOT = Path(__file__).parents[1]


def vectors(name: str) -> Any:
    return json.loads((ROOT / "vectors" / name).read_text())


REFRESH_TOKENS = vectors("refresh_tokens.json")
HISTORIES = vectors("verdicts.json")["histories"]
ACCESS_TOKENS = vectors("access_tokens.json")
KEYS = {
    algorithm: SigningKey(jwt.PyJWK(jwk, algorithm).key, algorithm, created_at=0, use_from=0)
    for algorithm, jwk in vectors("keys.json").items()
}


def secrets(*texts: str) -> ServerSecrets:
    return ServerSecrets(bytes.fromhex(text) for text in texts)


# The files.


@pytest.fixture(scope="module")
def builder() -> ModuleType:
    spec = importlib.util.spec_from_file_location("builder", ROOT / "scripts/build_vectors.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_building_again_changes_nothing(builder: ModuleType) -> None:
    """The files are what the script writes, byte for byte."""
    built = builder.build()

    assert built == {name: (ROOT / "vectors" / name).read_text() for name in built}


def test_every_file_is_accounted_for(builder: ModuleType) -> None:
    """Besides what is built there are the keys and a page that explains."""
    names = {path.name for path in (ROOT / "vectors").iterdir()}

    assert names == {"README.md", "keys.json", *builder.build()}


def test_there_is_a_history_for_every_verdict_and_every_end() -> None:
    """An implementation that passes has met each cell of the table."""
    steps = [step for history in HISTORIES for step in history["steps"]]
    reasons = {step["row"]["end_reason"] for step in steps if step["row"]}

    assert {step["verdict"] for step in steps} == set(Verdict)
    assert reasons == {None, *EndReason}
    assert len(HISTORIES) >= 25
    assert len({history["name"] for history in HISTORIES}) == len(HISTORIES)


# Refresh tokens.


@pytest.mark.parametrize("vector", REFRESH_TOKENS["minted"])
def test_refresh_tokens_are_minted_and_read(vector: dict[str, Any]) -> None:
    """C2: the same token for the same secrets, session and generation, wherever it is made."""
    server = secrets(vector["server_secret"])
    session_secret = bytes.fromhex(vector["session_secret"])

    token = refresh_token.mint(server, vector["sid"], session_secret, vector["generation"])

    assert token == vector["token"]
    read = refresh_token.parse(server, token)
    assert (read.sid, read.generation) == (vector["sid"], vector["generation"])
    assert refresh_token.proves(read, session_secret)


@pytest.mark.parametrize(
    "token",
    [pytest.param(vector["token"], id=vector["reason"]) for vector in REFRESH_TOKENS["refused"]],
)
def test_refused_refresh_tokens_are_refused(token: str) -> None:
    """C10: before anything is asked of the store."""
    with pytest.raises(RefreshTokenInvalid):
        refresh_token.parse(secrets(*REFRESH_TOKENS["server_secrets"]), token)


def test_an_unproven_refresh_token_is_read_and_not_believed() -> None:
    """C2: the server's secret alone makes no token."""
    vector = REFRESH_TOKENS["unproven"]

    read = refresh_token.parse(secrets(*REFRESH_TOKENS["server_secrets"]), vector["token"])

    assert not refresh_token.proves(read, bytes.fromhex(vector["session_secret"]))


# Verdicts.


@pytest.mark.parametrize(
    "history", [pytest.param(history, id=history["name"]) for history in HISTORIES]
)
def test_a_history_is_judged_step_by_step(history: dict[str, Any]) -> None:
    """C3, C5, C8: verdict, what is handed out, and the row afterwards."""
    policy = Policy(**history["policy"])
    session = session_of(history["row"])

    for step in history["steps"]:
        decision = decide(session, step["presented"], step["now"], policy)
        session = decision.session
        assert decision.verdict == step["verdict"]
        assert decision.handed_out == step["handed_out"]
        assert row_of(session) == step["row"]


COLUMNS = set(HISTORIES[0]["row"])


def session_of(row: dict[str, Any] | None) -> Session | None:
    if row is None:
        return None
    known = {"sid": "A" * 22, "user_id": "user-1", "secret": None, **row}
    return msgspec.convert(known, Session)


def row_of(session: Session | None) -> dict[str, Any] | None:
    if session is None:
        return None
    return {name: value for name, value in asdict(session).items() if name in COLUMNS}


# Access tokens.


def verifier() -> Verifier:
    cutoffs = CutoffView()
    cutoffs.apply(Cutoff(**cutoff, expires_at=10**12) for cutoff in ACCESS_TOKENS["cutoffs"])
    return Verifier(
        Keyring(KEYS.values()).by_header,
        cutoffs,
        issuer=ACCESS_TOKENS["issuer"],
        audience=ACCESS_TOKENS["audience"],
        longest_ttl=ACCESS_TOKENS["longest_ttl"],
    )


def said_by(payload: dict[str, Any]) -> AccessToken:
    profile = {name: payload[name] for name in ("username", "email", "fullname") if name in payload}
    return AccessToken(
        user_id=payload["sub"],
        sid=payload["sid"],
        version=payload["ver"],
        issued_at=payload["iat"],
        expires_at=payload["exp"],
        auth_time=payload["auth_time"],
        token_id=payload["jti"],
        claims=Claims(
            **profile,
            permissions=tuple(payload["scope"].split()),
            extra={name: payload[name] for name in payload if name == "tenant"},
        ),
    )


@pytest.mark.parametrize("vector", ACCESS_TOKENS["accepted"])
def test_accepted_access_tokens_say_their_payload(vector: dict[str, Any]) -> None:
    """D5: and are named by the thumbprint of the key that signed them."""
    assert KEYS[vector["key"]].kid == vector["kid"]
    assert verifier().verify(vector["token"], ACCESS_TOKENS["now"]) == said_by(vector["payload"])


@pytest.mark.parametrize("vector", ACCESS_TOKENS["accepted"])
def test_access_tokens_are_minted_as_the_vectors_are(vector: dict[str, Any]) -> None:
    """D3: byte for byte; of ES256 what is signed, as our signatures are randomised there."""
    issuer, audience = ACCESS_TOKENS["issuer"], ACCESS_TOKENS["audience"]

    token = mint(KEYS[vector["key"]], issuer, audience, said_by(vector["payload"]))

    if vector["key"] == "ES256":
        assert token.rpartition(".")[0] == vector["token"].rpartition(".")[0]
    else:
        assert token == vector["token"]


@pytest.mark.parametrize(
    "vector", [pytest.param(vector, id=vector["name"]) for vector in ACCESS_TOKENS["refused"]]
)
def test_refused_access_tokens_are_refused(vector: dict[str, Any]) -> None:
    """D1 to D10: with the code that is documented."""
    with pytest.raises(AccessRefused) as refusal:
        verifier().verify(vector["token"], ACCESS_TOKENS["now"])

    assert refusal.value.code == vector["code"]


def test_each_kind_of_key_is_in_the_vectors() -> None:
    """E3: with RSA of 3072 bits."""
    assert {vector["key"] for vector in ACCESS_TOKENS["accepted"]} == set(ALGORITHMS) == set(KEYS)
    assert len(base64url.decode(KEYS["RS256"].jwk["n"])) * 8 == 3072
