"""Hashes that other programs made.

Those in ``foreign_hashes.json`` were made with Django 5.2.19, Werkzeug 3.1.9 and passlib 1.7.4, on
bcrypt 4.0.1 and argon2-cffi 25.1.0: cheap ones, and of each a few with the settings that are the
default there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.accounts import (
    Accounts,
    InvalidCredentials,
    InvalidField,
    PasswordHashing,
    User,
)
from keyturn.accounts.argon2id import Argon2id
from keyturn.accounts.foreign import WithForeign, kept_form, read_foreign
from keyturn.core.errors import Unavailable
from tests.accounts.support import Town, town

VECTORS: list[dict[str, str]] = json.loads(
    Path(__file__).with_name("foreign_hashes.json").read_text("utf-8")
)
CHEAP = [vector for vector in VECTORS if "default" not in vector["form"]]


def name_of(vector: dict[str, str]) -> str:
    return f"{vector['made_by']} {vector['form']}"


every_vector = pytest.mark.parametrize("vector", VECTORS, ids=name_of)
WEAK = Argon2id(memory=64, passes=1)
BCRYPT = "$2b${cost}$" + "." * 53
SALT, DIGEST = "c2FsdHNhbHQ", "A" * 43


@every_vector
def test_a_hash_is_of_the_password_it_was_made_of(vector: dict[str, str]) -> None:
    """F4: and of no other, whoever made it."""
    read = read_foreign(vector["hash"])
    password = vector["password"]
    others = (password.swapcase(), password[:-6], f" {password}", "")

    assert read.matches(password.encode())
    for other in others if vector in CHEAP else others[:1]:
        assert not read.matches(other.encode())


def is_cut(vector: dict[str, str]) -> bool:
    return vector["form"] in {"bcrypt", "bcrypt 2b"} and len(vector["password"]) > 72


def test_bcrypt_reads_72_bytes_of_a_password_as_it_always_did() -> None:
    """F4: else a longer one would not work any more; what is made at sign-in reads all."""
    cut = [vector for vector in VECTORS if is_cut(vector)]
    assert len(cut) == 2

    for vector in cut:
        read, password = read_foreign(vector["hash"]), vector["password"].encode()
        assert read.matches(password[:72])
        assert read.matches(password + b"more")
        assert not read.matches(password[:71])


@every_vector
def test_a_stored_one_is_outdated_and_none_of_ours(vector: dict[str, str]) -> None:
    """F5: so that the first sign-in makes a hash of ours in its place."""
    hasher = WithForeign(WEAK)
    stored = kept_form(vector["hash"])

    assert hasher.verify(stored, vector["password"].encode())
    assert hasher.outdated(stored)
    assert not stored.startswith("$argon2id$")
    assert kept_form(stored) == stored


def test_our_own_are_checked_as_ever() -> None:
    """F5: outdated only where they are weaker than a new one."""
    hasher = WithForeign(WEAK)
    own = hasher.hash(b"quixotic-otters")

    assert hasher.verify(own, b"quixotic-otters")
    assert not hasher.verify(own, b"verdant-anvils")
    assert not hasher.outdated(own)
    assert not hasher.outdated(hasher.nobody)
    assert WithForeign(Argon2id(memory=64, passes=2)).outdated(own)


# ── what is refused ─────────────────────────────────────────────────────────────────────────────


def refusal(text: str) -> str:
    with pytest.raises(InvalidField) as refused:
        read_foreign(text)
    assert refused.value.field == "passwordHash"
    return str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "quixotic-otters",
        "!cmVhbGx5",  # Django: no password will do
        "5f4dcc3b5aa765d61d8327deb882cf99",
        "md5$salt$5f4dcc3b5aa765d61d8327deb882cf99",
        "sha1$salt$5f4dcc3b5aa765d61d8327deb882cf99deb882cf",
        "plain$salt$x",
        "$1$salt$qJH7.N4xYta3aEG/dfqo/0",
        "$2$10$" + "." * 53,
        "$2x$10$" + "." * 53,
        "$2b$03$" + "." * 53,
        "$2b$4$" + "." * 53,
        "$2b$32$" + "." * 53,
        "$2b$10$" + "." * 52,
        "$2b$10$" + "." * 54,
        "$2b$10$" + "." * 52 + "/",  # the last bits are no part of the digest
        "$2b$10$" + "." * 21 + "/" + "." * 31,
        "$7$C6..../....SodiumChloride$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D",
        f"$argon2id$v=18$m=64,t=1,p=1${SALT}${DIGEST}",
        f"$argon2id$v=19$m=64,t=1${SALT}${DIGEST}",
        f"$argon2id$v=19$t=1,m=64,p=1${SALT}${DIGEST}",
        f"$argon2id$v=19$m=64,t=0,p=1${SALT}${DIGEST}",
        f"$argon2id$v=19$m=15,t=1,p=2${SALT}${DIGEST}",  # less than eight blocks a lane
        f"$argon2id$v=19$m=64,t=1,p=1$c2FsdHM${DIGEST}",
        f"$argon2id$v=19$m=64,t=1,p=1${SALT}$AAAA",
        f"$argon2id$v=19$m=64,t=1,p=1${SALT}${'A' * 42}B",
        f"$argon2id$v=19$m=64,t=1,p=1${SALT}${DIGEST}=",
        f"$argon2$v=19$m=64,t=1,p=1${SALT}${DIGEST}",
        f"argon2argon2$argon2id$v=19$m=64,t=1,p=1${SALT}${DIGEST}",
        f"pbkdf2_sha256$0$salt${DIGEST}=",
        f"pbkdf2_sha256$01$salt${DIGEST}=",
        f"pbkdf2_sha256$1000$${DIGEST}=",
        f"pbkdf2_sha256$1000$salt${DIGEST}===",
        f"pbkdf2_sha1$1000$salt${DIGEST}=",
        f"pbkdf2_md5$1000$salt${DIGEST}=",
        f"pbkdf2_sha256$\u0661000$salt${DIGEST}=",  # a digit, but none of ours
        f"pbkdf2:sha256$salt${'0' * 64}",
        f"pbkdf2:sha256:1000$salt${'0' * 62}",
        f"pbkdf2:sha256:1000$salt${'0' * 63}",
        f"pbkdf2:sha256:1000$salt${'G' * 64}",
        f"pbkdf2:sha256:1000$salt\0${'0' * 64}",
        f"$pbkdf2-sha256$1000$salt${'A' * 42}+",
        f"$pbkdf2-md5$1000$salt${DIGEST}",
        f"scrypt$15$salt$8$1${'A' * 86}==",
        f"scrypt$1$salt$8$1${'A' * 86}==",
        f"scrypt$65536$salt$1$1${'A' * 86}==",  # RFC 7914 allows less with blocks of 1
        f"scrypt$16$salt$8$1${DIGEST}=",
        f"scrypt:16:8:1$salt${'0' * 64}",
        f"$scrypt$ln=4,r=8,p=1$salt${'A' * 86}",
        f"$scrypt$ln=4,r=8$salt${DIGEST}",
        f"$bcrypt-sha256$v=1,t=2b,r=4${'.' * 22}${'.' * 31}",
        f"$bcrypt-sha256$v=2,t=2a,r=4${'.' * 22}${'.' * 31}",
        "pbkdf2:sha256:1000$" + "s" * 512 + "$" + "0" * 64,
        " " + VECTORS[0]["hash"],
        VECTORS[0]["hash"] + "\n",
    ],
)
def test_what_is_of_no_known_form_is_refused(text: str) -> None:
    """Whole, and not repeated in the message: it may be a password in clear."""
    told = refusal(text)

    assert told == "passwordHash has none of the known forms, or is damaged"


@pytest.mark.parametrize(
    ("allowed", "refused"),
    [
        (BCRYPT.format(cost=14), BCRYPT.format(cost=15)),
        (
            f"$bcrypt-sha256$v=2,t=2b,r=14${'.' * 22}${'.' * 31}",
            f"$bcrypt-sha256$v=2,t=2b,r=15${'.' * 22}${'.' * 31}",
        ),
        (
            f"$argon2id$v=19$m=262144,t=4,p=16${SALT}${DIGEST}",
            f"$argon2id$v=19$m=262145,t=1,p=1${SALT}${DIGEST}",
        ),
        (
            f"argon2$argon2i$m=1024,t=1024,p=1${SALT}${DIGEST}",
            f"argon2$argon2i$m=1024,t=1025,p=1${SALT}${DIGEST}",
        ),
        (
            f"$argon2d$v=19$m=1024,t=1,p=16${SALT}${DIGEST}",
            f"$argon2d$v=19$m=1024,t=1,p=17${SALT}${DIGEST}",
        ),
        (
            f"pbkdf2_sha256$5000000$salt${DIGEST}=",
            f"pbkdf2_sha256$5000001$salt${DIGEST}=",
        ),
        (
            f"pbkdf2:sha256:5000000$salt${'0' * 64}",
            f"pbkdf2:sha256:9999999999$salt${'0' * 64}",
        ),
        (f"$pbkdf2-sha256$5000000$salt${DIGEST}", f"$pbkdf2-sha256$5000001$salt${DIGEST}"),
        (
            f"scrypt$262144$salt$8$2${'A' * 86}==",
            f"scrypt$524288$salt$8$1${'A' * 86}==",
        ),
        (f"scrypt:16384:8:16$salt${'0' * 128}", f"scrypt:16384:8:17$salt${'0' * 128}"),
        (f"scrypt:131072:8:4$salt${'0' * 128}", f"scrypt:131072:8:5$salt${'0' * 128}"),
        (f"$scrypt$ln=18,r=8,p=1$salt${DIGEST}", f"$scrypt$ln=99,r=8,p=1$salt${DIGEST}"),
    ],
)
def test_a_hash_of_absurd_cost_is_refused(allowed: str, refused: str) -> None:
    """F9: else one line of a list could keep a server busy, or take all its memory."""
    read_foreign(allowed)

    assert refusal(refused) == "passwordHash takes more work or memory than is allowed here"


def test_the_most_memory_that_scrypt_may_take_can_be_had() -> None:
    """What is allowed is also checked: a bound within OpenSSL is not met first."""
    read = read_foreign(f"$scrypt$ln=18,r=8,p=1$salt${DIGEST}")

    assert not read.matches(b"quixotic-otters")


@given(st.text(max_size=200) | st.text("$argon2idbcryptpbkdf2sh:v=,mtp0123456789", max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever somebody's export holds."""
    with suppress(InvalidField):
        read_foreign(text)


@given(st.sampled_from(CHEAP), st.data())
def test_a_hash_that_was_damaged_is_never_one_of_the_password(
    vector: dict[str, str], data: st.DataObject
) -> None:
    """F4: with another character anywhere in the digest it is refused, or nobody's."""
    text = vector["hash"]
    place = data.draw(st.integers(text.rindex("$") + 1, len(text) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda one: one != text[place]))
    damaged = text[:place] + other + text[place + 1 :]
    try:
        read = read_foreign(damaged)
    except InvalidField:
        return

    assert not read.matches(vector["password"].encode())


numbers = st.integers(0, 10**10)


@given(numbers, numbers, numbers)
def test_whatever_is_read_is_within_the_bounds(one: int, two: int, three: int) -> None:
    """F9: for every setting of every scheme; told here once more, in seconds and bytes."""
    for text in (
        f"$argon2id$v=19$m={one},t={two},p={three}${SALT}${DIGEST}",
        f"scrypt${one}$salt${two}${three}${'A' * 86}==",
        f"scrypt:{one}:{two}:{three}$salt${'0' * 128}",
        f"pbkdf2_sha256${one}$salt${DIGEST}=",
    ):
        try:
            read: Any = read_foreign(text)
        except InvalidField:
            continue
        if "argon2" in text:
            assert one <= 1 << 18
            assert one * two <= 1 << 20
        elif "scrypt" in text:
            assert 128 * read.n * read.r <= 1 << 28
            assert read.n * read.r * read.p <= 1 << 22
        else:
            assert read.iterations <= 5_000_000


@pytest.mark.parametrize("damaged", ["", "plain", "$2b$10$", "pbkdf2_sha256$1000$salt$AAAA"])
def test_a_damaged_hash_is_our_fault(damaged: str) -> None:
    """A row that cannot be read never passes for a wrong password."""
    with pytest.raises(Unavailable):
        WithForeign(WEAK).verify(damaged, b"quixotic-otters")


def test_memory_that_cannot_be_had_is_our_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """F9: hashing that fails for want of memory refuses nobody for good."""

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(hashlib, "scrypt", fail)

    with pytest.raises(Unavailable):
        WithForeign(WEAK).verify(f"scrypt:16:8:1$salt${'0' * 128}", b"quixotic-otters")


# ── signing in ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Town]:
    async with town("memory", tmp_path) as place:
        hashing = PasswordHashing(WithForeign(WEAK))
        place.accounts = Accounts(place.users, place.sessions, hashing=hashing)
        yield place
        hashing.close()


def of_decomposed(password: str) -> str:
    made = hashlib.pbkdf2_hmac("sha256", password.encode(), b"salt", 1000)
    return f"pbkdf2:sha256:1000$salt${made.hex()}"


@pytest.mark.parametrize("typed", ["cafe\u0301 at midnight", "caf\u00e9 at midnight"])
async def test_a_password_is_known_as_it_was_typed_when_it_was_hashed(typed: str) -> None:
    """F4: not everybody composes before hashing; of a hash of ours it makes no difference."""
    hashing = PasswordHashing(WithForeign(WEAK))
    foreign = of_decomposed(typed)

    assert await hashing.verify(foreign, typed)
    better = await hashing.rehash(foreign, typed)
    assert better is not None
    assert await hashing.verify(better, "cafe\u0301 at midnight")
    assert await hashing.verify(better, "caf\u00e9 at midnight")
    hashing.close()


@pytest.mark.parametrize("vector", CHEAP, ids=name_of)
async def test_the_first_sign_in_makes_a_hash_of_ours(place: Town, vector: dict[str, str]) -> None:
    """F5: of the whole password, which goes on to work; the sessions stay."""
    bob = User(id="bob", username="bob", email="bob@example.com", fullname="Bob", created_at=0)
    await place.users.add(bob, kept_form(vector["hash"]))

    _, first = await place.accounts.login("bob", vector["password"])
    account = await place.users.get(bob.id)
    await place.accounts.login("bob", vector["password"])

    assert account is not None
    assert account.password_hash.startswith("$argon2id$v=19$m=64,t=1,p=1$")
    assert (await place.sessions.refresh(first.refresh_token)).session.user_id == bob.id
    with pytest.raises(InvalidCredentials):
        await place.accounts.login("bob", vector["password"] + "more")


async def test_a_wrong_password_makes_no_hash_of_ours(place: Town) -> None:
    """F5: else it would become the right one."""
    bob = User(id="bob", username="bob", email="bob@example.com", fullname="Bob", created_at=0)
    await place.users.add(bob, kept_form(VECTORS[0]["hash"]))

    with pytest.raises(InvalidCredentials):
        await place.accounts.login("bob", "a-wrong-password")

    assert await place.accounts.authenticate("bob", VECTORS[0]["password"]) == bob
